"""Socket Mode, watched: a connection that dies, goes silent or is told to go is replaced by a new one.

Spoken here rather than by the SDK's client, which measures silence by the wall clock, tries a used
address for ever when it cannot be opened, and leaves the work it began to itself. Format:
https://docs.slack.dev/apis/events-api/using-socket-mode
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError, SlackClientError

if TYPE_CHECKING:
    from slack_bolt import BoltResponse
    from slack_bolt.async_app import AsyncApp

log = structlog.get_logger(__name__)

Envelope = dict[str, Any]

SHORT_LIVED = 2
"""So many connections may end soon after they began before we pause between them."""

ENDS = frozenset({aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED})


@dataclass(frozen=True)
class Times:
    """Every wait, in seconds.

    ``ping``: between two pings; an answer that is missing for half of it ends the connection, so that
    silence is noticed within one and a half of it. ``connect``: for one attempt, Slack's greeting
    included. ``retry``: before the next attempt, doubled up to ``retry_most``. ``linger``: how long a
    connection that was told to go is still listened to. ``finish``: for work under way at the end.
    """

    ping: float = 10.0
    connect: float = 15.0
    retry: float = 1.0
    retry_most: float = 30.0
    linger: float = 15.0
    finish: float = 3.0


TIMES = Times()


class _NoConnection(Exception):
    """It could not be made. ``retry_after`` in seconds, where Slack named them."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Socket:
    """Keeps one connection to Slack alive for as long as it runs; two for a moment while it changes over."""

    def __init__(self, app: "AsyncApp", app_token: str, times: Times = TIMES) -> None:
        self._app = app
        self._token = app_token
        self.times = times
        self._lines: list[_Line] = []
        self._keeper: asyncio.Task[None] | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._why = "not connected yet"
        self.connections = 0

    def start(self) -> None:
        """Connect, and go on connecting; returns at once."""
        self._keeper = asyncio.create_task(self._keep(), name="socket-keeper")

    @property
    def problem(self) -> str | None:
        """Why nothing arrives, or ``None``."""
        return None if any(line.alive for line in self._lines) else self._why

    async def stop(self) -> None:
        """Take nothing more, let what is under way be acknowledged, and close."""
        if self._keeper is not None:
            await _cancelled(self._keeper)
            self._keeper = None
        await asyncio.gather(*[line.deafen() for line in self._lines])
        if self._work:
            await asyncio.wait(self._work, timeout=self.times.finish)
        await asyncio.gather(*[_cancelled(task) for task in tuple(self._work)])
        await asyncio.gather(*[line.close() for line in self._lines])
        self._lines.clear()
        self._why = "stopped"

    async def _keep(self) -> None:
        """One connection after the other; a new one is made before one that was told to go is closed."""
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            try:
                line = await self._connect()
            except _NoConnection as failure:
                failures += 1
                self._why = failure.reason
                log.warning("socket.not_connected", reason=failure.reason, failures=failures)
                await asyncio.sleep(max(self._pause(failures), failure.retry_after or 0.0))
                continue
            since = clock()
            self.connections += 1
            log.info("socket.connected", connections=self.connections)
            await line.leaving.wait()
            self._why = line.why
            log.info("socket.leaving", reason=line.why)
            failures = 0 if clock() - since > self.times.connect else failures + 1
            if failures > SHORT_LIVED:
                await asyncio.sleep(self._pause(failures - SHORT_LIVED))

    def _pause(self, failures: int) -> float:
        return min(self.times.retry * 2.0 ** min(failures - 1, 10), self.times.retry_most)

    async def _connect(self) -> "_Line":
        """A connection over which Slack has said hello. Raises ``_NoConnection``."""
        line = _Line(self)
        try:
            async with asyncio.timeout(self.times.connect):
                await line.open(await self._address())
                self._lines.append(line)
                await line.greeted()
        except BaseException as error:  # Whatever it was, nothing stays open; it goes on below.
            await self._drop(line)
            if isinstance(error, _NoConnection) or not isinstance(error, Exception):
                raise
            if not isinstance(error, aiohttp.ClientError | OSError):  # TimeoutError is an OSError.
                log.exception("socket.unforeseen")  # A bug must not leave us deaf: it is tried again.
            what = "slack does not say hello" if line.opened else "no connection"
            raise _NoConnection(f"{what}: {type(error).__name__}") from error
        return line

    async def _address(self) -> str:
        """A new address; each opens one connection once. Raises ``_NoConnection``."""
        try:
            answer = await self._app.client.apps_connections_open(app_token=self._token)
        except SlackApiError as error:
            data = getattr(error.response, "data", None)
            headers = getattr(error.response, "headers", None) or {}
            code = data.get("error") if isinstance(data, dict) else None
            wait = str(headers.get("Retry-After") or headers.get("retry-after") or "")
            raise _NoConnection(
                f"slack: {code or 'no answer of its own'}", float(wait) if wait.isdigit() else None
            ) from error
        except (SlackClientError, ValueError) as error:  # What is not JSON, or not an answer of Slack's.
            raise _NoConnection(f"no address: {type(error).__name__}") from error
        address = answer.get("url")
        if not isinstance(address, str):
            raise _NoConnection("slack gave no address")
        return address

    async def _drop(self, line: "_Line") -> None:
        if line in self._lines:
            self._lines.remove(line)
        await line.close()

    def _lost(self, line: "_Line") -> None:
        """Its reader ended by itself."""
        self._begin(self._drop(line))

    def _received(self, line: "_Line", envelope: Envelope) -> None:
        self._begin(self._handle(line, envelope))

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work, name="socket-work")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _handle(self, line: "_Line", envelope: Envelope) -> None:
        """Give it to Bolt. Where Bolt does not say yes we do not either: Slack tells the person."""
        from slack_bolt.async_app import AsyncBoltRequest

        retries = {"x-slack-retry-num": "retry_attempt", "x-slack-retry-reason": "retry_reason"}
        headers: dict[str, str | Sequence[str]] = {
            name: str(envelope[field]) for name, field in retries.items() if envelope.get(field)
        }
        try:
            payload = envelope.get("payload") or {}
            request = AsyncBoltRequest(mode="socket_mode", body=payload, headers=headers)
            answer = await self._app.async_dispatch(request)
            if answer.status == 200:
                await self._acknowledge(line, json.dumps(_acknowledgement(envelope, answer)))
            else:
                log.warning("socket.not_acknowledged", type=envelope.get("type"), status=answer.status)
        except Exception:  # One request's bug must not end what serves all the others.
            log.exception("socket.dispatch_failed", type=envelope.get("type"))

    async def _acknowledge(self, line: "_Line", frame: str) -> None:
        """Over the connection that it came by, else over one that is alive."""
        others = [other for other in reversed(self._lines) if other is not line]
        for one in [line, *others]:
            if one.alive:
                with suppress(ConnectionError, aiohttp.ClientError):
                    await one.send(frame)
                    return
        log.warning("socket.acknowledgement_lost")


class _Line:
    """One WebSocket with a client session of its own, and the task that reads it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._times = socket.times
        self._session: aiohttp.ClientSession | None = None
        self._web: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._hello = asyncio.Event()
        self.leaving = asyncio.Event()
        self.why = "the connection was closed"

    @property
    def opened(self) -> bool:
        """The connection stands, whether Slack has said hello or not."""
        return self._web is not None

    @property
    def alive(self) -> bool:
        """Slack has said hello, and every ping was answered since."""
        return self._hello.is_set() and self._web is not None and not self._web.closed

    async def open(self, address: str) -> None:
        """Connect, by the way that the Web API's calls take."""
        client = self._socket._app.client  # noqa: SLF001  # The two classes are one thing.
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        self._web = await self._session.ws_connect(
            address,
            heartbeat=self._times.ping,
            timeout=aiohttp.ClientWSTimeout(ws_close=self._times.finish),
            proxy=client.proxy,
            ssl=client.ssl if client.ssl is not None else True,
        )
        self._reader = asyncio.create_task(self._read(self._web), name="socket-reader")

    async def greeted(self) -> None:
        """Wait for Slack's hello. Raises ``_NoConnection`` where it ends before."""
        waits = [asyncio.create_task(event.wait()) for event in (self._hello, self.leaving)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                await _cancelled(wait)
        if self.leaving.is_set():
            raise _NoConnection(self.why)

    async def send(self, frame: str) -> None:
        """Raises ``ConnectionError`` or ``aiohttp.ClientError`` where it is dead."""
        if self._web is None:
            raise ConnectionResetError("never opened")
        await self._web.send_str(frame)

    async def deafen(self) -> None:
        """Read no more; what was read may still be acknowledged."""
        if self._reader is not None and self._reader is not asyncio.current_task():
            await _cancelled(self._reader)

    async def close(self) -> None:
        """Leave nothing open, whatever state it is in."""
        await self.deafen()
        self.leaving.set()
        if self._web is not None:
            await self._web.close()
        if self._session is not None:
            await self._session.close()

    async def _read(self, web: aiohttp.ClientWebSocketResponse) -> None:
        deadline: float | None = None
        try:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        message = await web.receive()
                except TimeoutError:
                    break
                if message.type is aiohttp.WSMsgType.TEXT:
                    if self._take(message.data) and deadline is None:
                        deadline = asyncio.get_running_loop().time() + self._times.linger
                elif message.type is aiohttp.WSMsgType.ERROR:
                    silent = isinstance(message.data, aiohttp.ServerTimeoutError)
                    self.why = "the socket is silent" if silent else f"broken: {type(message.data).__name__}"
                    break
                elif message.type in ENDS:
                    break
        finally:
            self.leaving.set()
        self._socket._lost(self)  # noqa: SLF001  # The two classes are one thing.

    def _take(self, text: str) -> bool:
        """Understand one frame. True where it tells us to go."""
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            log.warning("socket.unreadable", length=len(text))
            return False
        match frame:
            case {"type": "hello"}:
                self._hello.set()
            case {"type": "disconnect", **more}:
                self.why = f"slack says: {more.get('reason')}"
                self.leaving.set()
                return True
            case {"envelope_id": str()}:
                self._socket._received(self, frame)  # noqa: SLF001  # The two classes are one thing.
            case _:
                log.info("socket.not_understood", length=len(text))
        return False


def _acknowledgement(envelope: Envelope, answer: "BoltResponse") -> Envelope:
    """What Bolt answered, as Socket Mode carries it."""
    frame: Envelope = {"envelope_id": envelope["envelope_id"]}
    if not answer.body:
        return frame
    kind = next(iter(answer.headers.get("content-type", [])), "")
    payload = json.loads(answer.body) if kind.startswith("application/json") else {"text": answer.body}
    return frame | {"payload": payload}


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel it and wait until it has ended; our own cancellation goes through."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("socket.task_failed", task=task.get_name(), error=repr(error))
