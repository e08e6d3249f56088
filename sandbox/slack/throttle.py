"""Slack's rate limits, off until asked for: one message a second a channel, and calls a minute by method."""

import math
from collections import defaultdict, deque
from collections.abc import Callable

HISTORY_METHODS = frozenset({"conversations.history", "conversations.replies"})

MOST_HISTORY = 15
"""Messages in an answer to an app that is sold outside of the Marketplace; it may ask once a minute."""

POST_METHODS = frozenset({"chat.postMessage", "chat.postEphemeral"})


class Throttle:
    """Counts calls against ``now`` (seconds; by default the workspace's own clock)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.posts = False
        self.tiers = False
        self.history = False
        self._last: dict[str, float] = {}
        self._calls: dict[str, deque[float]] = defaultdict(deque)

    def wait(self, method: str, channel: str, tier: int) -> int:
        """Return 0 where the call may go on, else whole seconds for Retry-After."""
        now = self.now()
        if self.posts and method in POST_METHODS and channel:
            free = self._last.get(channel, -math.inf) + 1.0
            if now < free:
                return max(1, math.ceil(free - now))
            self._last[channel] = now
        if self.history and method in HISTORY_METHODS:
            tier = 1
        if (self.tiers or (self.history and method in HISTORY_METHODS)) and tier:
            calls = self._calls[method]
            while calls and calls[0] <= now - 60:
                calls.popleft()
            if len(calls) >= tier:
                return max(1, math.ceil(calls[0] + 60 - now))
            calls.append(now)
        return 0
