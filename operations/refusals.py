"""Slack refuses what people can mend: said once in the ops channel and kept as a problem until it works."""

import structlog

from domain.effects import Note, Text
from domain.outbox import OPS
from operations.world import World

log = structlog.get_logger(__name__)

PREFIX = "slack."
"""A problem is called ``slack.`` and Slack's own error code, such as ``slack.missing_scope``."""


async def tell_refusals(world: World) -> None:
    """Report what Slack refuses now and clear what it takes again. Costs nothing where nothing changed."""
    now = world.chat.refused(world.clock.monotonic())
    begun = {code: what for code, what in now.items() if world.refused.get(code) != what}
    ended = [code for code in world.refused if code not in now]
    if not begun and not ended:
        return
    new = [code for code in begun if code not in world.refused]
    for code, what in begun.items():
        world.problems.report(PREFIX + code, f"Slack refuses {what}: {code}")
    for code in ended:
        world.problems.clear(PREFIX + code)
    at = world.clock.now()
    hour = f"{at:%Y-%m-%dT%H}"
    notes = [
        Note(
            key=f"ops:slack_refuses:{code}:{hour}",
            place=OPS,
            text=Text(key="ops.slack_refuses", params={"error": code, "what": begun[code]}),
        )
        for code in new
    ]
    notes += [
        Note(
            key=f"ops:slack_takes:{code}:{hour}",
            place=OPS,
            text=Text(key="ops.slack_takes", params={"error": code}),
        )
        for code in ended
    ]
    async with world.store() as tx:
        await tx.say(notes, at)
        if ended:
            await tx.release_waiting(at)
    world.refused.clear()  # Only now: what could not be written is told at the next turn.
    world.refused.update(now)
