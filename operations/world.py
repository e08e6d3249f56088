"""All that an operation may touch: the clock, what we remember, how we speak, the policy."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from domain.backup_plans import Source
from domain.policy import Policy
from domain.ports import (
    Chat,
    Compute,
    Images,
    Inbox,
    Metrics,
    Objects,
    Prober,
    Rehearsal,
    Run,
    Smoke,
    SteadyClock,
    Store,
    Vault,
)
from operations.problems import Problems
from operations.under_way import UnderWay


class Wake:
    """Tells the loops that a commit concerns them; nothing is lost where nobody listens yet."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def event(self, topic: str) -> asyncio.Event:
        """The event of a topic; the loop that waits for it clears it."""
        return self._events.setdefault(topic, asyncio.Event())

    def __call__(self, topics: frozenset[str]) -> None:
        """Wake the loops of these topics."""
        for topic in topics:
            self.event(topic).set()

    def everybody(self) -> None:
        """Wake every loop: time has passed, or a tick of the scheduler."""
        for event in self._events.values():
            event.set()


class Policies:
    """The policy that holds now. Whoever derives something from it asks to be told of a new one."""

    def __init__(self, policy: Policy) -> None:
        self.current = policy
        self._listeners: list[Callable[[Policy], None]] = []

    def on_change(self, listener: Callable[[Policy], None]) -> None:
        """Call it with each new policy."""
        self._listeners.append(listener)

    def replace(self, policy: Policy) -> None:
        """From now on this one holds."""
        self.current = policy
        for listener in self._listeners:
            listener(policy)


@dataclass(frozen=True)
class World:
    """Handed to every operation; built once by ``bot/app.py``.

    ``metrics`` answers for minutes and hours, ``history`` for weeks; both fulfil the same port.
    """

    clock: SteadyClock
    store: Store
    inbox: Inbox
    chat: Chat
    policies: Policies
    metrics: Metrics
    history: Metrics
    prober: Prober
    compute: Compute
    run: Run
    images: Images
    smoke: Smoke
    objects: Objects | None = None
    vaults: Mapping[Source, Vault] = field(default_factory=dict)
    rehearsals: Mapping[Source, Rehearsal] = field(default_factory=dict)
    drill_places: frozenset[Source] = frozenset()
    """For these the settings say where drills restore to; for all others the policy does."""
    wake: Wake = field(default_factory=Wake)
    problems: Problems = field(default_factory=Problems)
    accounts: dict[str, tuple[str, float]] = field(default_factory=dict)
    """The Slack account of each person by name, and the monotonic second until which it is believed."""
    refused: dict[str, str] = field(default_factory=dict)
    """What Slack refuses although people could mend it, by error code, as it was told last."""
    under_way: UnderWay = field(default_factory=UnderWay)
    recording: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while an attempt is recorded: records of one process touch each other's cards."""

    @property
    def policy(self) -> Policy:
        """The policy as it is now; SIGHUP may change it between two awaits."""
        return self.policies.current
