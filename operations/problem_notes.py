"""Tells the ops channel of a problem that lasts, once, and once when it is over."""

from datetime import datetime, timedelta
from types import MappingProxyType

from domain.effects import Note, Text
from domain.outbox import OPS
from operations.world import World

LASTS = timedelta(minutes=2)
"""A problem that is over sooner is seen in ``/health`` and metrics only."""

IDLE = timedelta(days=1)
"""With nothing to wait for: whoever reports a problem need not wait for this, the loop looks each second."""

NOT_WHILE_OPEN = frozenset({"slack", "outbox", "webhooks", "stopping"})
"""Slack cannot carry these while they last; or they are how the program was set up."""

OVER = MappingProxyType({"slack": "ops.slack_over", "outbox": "ops.outbox_over"})
"""What is said of those whose beginning nobody could read, once they are over."""

NEVER = frozenset({"webhooks", "stopping"})


class ProblemNotes:
    """Remembers since when each problem of this process is open, and which were told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[str, datetime] = {}
        self._reasons: dict[str, str] = {}
        self._told: set[str] = set()

    def next_due(self, at: datetime) -> datetime:
        """When the next open problem has lasted long enough to be told; else at the next look."""
        waits = [since + LASTS for name, since in self._since.items() if self._may_tell(name)]
        return min(waits, default=at + IDLE)

    async def turn(self) -> int:
        """Tell what is due. Returns how many lines were said."""
        at = self._world.clock.now()
        current = self._world.problems.current()
        for name, reason in current.items():
            self._since.setdefault(name, at)
            self._reasons[name] = reason
        over = [name for name in self._since if name not in current]
        lasting = [name for name in current if at - self._since[name] >= LASTS and self._may_tell(name)]
        notes = [self._note("ops.problem", name, self._since[name]) for name in lasting]
        notes += [
            self._note(OVER.get(name, "ops.problem_over"), name, at)
            for name in over
            if self._was_worth_telling(name, at)
        ]
        if notes:
            async with self._world.store() as tx:
                await tx.say(notes, at)
        self._told |= set(lasting)
        for name in over:
            self._told.discard(name)
            del self._since[name], self._reasons[name]
        return len(notes)

    def _may_tell(self, name: str) -> bool:
        return name not in self._told and name not in NOT_WHILE_OPEN

    def _was_worth_telling(self, name: str, at: datetime) -> bool:
        return name in self._told or (name not in NEVER and at - self._since[name] >= LASTS)

    def _note(self, key: str, name: str, at: datetime) -> Note:
        since = int(self._since[name].timestamp())
        params = {"name": name, "reason": self._reasons[name], "since": since, "until": int(at.timestamp())}
        unique = f"{key}:{name}:{int(at.timestamp())}"
        return Note(key=unique[:200], place=OPS, text=Text(key=key, params=params))
