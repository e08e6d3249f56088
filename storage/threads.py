"""Work that may never return, such as a file on a disk that is gone, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

R = TypeVar("R")


async def in_own_thread(work: Callable[..., R], *arguments: object, **options: object) -> R:
    """The result of ``work``; whoever is cancelled leaves the thread behind.

    The pool that everybody shares has a few threads: a handful that hang would stop what has nothing to do
    with them. And the process would wait for them at its end.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[R] = loop.create_future()

    def tell(result: R | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            result, failed = work(*arguments, **options), None
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited.
            result, failed = None, error
        with suppress(RuntimeError):  # The loop has ended meanwhile, and nobody waits.
            loop.call_soon_threadsafe(tell, result, failed)

    threading.Thread(target=run, name=f"own-{getattr(work, '__name__', 'work')}", daemon=True).start()
    return await answer
