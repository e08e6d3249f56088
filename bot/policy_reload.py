"""Reads the policy again on SIGHUP: a valid one is taken over, an invalid one is refused with its lines."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from bot.policy import BadPolicy, read_policy
from domain.effects import Note, Text
from domain.errors import Outage
from domain.outbox import OPS
from domain.policy import Policy
from operations.world import Policies, World

log = structlog.get_logger(__name__)

SHOWN = 10
"""Problems that are told in the ops channel; the log has all."""

PROBLEM = "policy.refused"


Refusing = Callable[[Policy], list[str]]
"""Returns why these settings cannot carry out a valid policy, one line a reason."""


class Reload:
    """Waits for ``wanted``. ``refusing``: what the settings lack for a policy."""

    def __init__(self, path: Path, refusing: Refusing = lambda _: []) -> None:
        self._path = path
        self._refusing = refusing
        self.wanted = asyncio.Event()

    async def run(self, world: World, policies: Policies) -> None:
        """Read the file whenever that is wanted, one time after the other."""
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            try:
                await reload(self._path, world, policies, self._refusing)
            except Outage as outage:
                log.warning("policy.not_told", reason=outage.reason)
            except Exception:
                log.exception("policy.reload_failed")


async def reload(path: Path, world: World, policies: Policies, refusing: Refusing = lambda _: []) -> bool:
    """Take over what the file says now. True where it was valid; else the old policy stays."""
    try:
        policy = await asyncio.to_thread(read_policy, path)
        lines = refusing(policy)
    except BadPolicy as bad:
        lines = [str(problem) for problem in bad.problems]
    if lines:
        for line in lines:
            log.error("policy.refused", problem=line)
        world.problems.report(PROBLEM, f"{lines[0]} ({len(lines)} in all); the old policy holds")
        more = f"\n+ {len(lines) - SHOWN}" if len(lines) > SHOWN else ""
        said = {"problems": "\n".join(lines[:SHOWN]) + more}
        await _tell(world, "ops.policy_refused", said)
        return False
    world.problems.clear(PROBLEM)
    changed = changes(policies.current, policy)
    policies.replace(policy)
    world.wake.everybody()
    log.info("policy.taken_over", changed=changed)
    key = "ops.policy_taken_over" if changed else "ops.policy_unchanged"
    await _tell(world, key, {"changed": ", ".join(changed)})
    return True


def changes(before: Policy, after: Policy) -> list[str]:
    """The sections that differ."""
    return [name for name in Policy.model_fields if getattr(before, name) != getattr(after, name)]


async def _tell(world: World, key: str, params: dict[str, str]) -> None:
    at = world.clock.now()
    note = Note(key=f"{key}:{int(at.timestamp() * 1000)}", place=OPS, text=Text(key=key, params=params))
    async with world.store() as tx:
        await tx.say([note], at)
