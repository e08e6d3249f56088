"""What this process works on: a task for each thing, so that nothing waits for another one's answer."""

import asyncio
from collections.abc import Awaitable, Callable, Collection


class UnderWay:
    """Tasks by name; of each name one at a time. What they do is in the tables: a task can be lost."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.crashed: BaseException | None = None

    def __contains__(self, name: str) -> bool:
        """Whether it is under way."""
        return name in self._tasks

    def begin(self, name: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Begin it in a task of its own. False where that is under way already."""
        if name in self._tasks:
            return False
        task = asyncio.create_task(_run(work), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda ended: self._done(name, ended))
        return True

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        if not task.cancelled() and task.exception() is not None:
            self.crashed = task.exception()

    def cancel(self, name: str | None = None) -> None:
        """End it at once, or all of it; what was lost is done again by whoever finds it in the tables."""
        for known, task in self._tasks.items():
            if name in {None, known}:
                task.cancel()

    async def quiet(self, hangs: Collection[str] = ()) -> None:
        """Wait until everything has ended, except what ``hangs``. Raises what one of the tasks died of."""
        while waits := [task for name, task in self._tasks.items() if name not in hangs]:
            await asyncio.wait(waits)
        if self.crashed is not None:
            raise self.crashed

    async def stop(self) -> None:
        """End all of it, and wait until it has let go."""
        tasks = list(self._tasks.values())
        self.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()
