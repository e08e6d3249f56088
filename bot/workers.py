"""One process beside the bot for arithmetic that would hold up its event loop."""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

import structlog

from domain.errors import Outage

log = structlog.get_logger(__name__)

T = TypeVar("T")

NICE = 10
"""The bot's own work goes first where both want the same core."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Workers:
    """Fulfils the port ``Compute``. The process starts when it is first needed, and again if it dies.

    ``spawn``, because a fork of a process with an event loop, threads and database connections is none.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """What ``function`` returns, computed elsewhere. Raises what it raises, and ``Outage`` where the
        process was killed (out of memory); the next call starts another one.
        """
        if self._pool is None:
            for name in THREADS:
                os.environ.setdefault(name, "1")  # More would only fight for the bot's core.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)
        except BrokenProcessPool as error:
            log.warning("workers.died")
            await self.stop()
            raise Outage("the computing process died") from error

    async def stop(self) -> None:
        """End the process; what it was at is thrown away."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in (pool._processes or {}).values():  # noqa: SLF001  # The executor cannot cut a task short.
                process.kill()
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)


def _begin() -> None:
    """In the new process: leave Ctrl-C to the bot, step back, and die with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    """A bot that is killed with -9 says no goodbye, and its pipe stays open on our side."""
    wait([sentinel])
    os._exit(1)
