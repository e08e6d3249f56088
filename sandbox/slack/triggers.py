"""Trigger ids: each opens one view within three real seconds of the click that brought it."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.slack.errors import ApiError

LIFETIME = 3.0  # Seconds; docs.slack.dev/surfaces/modals.
_KEPT = 10_000


@dataclass(slots=True)
class _Trigger:
    user: str
    view: str
    born: float
    used: bool = False


class Triggers:
    """Who clicked when. Ages count in real monotonic seconds, for the bot's speed is what is judged."""

    def __init__(self, team: int, now: Callable[[], float] = time.monotonic) -> None:
        self._team = team
        self._now = now
        self._issued: OrderedDict[str, _Trigger] = OrderedDict()
        self._count = 0

    def issue(self, user: str, view: str = "") -> str:
        """Return a new trigger of a person; ``view`` is the modal that was clicked in, if any."""
        self._count += 1
        trigger = f"{7_000_000_000 + self._count}.{self._team}.{secrets.token_hex(16)}"
        self._issued[trigger] = _Trigger(user, view, self._now())
        while len(self._issued) > _KEPT:
            self._issued.popitem(last=False)
        return trigger

    def exchange(self, trigger: str) -> tuple[str, str]:
        """Return (person, clicked view) and use the trigger up.

        Raise invalid_trigger_id, exchanged_trigger_id or expired_trigger_id.
        """
        known = self._issued.get(trigger)
        if known is None:
            raise ApiError("invalid_trigger_id")
        if known.used:
            raise ApiError("exchanged_trigger_id")
        if self._now() - known.born > LIFETIME:
            raise ApiError("expired_trigger_id")
        known.used = True
        return known.user, known.view
