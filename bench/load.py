"""Sends prepared HTTP requests over kept-alive connections as fast as they are answered, or at a rate.

A process of its own, so that it has a core of its own: `python -m bench.load` reads a job as JSON from
standard input and prints what it measured as JSON. It parses only as much of an answer as it needs.
"""

import asyncio
import json
import sys
import time
from typing import Any


class Tally:
    """Latencies in seconds, by status."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}

    def add(self, status: int, seconds: float) -> None:
        self.latencies.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1


class Line(asyncio.Protocol):
    """One connection: a request is written, its answer awaited, then the next one."""

    def __init__(self) -> None:
        self.buffer = b""
        self.answered: asyncio.Future[int] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(ConnectionError("closed"))

    async def ask(self, request: bytes) -> int:
        assert self.transport is not None
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answered


def request(job: dict[str, Any], body: bytes) -> bytes:
    head = (
        f"POST {job['path']} HTTP/1.1\r\nHost: 127.0.0.1:{job['port']}\r\n"
        f"Authorization: {job['authorization']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_loop(job: dict[str, Any]) -> Tally:
    """Each connection sends its next request when the last one is answered, for ``seconds``."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    template = job["body"].encode()
    marks = [mark.encode() for mark in job["marks"]]
    until = time.perf_counter() + job["seconds"]
    count = 0

    async def line(number: int) -> None:
        nonlocal count
        _, protocol = await loop.create_connection(Line, "127.0.0.1", job["port"])
        while time.perf_counter() < until:
            count += 1
            body = template
            for mark in marks:
                body = body.replace(mark, b"%s-%08x" % (job["run"].encode(), count))
            sent = request(job, body)
            began = time.perf_counter()
            status = await protocol.ask(sent)
            tally.add(status, time.perf_counter() - began)
        protocol.transport.close()

    await asyncio.gather(*[line(number) for number in range(job["connections"])])
    return tally


async def open_loop(job: dict[str, Any]) -> Tally:
    """A request every ``1/rate`` seconds whatever happens; latency counts from the intended moment."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    template = job["body"].encode()
    mark = job["marks"][0].encode()
    free: asyncio.Queue[Line] = asyncio.Queue()
    for _ in range(job["connections"]):
        _, protocol = await loop.create_connection(Line, "127.0.0.1", job["port"])
        free.put_nowait(protocol)
    began = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int, intended: float) -> None:
        protocol = await free.get()
        body = template.replace(mark, b"%s-%08x" % (job["run"].encode(), number))
        status = await protocol.ask(request(job, body))
        tally.add(status, time.perf_counter() - intended)
        free.put_nowait(protocol)

    for number in range(int(job["rate"] * job["seconds"])):
        intended = began + number / job["rate"]
        pause = intended - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        task = asyncio.create_task(one(number, intended))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return tally


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


async def main() -> None:
    job = json.loads(sys.stdin.read())
    began = time.perf_counter()
    tally = await (open_loop(job) if job.get("rate") else closed_loop(job))
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "requests": len(tally.latencies),
                "per_second": len(tally.latencies) / seconds,
                "p50_ms": quantile(tally.latencies, 0.5) * 1000,
                "p99_ms": quantile(tally.latencies, 0.99) * 1000,
                "max_ms": max(tally.latencies, default=float("nan")) * 1000,
                "statuses": tally.statuses,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
