"""Asks Slack who an account is at the moment of a click: whose workspace, which kind, which groups."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from domain.approvals import Account
from domain.errors import Outage, Undeliverable
from domain.levels import Value
from domain.roles import GROUP_ID
from notify.slack.client import Api
from notify.slack.directory import Directory

log = structlog.get_logger(__name__)

KNOW_WITHIN = 1.5
"""Seconds that Slack may take to say who somebody is: a click has to be acknowledged within three."""

NOT_THERE = frozenset({"user_not_found", "user_not_visible", "users_not_found", "invalid_user_id"})
"""Slack's answers that say that there is no such account; any other refusal says nothing about it."""


NO_GROUP = frozenset({"no_such_subteam", "subteam_not_found"})
"""Slack's answers that say that there is no such group: nobody is in it."""


class Claim(Value):
    """What a signed payload says about who acts, where.

    ``user_team``: the account's workspace; in an organisation (Enterprise Grid) it may be another one than
    ours. ``team``: the workspace in which the app was used; empty where the app is installed for a whole
    organisation. ``message_team``: the workspace of the bot whose message was pressed.
    """

    user: str
    user_team: str = ""
    team: str = ""
    enterprise: str = ""
    message_team: str = ""
    installed: bool = False
    """Whether the payload says where the app is installed, and not only where the account lives."""

    @classmethod
    def of(cls, body: dict[str, Any]) -> "Claim":
        """The claim of an interaction, a command, or an event."""
        user, team = _dict(body.get("user")), _dict(body.get("team"))
        enterprise = _dict(body.get("enterprise")).get("id") or team.get("enterprise_id")
        return cls(
            user=str(body.get("user_id") or user.get("id") or ""),
            user_team=str(user.get("team_id") or ""),
            team=str(team.get("id") or body.get("team_id") or ""),
            enterprise=str(enterprise or body.get("enterprise_id") or ""),
            installed=bool(team.get("id") or _dict(body.get("enterprise")).get("id")),
            message_team=str(_dict(body.get("message")).get("team") or ""),
        )


SPARED_FOR = 60.0
"""Seconds within which Slack counts our questions, and for which an answer may stand in for another one."""

USER_ASKED, GROUP_ASKED = 40, 10
"""Questions about one account and about one group in that time: half of what Slack allows to all of them.

https://docs.slack.dev/apis/web-api/rate-limits: 100 a minute for users.info, 20 for usergroups.users.list.
"""

_FLAGS = ("deleted", "guest", "bot", "ours", "exists")
"""What Slack may say against an account, as ``Account`` calls it."""

REMEMBERED = 5_000
"""Accounts of which it is remembered what Slack said against them."""


class _Sparingly:
    """Asks anew each time, but nobody can make us ask until Slack answers nobody any more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._asked: dict[str, deque[float]] = {}
        self._answers: dict[str, tuple[float, Any]] = {}

    async def ask(self, key: str, question: Callable[[], Awaitable[Any]]) -> Any:
        """The answer to a question of this key; the last one where it was asked too often of late."""
        now = asyncio.get_running_loop().time()
        asked = self._asked.pop(key, None) or deque(maxlen=self._most)
        self._asked[key] = asked  # The longest unused stands first.
        known = self._answers.get(key)
        is_spared = len(asked) == self._most and now - asked[0] < SPARED_FOR
        if is_spared and known is not None and now - known[0] < SPARED_FOR:
            return known[1]
        asked.append(now)
        answer = await question()
        self._answers[key] = (now, answer)
        if len(self._asked) > REMEMBERED:
            oldest = next(iter(self._asked))
            del self._asked[oldest]
            self._answers.pop(oldest, None)
        return answer


class Membership:
    """Lets nobody in from memory, unless they ask too often: an account may have been closed a minute ago.

    What Slack said against an account is remembered for the moments in which it says nothing: nobody shall
    gain by Slack's silence what Slack's word denied.
    """

    def __init__(self, api: Api, directory: Directory, changed: Callable[[str], None]) -> None:
        """``changed`` hears of an account against which something else is known now."""
        self._api = api
        self._changed = changed
        self._directory = directory
        self._handles: dict[str, str] = {}
        self._handles_at = 0.0
        self._users = _Sparingly(USER_ASKED)
        self._groups = _Sparingly(GROUP_ASKED)
        self._against: dict[str, dict[str, bool]] = {}
        self._outside: dict[str, set[str]] = {}

    def against(self, user: str) -> dict[str, Any]:
        """What is known against an account; empty where nothing is."""
        found: dict[str, Any] = dict(self._against.get(user, {}))
        if self._outside.get(user):
            found["outside"] = sorted(self._outside[user])
        return found

    def recall(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        """Take up what ``against`` said of accounts before the restart; of what is damaged the rest."""
        for user, state in list(known.items())[-REMEMBERED:]:
            flags = {flag: state[flag] for flag in _FLAGS if type(state.get(flag)) is bool}
            if flags:
                self._against[user] = flags
            outside = state.get("outside")
            if type(outside) is list and outside:
                self._outside[user] = {group for group in outside if type(group) is str}

    async def account(self, claim: Claim, groups: Sequence[str] = ()) -> Account:
        """Who asks, as Slack knows them now. What Slack does not say in time is not known.

        ``groups``: those of the policy that matter, by handle or id.
        """
        if not claim.user:
            return Account(id="", exists=False)
        before = self._against.get(claim.user)
        asked_groups = groups if before is None else ()  # Of who may not act no group matters.
        asked = await asyncio.gather(
            self._in_time(self._user(claim.user)),
            self._in_time(self._greeted(claim)),
            *(self._in_time(self._is_in(claim.user, group)) for group in asked_groups),
        )
        user, _, *memberships = asked
        known = self.against(claim.user)
        try:
            return self._judged(
                claim, user, dict.fromkeys(groups) | dict(zip(asked_groups, memberships, strict=True))
            )
        finally:
            if self.against(claim.user) != known:
                self._changed(claim.user)

    def _judged(
        self, claim: Claim, user: dict[str, Any] | bool | None, said: dict[str, bool | None]
    ) -> Account:
        """The account by Slack's answers, and by what it said before where it says nothing."""
        before = self._against.get(claim.user)
        if user is False:
            self._against[claim.user] = {"exists": False}
            return Account(id=claim.user, exists=False)
        found = user if isinstance(user, dict) else None
        ours = self._is_ours(claim, found)
        person = self._directory.person_of(claim.user) if ours else None
        outside = self._outside.get(claim.user, set()).copy()
        self._remember_groups(claim.user, said)
        account = Account(
            id=claim.user,
            person=person.name if person else None,
            known=found is not None and bool(found.get("team_id")) and bool(self._team_id),
            ours=ours,
            placed=bool(self._team_id) or claim.installed,
            settled=person is not None or self._directory.is_settled(claim.user),
            groups=tuple(group for group, is_in in said.items() if is_in is True),
            unsure=tuple(group for group, is_in in said.items() if is_in is None and group not in outside),
        )
        if found is None:
            return account if before is None else account.model_copy(update=before)
        flags = {
            "deleted": bool(found.get("deleted")),
            "guest": bool(found.get("is_restricted") or found.get("is_ultra_restricted")),
            "bot": bool(found.get("is_bot") or found.get("is_workflow_bot")) or claim.user == "USLACKBOT",
        }
        if bool(self._team_id):
            self._remember(claim.user, flags, ours=ours)
        return account.model_copy(update=flags)

    def _remember(self, user: str, flags: dict[str, bool], *, ours: bool) -> None:
        self._against.pop(user, None)
        against = {flag: True for flag, holds in flags.items() if holds} | ({} if ours else {"ours": False})
        if against:
            self._against[user] = against
        if len(self._against) > REMEMBERED:
            oldest = next(iter(self._against))
            del self._against[oldest]
            self._changed(oldest)

    def _remember_groups(self, user: str, said: dict[str, bool | None]) -> None:
        outside = self._outside.pop(user, set()) | {group for group, is_in in said.items() if is_in is False}
        outside -= {group for group, is_in in said.items() if is_in is True}
        if outside:
            self._outside[user] = outside
        while len(self._outside) > REMEMBERED:
            oldest = next(iter(self._outside))
            del self._outside[oldest]
            self._changed(oldest)

    @property
    def _team_id(self) -> str | None:
        """Our workspace, by ``auth.test``, else by the list of channels."""
        return self._directory.team_id or self._directory.listed_team_id

    async def _in_time(self, asking: Any) -> Any:
        """The answer; ``None`` where there is none in time."""
        try:
            async with asyncio.timeout(KNOW_WITHIN):
                return await asking
        except (TimeoutError, Outage, Undeliverable) as error:
            log.warning("slack.account_unknown", error=repr(error))
            return None

    async def _user(self, user: str) -> dict[str, Any] | bool:
        """The account; False where Slack knows none."""
        try:
            found: dict[str, Any] = await self._users.ask(user, lambda: self._directory.look_up(user))
        except Undeliverable as refusal:
            if refusal.reason in NOT_THERE:
                return False
            raise
        return found

    async def _greeted(self, claim: Claim) -> None:
        """Which workspace is ours, where that is not known yet, or where it joined an organisation."""
        known = self._directory
        if not known.greeted or (claim.enterprise and known.enterprise_id is None):
            await known.greet(aside=True)

    async def _is_in(self, user: str, group: str) -> bool:
        number = await self._number_of(group)
        if number is None:
            return False
        question = partial(self._api.ask, self._api.web.usergroups_users_list, usergroup=number)
        try:
            answer = await self._groups.ask(number, question)
        except Undeliverable as refusal:
            if refusal.reason in NO_GROUP:
                self._handles.clear()
                return False
            raise
        return user in (answer.get("users") or [])

    async def _number_of(self, group: str) -> str | None:
        """The id of a group; ``None`` for a handle that there is not."""
        if GROUP_ID.fullmatch(group):
            return group
        handle = group.removeprefix("@").casefold()
        now = asyncio.get_running_loop().time()
        if handle not in self._handles or now - self._handles_at >= SPARED_FOR:  # A handle may move on.
            answer = await self._api.ask(self._api.web.usergroups_list)
            self._handles = {
                str(one.get("handle", "")).casefold(): str(one["id"]) for one in answer.get("usergroups", [])
            }
            self._handles_at = now
        return self._handles.get(handle)

    def _is_ours(self, claim: Claim, found: dict[str, Any] | None) -> bool:
        """Whether an account is of our workspace, or of our organisation.

        Slack's word about the account counts most; a payload is only ever taken at its word where it says
        that somebody is not ours, or where Slack is silent.
        """
        team, enterprise = self._team_id, self._directory.enterprise_id
        if found is not None and found.get("is_stranger"):
            return False
        home = str((found or {}).get("team_id") or claim.user_team or claim.team)
        above = str(_dict((found or {}).get("enterprise_user")).get("enterprise_id") or "")
        if team is None:
            if claim.enterprise and found is not None:
                return claim.enterprise == above or (bool(home) and home == claim.team)
            # The pressed message is ours: a click from another workspace than it is a stranger's.
            places = {claim.team, claim.message_team} - {""}
            return (bool(claim.enterprise) and len(places) <= 1) or _agree(home, claim)
        if enterprise is None:
            # An organisation that ``auth.test`` does not tell of: where the account lives decides.
            spoken = {home, claim.team} if claim.enterprise else {home, claim.team, claim.user_team}
            return spoken == {team} or (spoken == {team, ""} and not claim.enterprise)
        if claim.enterprise not in {enterprise, ""}:
            return False
        if claim.team not in {team, enterprise, ""} and not claim.enterprise:
            return False
        if home in {team, enterprise} or (found is not None and above):
            return home in {team, enterprise} or above == enterprise
        # Slack says nothing about the organisation: the account counts as ours only while Slack is silent.
        return found is None and claim.enterprise == enterprise


def _agree(home: str, claim: Claim) -> bool:
    """Which workspace is ours was never heard of: at least nothing says that the account is of another."""
    return len({home, claim.user_team, claim.team, claim.message_team} - {""}) <= 1


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
