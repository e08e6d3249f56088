"""Keeps signals from killing the program before it listens to them, and after."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""End in good order."""

HARMLESS = (signal.SIGUSR1, signal.SIGUSR2)
"""Their default is to kill; here they are only told in the log."""


def hold() -> Callable[[], bool]:
    """From now on no signal kills. Returns what says whether an end was asked for meanwhile."""
    asked = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    for number in ENDING:
        signal.signal(number, note)
    for number in (*HARMLESS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return asked.is_set
