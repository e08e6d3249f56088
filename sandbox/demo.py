"""The pretend world as a program: Slack's page, a clock, senders, and the real bot as its child."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from sandbox.clock import ShiftedClock
from sandbox.cloud.bondpoint import REPOSITORY, BondPoint
from sandbox.cloud.buckets import PretendStorage, why_not
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import failing
from sandbox.cloud.furnishing import furnish
from sandbox.senders import alertmanager, monitoring, monitoring_test
from sandbox.slack.workspace import Workspace
from sandbox.slack.world import WorldButton, WorldSlider

HOME = Path(".demo")
"""Everything that the demo remembers lies here; FRESH=1 forgets it."""

PORT = 8700
"""The page's port, if it is free."""

BACK_AFTER = 5.0
"""Seconds after which a killed bot comes back by itself."""

USER, PASSWORD = "demo", "only-for-the-pretend-world"
POLICY = Path(__file__).parent.parent / "toban.example.yaml"

DIALS = (
    WorldSlider("API errors", "/world/dial/errors", 0, 8, 0.1, "%", 0),
    WorldSlider("API latency", "/world/dial/latency", 1, 6, 0.1, "x", 1),
    WorldSlider("API traffic", "/world/dial/traffic", 0, 5, 0.1, "x", 1),
    WorldSlider("DB disk", "/world/dial/disk", 10, 100, 1, "%", 40),
)
"""What a person may do to BondPoint's services; monitoring shows it two minutes later."""

BUTTONS = (
    WorldButton("Critical Alert", "/world/send/critical"),
    WorldButton("Its Recovery", "/world/send/recovery"),
    WorldButton("Warning", "/world/send/warning"),
    WorldButton("Alertmanager", "/world/send/alertmanager"),
    WorldButton("Test Button", "/world/send/test"),
    WorldButton("Health Address Down", "/world/health/down"),
    WorldButton("Health Address Up", "/world/health/up"),
    WorldButton("Next SQL Backup Fails", "/world/backups/fail"),
    WorldButton("Kill the Bot (-9)", "/world/bot/kill"),
    WorldButton("Start the Bot", "/world/bot/start"),
)


class Demo:
    """The world process. Its own state is the workspace's journal and one small file for the clock."""

    def __init__(self, home: Path, port: int, locale: str) -> None:
        self.home = home
        self.port = port
        self.locale = locale
        self.remembered = _read(home / "world.json")
        shift = timedelta(seconds=float(self.remembered.get("shift", 0.0)))
        self.clock = ShiftedClock(shift)
        self.bot_port = _free_port(int(self.remembered.get("bot_port", 0)))
        self.began = float(self.remembered.get("began", self.clock.now().timestamp()))
        dials = [replace(one) for one in DIALS]
        self.slack = Workspace(self.clock, journal=home / "slack.db", buttons=BUTTONS, sliders=dials)
        self.cloud = Cloud(self.clock)
        self.bondpoint = BondPoint(self.cloud, datetime.fromtimestamp(self.began, UTC))
        for at, what, value in self.remembered.get("dials", []):
            self._turn(at, what, value)
        self.slack.on_advance = self.advance
        self.slack.status = self.status
        self.storage = PretendStorage(home / "storage") if why_not() is None else None
        self.child: asyncio.subprocess.Process | None = None
        self.state = "stopped"
        self._wanted = asyncio.Event()
        self._shifted = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until told to stop; the child goes down with the world."""
        router = self.slack.app.router
        router.add_post("/world/send/{what}", self._send)
        router.add_post("/world/bot/{what}", self._bot)
        router.add_post("/world/dial/{what}", self._dial)
        router.add_post("/world/health/{what}", self._health)
        router.add_post("/world/backups/fail", self._fail_backup)
        router.add_get("/world/shift", self._shift)
        router.add_get("/healthz", self._healthz)
        await self.cloud.start()
        if self.storage is not None:
            await self.storage.start()
        await furnish(self.cloud, self.storage)
        await self.slack.start(port=_free_port(self.port))
        self.slack.events_url = f"http://127.0.0.1:{self.bot_port}/slack/events"
        (self.home / "toban.yaml").write_text(self._policy())
        self._remember()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        keeper = asyncio.create_task(self._keep())
        if not self.remembered.get("begun"):
            self._later(self._deliver("cloud-monitoring", self._alert("open")))
            self._remember(begun=True)
        _say(f"\n  Toban's pretend world: {self.slack.url}\n")
        _say("  A critical alert is on its way to #alerts. Act as kenji to see the page he gets;")
        _say("  push the clock by 15 minutes and aya is paged.")
        _say("  Deploy as mika, approve as kenji; the second one is taken back by itself:")
        for tag in ("v42", "v43-broken"):
            _say(f"    /deploy bondpoint-api {REPOSITORY}/api:{tag}")
        _say("  An open P1 holds deploys: /incident resolve INC-1 first.")
        _say("  /toban backup run production copies a database, documents, pictures and secrets' names;")
        _say("  /toban backup drill production, approved by somebody else, restores them beside.")
        _say("  Stop with Ctrl-C; the next make demo goes on from there.\n")
        await stop.wait()
        keeper.cancel()
        if self.child is not None and self.child.returncode is None:
            self.child.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await self.child.wait()
        for task in self._sending:
            task.cancel()
        await self.cloud.stop()
        if self.storage is not None:
            await self.storage.stop()
        await self.slack.stop()

    # The clock.

    async def advance(self, seconds: float) -> None:
        """A person pushes the clock: the bot's clock follows at once."""
        self.clock.shift += timedelta(seconds=seconds)
        self._remember()
        self._shifted.set()
        self._shifted = asyncio.Event()

    async def _shift(self, request: web.Request) -> web.Response:
        """What the child's clock follows: answers when the shift is another one, or after 20 s."""
        known = float(request.query.get("known", "-1"))
        if known == self.clock.shift.total_seconds():
            with suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await self._shifted.wait()
        return web.json_response({"shift": self.clock.shift.total_seconds()})

    # The bot.

    def status(self) -> dict[str, Any]:
        """What the page's top line says."""
        return {"bot": self.state}

    async def _keep(self) -> None:
        """Start the bot, and start it again after it died."""
        while True:
            self._wanted.clear()
            self.state = "starting"
            self.child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sandbox.child",
                env=self._environment(),
                stdin=asyncio.subprocess.PIPE,
            )
            await self._until_ready()
            code = await self.child.wait()
            self.state = f"dead ({'killed' if code < 0 else f'exit {code}'}), back in {BACK_AFTER:.0f} s"
            with suppress(TimeoutError):
                async with asyncio.timeout(BACK_AFTER):
                    await self._wanted.wait()

    async def _until_ready(self) -> None:
        assert self.child is not None
        async with aiohttp.ClientSession() as session:
            while self.child.returncode is None:
                try:
                    async with session.get(f"http://127.0.0.1:{self.bot_port}/livez") as answer:
                        if answer.status == 200:
                            self.state = "running"
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("TOBAN_", "SLACK_"))
        }
        if self.storage is not None:
            kept["TOBAN_STORAGE_ENDPOINT"] = self.storage.url
        return kept | {
            "TOBAN_DATABASE_URL": f"sqlite:///{(self.home / 'toban.db').resolve()}",
            "TOBAN_POLICY": str((self.home / "toban.yaml").resolve()),
            "TOBAN_GCP_ENDPOINT": self.cloud.endpoint,
            "TOBAN_GCP_HTTP_ENDPOINT": self.cloud.http_endpoint,
            "TOBAN_PORT": str(self.bot_port),
            "TOBAN_LOCALE": self.locale,
            "TOBAN_LOG_FORMAT": "console",
            "TOBAN_LOG_LEVEL": os.environ.get("TOBAN_LOG_LEVEL", "WARNING"),
            "TOBAN_WEBHOOK_USER": USER,
            "TOBAN_WEBHOOK_PASSWORD": PASSWORD,
            "SLACK_BOT_TOKEN": self.slack.bot_token,
            "SLACK_SIGNING_SECRET": self.slack.signing_secret,
            "SLACK_API_URL": self.slack.api_url,
            "DEMO_WORLD": self.slack.url,
            "PYTHONUNBUFFERED": "1",
        }

    async def _bot(self, request: web.Request) -> web.Response:
        match request.match_info["what"]:
            case "kill" if self.child is not None and self.child.returncode is None:
                self.child.kill()
                return web.json_response({"ok": True})
            case "start":
                self._wanted.set()
                return web.json_response({"ok": True})
            case _:
                return web.json_response({"ok": False, "error": "the bot is not running"}, status=409)

    # The services.

    async def _fail_backup(self, request: web.Request) -> web.Response:
        """Both attempts of the next backup of the instance."""
        self.cloud.faults.add(
            failing("Internal error at the pretend Google."), method="SqlInsertBackupRun", count=2
        )
        return web.json_response({"ok": True})

    def _policy(self) -> str:
        """BondPoint's policy, its health address being one that this world answers."""
        written = POLICY.read_text(encoding="utf-8")
        changes = {
            "url: https://api.bondpoint.example/healthz": f"url: {self.slack.url}/healthz",
            "origins: [https://api.bondpoint.example]": f"origins: [{self.slack.url}]",
            "      slow: 2s\n": "      slow: 2s\n      private: true\n",
            "    to: /var/backups/toban\n": f"    to: {(self.home / 'backups').resolve()}\n",
        }
        for old, new in changes.items():
            if written.count(old) != 1:
                raise ValueError(f"the example policy should say once: {old}")
            written = written.replace(old, new)
        if self.storage is None:  # Nothing is there to export to.
            written = written.partition("\n  production:\n    at:")[0]
        # The story is told on any day.
        head, _, rest = written.partition("\n  freezes:\n")
        kept = rest.splitlines(keepends=True)
        while kept and (kept[0].startswith("    ") or not kept[0].strip()):
            kept.pop(0)
        return f"{head}\n{''.join(kept)}" if rest else head

    async def _dial(self, request: web.Request) -> web.Response:
        what, value = request.match_info["what"], (await request.json()).get("value")
        if what not in {one.path.rpartition("/")[2] for one in DIALS} or not isinstance(value, int | float):
            return web.json_response({"ok": False, "error": f"no dial is called {what}"}, status=404)
        at = self.clock.now().timestamp()
        self._turn(at, what, float(value))
        self._remember(dials=[*self.remembered.get("dials", []), [at, what, float(value)]])
        return web.json_response({"ok": True})

    def _turn(self, at: float, what: str, value: float) -> None:
        api = self.bondpoint.services["bondpoint-api"]
        match what:
            case "errors":
                api.set(at, error_share=value / 100)
            case "latency":
                api.set(at, slower=value)
            case "traffic":
                api.set(at, busier=value)
            case "disk":
                self.bondpoint.database.set(at, disk=value / 100)
        for one in self.slack.sliders:
            if one.path.endswith(f"/{what}"):
                one.value = value

    async def _health(self, request: web.Request) -> web.Response:
        self._remember(ill=request.match_info["what"] == "down")
        return web.json_response({"ok": True})

    async def _healthz(self, request: web.Request) -> web.Response:
        """The API's own health address."""
        if self.remembered.get("ill"):
            return web.json_response({"status": "database unreachable"}, status=503)
        return web.json_response({"status": "healthy"})

    # The senders.

    async def _send(self, request: web.Request) -> web.Response:
        match request.match_info["what"]:
            case "critical":
                self._remember(alert=f"0.{secrets.token_hex(6)}")
                work = self._deliver("cloud-monitoring", self._alert("open"))
            case "recovery":
                work = self._deliver("cloud-monitoring", self._alert("closed"))
            case "warning":
                body = monitoring(
                    f"0.{secrets.token_hex(6)}",
                    severity="Warning",
                    policy="Sync queue is growing",
                    service="bondpoint-sync",
                    started=int(self.clock.now().timestamp()),
                )
                work = self._deliver("cloud-monitoring", body)
            case "alertmanager":
                started = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
                body = alertmanager("api-1", "api-2", "api-3", started=started)
                work = self._deliver("alertmanager", body)
            case "test":
                work = self._deliver("cloud-monitoring", monitoring_test())
            case other:
                return web.json_response({"ok": False, "error": f"nothing is called {other}"}, status=404)
        self._later(work)
        return web.json_response({"ok": True})

    def _alert(self, state: str) -> dict[str, Any]:
        name = str(self.remembered.get("alert", "0.first"))
        return monitoring(name, state=state, started=int(self.clock.now().timestamp()))

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(self, sender: str, body: dict[str, Any]) -> None:
        """Send until it is accepted, as a sender does that keeps its promise."""
        headers = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}
        url = f"http://127.0.0.1:{self.bot_port}/webhooks/{sender}"
        async with aiohttp.ClientSession(headers=headers) as session:
            while True:
                try:
                    async with session.post(url, json=body) as answer:
                        if answer.status < 300:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.3)

    def _remember(self, **more: Any) -> None:
        now = {"shift": self.clock.shift.total_seconds(), "bot_port": self.bot_port, "began": self.began}
        self.remembered |= now | more
        path = self.home / "world.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(self.remembered))
        new.replace(path)


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _free_port(wanted: int) -> int:
    """The wanted port, or any other one where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port is free")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(*, fresh: bool = False, port: int = PORT, home: Path = HOME, locale: str = "en") -> None:
    """Run the demo until Ctrl-C."""
    if fresh and home.exists():
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)

    async def run() -> None:
        await Demo(home, port, locale).run()

    asyncio.run(run())
