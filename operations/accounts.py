"""Finds and keeps the Slack account of each person of the policy; ops hears of each change."""

from datetime import datetime

import structlog

from domain import accounts as rules
from domain.accounts import Binding, Change
from domain.effects import Note, Text
from domain.errors import Outage, Undeliverable
from domain.outbox import OPS
from domain.policy import Person
from domain.ports import Tx
from domain.watches import Watch, WatchKind
from operations.world import World

log = structlog.get_logger(__name__)

FRESH = 300.0
"""Seconds for which a look-up is believed; then the next page asks Slack again."""

AGAIN = 30.0
"""Seconds after which Slack is asked again where it could not say whether an account is still right."""

PROBLEM = "accounts."
"""A problem is called ``accounts.`` and the person's name in the policy."""


async def account_of(world: World, name: str) -> str:
    """The Slack account of a person, verified lately.

    Where Slack cannot say, the account that was verified last is believed. Raises ``Outage`` where there
    was none, and ``Undeliverable`` where nobody can be paged.
    """
    known = world.accounts.get(name)
    if known is not None and world.clock.monotonic() < known[1]:
        return known[0]
    return await verify(world, name)


def distrust(world: World, account: str) -> str | None:
    """Believe no look-up of this account any more. Whose it is, by their name; ``None`` for a stranger's."""
    name = next((name for name, (known, _) in world.accounts.items() if known == account), None)
    if name is not None:
        del world.accounts[name]
    return name


class Verifying:
    """The recurring job: somebody who left is told now, and not in the night in which they are paged."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def look(self, _due: datetime) -> int:
        """Look again at everybody whose account was found before. Returns how many."""
        async with self._world.store.read() as tx:
            known = await tx.watches(WatchKind.ACCOUNT)
        names = [name for name in known if name in self._world.policy.people]
        for name in names:
            try:
                await verify(self._world, name)
            except Undeliverable as refusal:
                log.warning("accounts.nobody", person=name, reason=refusal.reason)
        return len(names)


async def verify(world: World, name: str) -> str:
    """The same, asked of Slack now."""
    person = world.policy.people.get(name)
    if person is None:
        raise Undeliverable(f"nobody is called {name}")
    async with world.store.read() as tx:
        watch = await tx.watch(WatchKind.ACCOUNT, name)
    before = _last(watch)
    holds = before is not None and rules.still_holds(person, before, _said(watch))
    try:
        found = await world.chat.account_found(person)
        is_other = found.account is None or found.account.id != before
        is_active = holds
        if before is not None and holds and is_other and not found.by_id:
            is_active = await world.chat.is_member(before)
    except (Outage, Undeliverable) as trouble:
        if before is None or not holds:
            raise
        log.warning("accounts.not_verified", person=name, account=before, error=trouble.reason)
        world.problems.report(PROBLEM + name, f"{before} could not be verified: {trouble.reason}")
        return _believe(world, name, before, AGAIN)
    binding = rules.bind(before, found, is_active=is_active)
    await _keep(world, person, watch, before, binding)
    if binding.account is None:
        world.accounts.pop(name, None)
        raise Undeliverable(binding.reason)
    return _believe(world, name, binding.account, FRESH)


def _believe(world: World, name: str, account: str, seconds: float) -> str:
    world.accounts[name] = (account, world.clock.monotonic() + seconds)
    return account


def _last(watch: Watch | None) -> str | None:
    account = watch.state.get("account") if watch is not None else None
    return account if isinstance(account, str) else None


def _said(watch: Watch | None) -> str | None:
    said = watch.state.get("said") if watch is not None else None
    return said if isinstance(said, str) else None


async def _keep(
    world: World, person: Person, watch: Watch | None, before: str | None, binding: Binding
) -> None:
    """Remember the account and tell what changed, in one transaction."""
    name = person.name
    problem = PROBLEM + name
    if binding.change in {Change.DOUBTED, Change.KEPT, Change.ENDED}:
        world.problems.report(problem, f"{binding.change.value}: {before} ({binding.reason})")
    elif binding.change is not Change.NONE:
        world.problems.clear(problem)
    at = world.clock.now()
    was = watch.state.get("was") if watch is not None else None
    if binding.change is Change.SAME and _said(watch) != rules.said_of(person):
        async with world.store() as tx:
            await _save(tx, person, binding.account, was, at)
    if binding.change in {Change.SAME, Change.NONE}:
        return
    async with world.store() as tx:
        if binding.account != before:
            await _save(tx, person, binding.account, before or was, at)
        if binding.change is Change.FIRST and was in {None, binding.account}:
            return
        old = before or (was if isinstance(was, str) else "")
        await tx.say([_note(name, old, binding, at)], at)


async def _save(tx: Tx, person: Person, account: str | None, was: str | None, at: datetime) -> None:
    stored = await tx.watch(WatchKind.ACCOUNT, person.name)
    kept = stored or Watch(kind=WatchKind.ACCOUNT, key=person.name, changed_at=at)
    state = {"account": account, "was": was, "said": rules.said_of(person)}
    await tx.save_watches([kept.model_copy(update={"state": state, "changed_at": at})])


_SAID = {
    Change.FIRST: "ops.account_moved",
    Change.MOVED: "ops.account_moved",
    Change.DOUBTED: "ops.account_doubted",
    Change.KEPT: "ops.account_kept",
    Change.ENDED: "ops.account_ended",
}


def _note(name: str, before: str, binding: Binding, at: datetime) -> Note:
    """Said once a day for the same change of the same person."""
    params = {"person": name, "account": before, "now": binding.account or "", "reason": binding.reason}
    key = f"ops:account:{binding.change.value}:{name}:{before}:{binding.account or '-'}:{at:%Y-%m-%d}"
    return Note(key=key, place=OPS, text=Text(key=_SAID[binding.change], params=params))
