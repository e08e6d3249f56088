"""A copy that lies there is looked at before anybody believes a row that says otherwise."""

from datetime import datetime

from domain import backing as rules
from domain.backups import Backup, Progress, Stage
from domain.ports import Vault
from domain.retention import Standing
from operations.world import World


async def found_whole(world: World, backup: Backup) -> Backup | None:
    """The backup as verified, where every part of it lies there without a flaw. Raises ``Outage``.

    One that was given up for taking too long may be whole all the same.
    """
    parts = []
    for progress in backup.parts:
        vault = world.vaults.get(progress.part.source)
        seen = None if vault is None else await seen_whole(vault, backup, progress)
        if seen is None:
            return None
        parts.append(seen)
    return None if not parts else verified(backup, tuple(parts), world.clock.now())


async def seen_whole(vault: Vault, backup: Backup, progress: Progress) -> Progress | None:
    """A part with what was seen of its latest whole attempt; ``None`` where there is none."""
    for attempt in range(rules.ATTEMPTS, 0, -1):
        one = progress.model_copy(update={"attempt": attempt})
        order = rules.order(backup, one)
        begun = await vault.find(order)
        if begun is None:
            continue
        evidence = await vault.prove(order, begun.operation)
        if not evidence.flaws:
            # What is free now says nothing about the day on which it was made.
            seen = evidence.model_copy(update={"free": None})
            done = {"stage": Stage.DONE, "operation": begun.operation, "evidence": seen}
            return one.model_copy(update=done | {"problem": None, "trouble": None})
    return None


def verified(backup: Backup, parts: tuple[Progress, ...], at: datetime) -> Backup:
    """It counts from now on, and nobody deletes it for what was thought of it before."""
    known = {"standing": Standing.VERIFIED, "parts": parts, "reasons": ()}
    unmarked = {"marked_at": None, "doomed_at": None, "look_at": None, "lease_until": None}
    return backup.model_copy(update=known | unmarked | {"ended_at": backup.ended_at or at})
