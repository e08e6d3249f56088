"""Which Slack account is a person's: by the policy's ids or by e-mail, kept, and told where it changes."""

from enum import StrEnum

from domain.approvals import Account, Standing, standing
from domain.levels import Value
from domain.policy import Person


class Change(StrEnum):
    """What a look-up means for the account that was bound before.

    ``DOUBTED``: the e-mail address leads to another account now, while the old one is still active.
    ``KEPT``: it leads to none, while the old one is still active. ``ENDED``: nobody is left to be paged.
    """

    SAME = "same"
    FIRST = "first"
    MOVED = "moved"
    DOUBTED = "doubted"
    KEPT = "kept"
    ENDED = "ended"
    NONE = "none"


class Found(Value):
    """What Slack says of a person: the account, or why there is none.

    ``by_id``: the policy names the account itself, which is somebody's own decision.
    """

    account: Account | None = None
    reason: str = ""
    by_id: bool = False

    @property
    def refusal(self) -> str | None:
        """Why this account may not be a person's; ``None`` where it may.

        An account that the policy names is believed while Slack cannot say more about it.
        """
        if self.account is None:
            return self.reason or "users_not_found"
        why = standing(self.account)
        if why is None or (self.by_id and why is Standing.UNKNOWN):
            return None
        return f"account_{why.value}"


def said_of(person: Person) -> str:
    """What the policy says of a person's account, as it is kept beside the account that was found by it."""
    return "slack" if person.slack else f"email:{(person.email or '').casefold()}"


def still_holds(person: Person, account: str, said: str | None) -> bool:
    """Whether an account was bound by what the policy says today. ``said``: what it said then, if known.

    Who edits the policy decides: an account that it names no longer, or that was found by an address which
    it has replaced, is let go at once.
    """
    if person.slack:
        return account in person.slack
    return said is None or said == said_of(person)


class Binding(Value):
    """Whose account it is from now on; ``None``: nobody can be paged. ``reason`` is Slack's, or ours."""

    account: str | None
    change: Change
    reason: str = ""


def bind(before: str | None, found: Found, *, is_active: bool) -> Binding:
    """The account to be paged now.

    ``before`` is the one that was verified last, ``is_active`` whether it is still a full, active member of
    ours, bound by what the policy says today. An account that was verified and still exists is never
    replaced because of an e-mail address alone: somebody else may have taken that over, and the policy's
    ids can say otherwise.
    """
    refusal = found.refusal
    if refusal is None and found.account is not None:
        new = found.account.id
        if before is None:
            return Binding(account=new, change=Change.FIRST)
        if before == new:
            return Binding(account=new, change=Change.SAME)
        if is_active and standing(found.account) is Standing.UNKNOWN:
            return Binding(account=before, change=Change.SAME)  # It was verified, the other one cannot be.
        if found.by_id or not is_active:
            return Binding(account=new, change=Change.MOVED)
        return Binding(account=before, change=Change.DOUBTED, reason=new)
    reason = refusal or "users_not_found"
    if before is None:
        return Binding(account=None, change=Change.NONE, reason=reason)
    if is_active and not found.by_id:
        return Binding(account=before, change=Change.KEPT, reason=reason)
    return Binding(account=None, change=Change.ENDED, reason=reason)
