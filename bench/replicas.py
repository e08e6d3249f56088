"""`make chaos-test`: three real replicas on a real PostgreSQL, one of them always in trouble.

    python -m bench.replicas [--seconds 240] [--first N] [--seed N]

For four minutes of alerts one replica after the other is stopped (SIGSTOP) for half a minute, also while it
holds the lock of the drain and in the middle of a call; cut from the database for a minute; and killed with
-9 in a call. Senders try once, through a load balancer that looks at ``/readyz`` each second. Nothing that
was accepted may be lost, missed, doubled or opened again, and no emergency's page comes more than ten
seconds late. Then all three are restarted one after the other by SIGTERM under load: nobody may be refused.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
from aiohttp import web

from bench.balancer import Balancer
from bench.kill import SLACK_TAKES, UNFORESEEN, Outcome, come_to_rest, database, errors_of, table
from bench.kill_bot import POLICY, BotProcess
from bench.kill_count import Books
from bench.replicas_count import ReplicaCount
from bench.replicas_load import SingleTries
from sandbox.clock import ShiftedClock
from sandbox.proxy import Proxy
from sandbox.slack.workspace import Workspace
from storage.deliveries import DRAIN_LOCK

REPLICAS = 3

STOPPED_FOR = 30.0
"""Seconds that a replica stands still."""

CUT_FOR = 60.0
"""Seconds that its connections to the database carry nothing."""

BREATH = 4.0
"""Seconds between two troubles."""

RATE = 2.0
"""New alerts a second of troubles that go on."""

ROLLING = 240.0
"""Seconds of load for the rolling restart, far more than it takes; it ends with the restart."""

HELD_UP = 5.0
"""Seconds after which a delivery that nobody drains is worth a line, with whoever holds the drain's lock."""


class Replica:
    """One bot, with cables of its own to the database and to Slack."""

    def __init__(self, number: int, folder: Path, slack: Workspace, url: str) -> None:
        self.name = f"replica {number}"
        self._folder = folder / f"replica-{number}"
        self._slack = slack
        self._url = url
        self.database = Proxy.of_postgres(url)
        self.calls = Proxy(int(slack.url.rpartition(":")[2]))

    async def lay(self) -> None:
        """Lay the cables."""
        await self.database.start()
        await self.calls.start()
        self._folder.mkdir()
        self.bot = BotProcess(
            self._folder,
            self._slack,
            self.database.url(self._url),
            POLICY,
            SLACK_API_URL=f"http://127.0.0.1:{self.calls.port}/api/",
            TOBAN_SHUTDOWN_GRACE="5",
        )

    async def end(self) -> None:
        """Leave nothing behind."""
        await self.bot.bury()
        await self.database.stop()
        await self.calls.stop()


class Chaos:
    """One run."""

    def __init__(
        self, seconds: float, first: int, seed: int, url: str, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._seconds = seconds
        self._first = first
        self._url = url
        self._say = say
        self._chance = random.Random(seed)
        self._slack = Workspace(ShiftedClock())
        self._slack.app.middlewares.append(self._watched)
        self._folder = folder
        self._rang: dict[str, list[float]] = defaultdict(list)
        self._seen: set[tuple[str, str]] = set()
        self._calls: Counter[int] = Counter()
        self.happened: Counter[str] = Counter()

    @web.middleware
    async def _watched(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Note who calls and what was posted; answer a moment after the effect."""
        answer = await handler(request)
        if not request.path.startswith("/api/chat."):
            return answer
        self._note_posts()
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        port = peer[1] if peer else 0
        self._calls[port] += 1
        try:
            await asyncio.sleep(self._chance.uniform(*SLACK_TAKES))
        finally:
            self._calls[port] -= 1
        return answer

    def _note_posts(self) -> None:
        for post in reversed(list(self._slack.state.posts.values())):
            if (post.channel, post.ts) in self._seen:
                return
            self._seen.add((post.channel, post.ts))
            key = ((post.metadata or {}).get("event_payload") or {}).get("key")
            if key:
                self._rang[key].append(float(post.ts))

    async def go(self) -> Outcome:
        """The chaos, the rolling restart, the count."""
        await self._slack.start()
        self._replicas = [
            Replica(number, self._folder, self._slack, self._url) for number in range(1, REPLICAS + 1)
        ]
        books = Books(self._url)
        balancer = looking = None
        try:
            for replica in self._replicas:
                await replica.lay()
            for replica in self._replicas:
                await replica.bot.start()
            balancer = self._balancer = Balancer([replica.bot.url for replica in self._replicas])
            await balancer.start()
            for replica in self._replicas:
                await balancer.until_ready(replica.bot.url)
            chaos = SingleTries(balancer.url, self._chance, self._seconds, RATE, prefix="chaos-")
            async with asyncio.TaskGroup() as tasks:
                looking = asyncio.create_task(self._look_at_the_drain())
                tasks.create_task(chaos.run())
                tasks.create_task(self._trouble(chaos))
            began = time.perf_counter()
            stuck = await come_to_rest(books, self._say)
            rested = time.perf_counter() - began
            told = dict(balancer.answers)
            balancer.answers.clear()
            rolling, ends = await self._restart_all(balancer)
            stuck |= await come_to_rest(books, self._say)
            count = ReplicaCount(
                books, self._slack, [*chaos.said.values(), *rolling.said.values()], self._rang
            )
        finally:
            if looking is not None:
                looking.cancel()
            books.close()
            if balancer is not None:
                await balancer.stop()
            await asyncio.gather(*(replica.end() for replica in self._replicas))
            await self._slack.stop()
        return self._outcome(count, chaos, rolling, ends, stuck, rested, told)

    def _outcome(
        self,
        count: ReplicaCount,
        chaos: SingleTries,
        rolling: SingleTries,
        ends: list[int | None],
        stuck: dict[str, int],
        rested: float,
        told: dict[str, int],
    ) -> Outcome:
        found = Outcome(count.wrong, dict(count.facts), count.told)
        found.facts |= count.delays | dict(self.happened)
        found.facts |= {
            "single tries": chaos.attempts,
            "single tries not accepted": chaos.refused,
            "until rest after the chaos, seconds": rested,
            "single tries during the rolling restart": rolling.attempts,
        }
        found.facts |= {f"balancer answered: {what}": many for what, many in told.items()}
        found.wrong["not at rest"] = sum(stuck.values())
        found.told += [f"not at rest: {name}: {many}" for name, many in stuck.items()]
        found.wrong["refused by the rolling restart"] = rolling.refused
        found.told += [f"rolling restart: {what}: {many}" for what, many in rolling.outcomes.items()]
        found.wrong["bad ends"] = sum(code != 0 for code in ends)
        logged = [line for replica in self._replicas for line in errors_of(replica.bot.log)]
        found.facts |= {
            f"logged: {event}": many for event, many in Counter(event for event, _ in logged).items()
        }
        unforeseen = [line for event, line in logged if event in UNFORESEEN]
        found.wrong["unforeseen errors"] = len(unforeseen)
        found.told += unforeseen[:5]
        return found

    # What happens to them, in turn.

    async def _trouble(self, chaos: SingleTries) -> None:
        """One trouble after the other, until the senders are done."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        await asyncio.sleep(BREATH)
        turn = self._first
        steps = (self._stop_draining, self._kill_in_call, self._cut, self._stop_in_call, self._stop)
        while loop.time() < until:
            replica = self._replicas[turn % REPLICAS]
            step = steps[turn % len(steps)]
            self._say(f"  {loop.time() - until + self._seconds:5.0f} s: {step.__name__[1:]}, {replica.name}")
            await step(replica)
            await asyncio.sleep(BREATH)
            turn += 1
        for replica in self._replicas:
            await self._balancer.until_ready(replica.bot.url)
        self._say(f"  {len(chaos.accepted)} alerts accepted, {chaos.refused} tries refused")

    async def _stop(self, replica: Replica) -> None:
        replica.bot.stand_still()
        await asyncio.sleep(STOPPED_FOR)
        replica.bot.go_on()
        self.happened["stopped for 30 s"] += 1

    async def _stop_draining(self, replica: Replica) -> None:
        """Stop it while it holds the lock of the drain, which only one replica has."""
        async with asyncio.timeout(60):
            while not await self._stopped_with_lock(replica):
                pass
        await asyncio.sleep(STOPPED_FOR)
        replica.bot.go_on()
        self.happened["stopped for 30 s with the drain's lock"] += 1

    async def _stopped_with_lock(self, replica: Replica) -> bool:
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        async with connection:
            while (holder := await _drains(connection)) is None:
                await asyncio.sleep(0.002)
            replica.bot.stand_still()
            await asyncio.sleep(0.3)  # Nobody drains for so long unless he is stopped.
            if await _drains(connection) == holder:
                return True
            replica.bot.go_on()
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))
            return False

    async def _cut(self, replica: Replica) -> None:
        """Its connections to the database fall silent; it must be green again by itself afterwards."""
        replica.database.silence()
        red = await self._balancer.until_ready(replica.bot.url, ready=False)
        await asyncio.sleep(CUT_FOR - red)
        replica.database.restore()
        green = await self._balancer.until_ready(replica.bot.url)
        self._say(f"    not ready after {red:.1f} s, ready again after {green:.1f} s")
        self.happened["cut from the database for 60 s"] += 1

    async def _in_call(self, replica: Replica) -> None:
        """Wait until Slack has done what it asks for, and has not answered yet."""
        async with asyncio.timeout(60):
            while not any(many and replica.calls.carries(port) for port, many in self._calls.items()):
                await asyncio.sleep(0.001)

    async def _stop_in_call(self, replica: Replica) -> None:
        await self._in_call(replica)
        replica.bot.stand_still()
        await asyncio.sleep(STOPPED_FOR)
        replica.bot.go_on()
        self.happened["stopped for 30 s in a call"] += 1

    async def _kill_in_call(self, replica: Replica) -> None:
        await self._in_call(replica)
        await replica.bot.kill()
        self.happened["killed in a call"] += 1
        await replica.bot.start()
        await self._balancer.until_ready(replica.bot.url)

    async def _restart_all(self, balancer: Balancer) -> tuple[SingleTries, list[int | None]]:
        """SIGTERM and a new start, one replica after the other, as an orchestrator does."""
        self._say("  rolling restart")
        load = SingleTries(balancer.url, self._chance, ROLLING, RATE, prefix="rolling-")
        ends = []
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(load.run())
            await asyncio.sleep(2)
            for replica in self._replicas:
                code, _ = await replica.bot.stop()
                ends.append(code)
                await replica.bot.start()
                await balancer.until_ready(replica.bot.url)
            load.over.set()
            await sending
        return load, ends

    async def _look_at_the_drain(self) -> None:
        """Say when deliveries wait, and who has the drain's lock meanwhile."""
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        async with connection:
            while True:
                await asyncio.sleep(1)
                found = await (await connection.execute(OLDEST)).fetchone()
                if found is None or (found[0] or 0.0) <= HELD_UP:
                    continue
                holders = await (await connection.execute(HOLDERS % _lock_numbers())).fetchall()
                self._say(f"    a delivery waits for {found[0]:.0f} s; the drain's lock: {holders}")


OLDEST = (
    b"SELECT (extract(epoch FROM clock_timestamp()) - min(received_at) / 1000.0)::float FROM inbox"
    b" WHERE status = 'pending'"
)

HOLDERS = (
    b"SELECT pid, state, wait_event_type, wait_event, now() - xact_start AS since, left(query, 200)"
    b" FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
    b" AND classid = %d AND objid = %d AND pg_locks.database ="
    b" (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _lock_numbers() -> tuple[int, int]:
    return DRAIN_LOCK >> 32, DRAIN_LOCK & 0xFFFFFFFF


async def _drains(connection: psycopg.AsyncConnection) -> int | None:
    """Who holds the lock of the drain: the server's process."""
    found = await (await connection.execute(HOLDERS % _lock_numbers())).fetchone()
    return None if found is None else int(found[0])


async def chaos(
    seconds: float, first: int, seed: int, folder: Path, say: Callable[[str], None] = print
) -> Outcome:
    """One whole run."""
    with database("postgresql", folder) as url:
        return await Chaos(seconds, first, seed, url, folder, say).go()


def main() -> int:
    """Returns 1 where anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.replicas", description=__doc__)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--first", type=int, default=0, help="which trouble comes first")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"{REPLICAS} replicas, {given.seconds:.0f} s of alerts, seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(
            chaos(given.seconds, given.first, given.seed, Path(folder), lambda line: print(line, flush=True))
        )
    print(table("replicas on postgresql", found), flush=True)
    return 0 if found.clean else 1


if __name__ == "__main__":
    sys.exit(main())
