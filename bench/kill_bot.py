"""The real bot as a process that is killed with -9 and started again, always on the same port."""

import asyncio
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp

from sandbox.slack.workspace import Workspace

USER, PASSWORD = "kill", "only-for-the-kill-test"
AUTHORIZATION = aiohttp.encode_basic_auth(USER, PASSWORD)

START_WITHIN = 180.0
"""Seconds until a started bot must answer ``/livez``; generous, because others use the machine."""

STOP_WITHIN = 10.0
"""Seconds that the platform allows a shutdown."""

POLICY = """
people:
  kenji: { email: kenji@bondpoint.example, locale: ja }
  aya: { email: aya@bondpoint.example, locale: ja }
  mika: { email: mika@bondpoint.example, locale: en }
  dan: { email: dan@bondpoint.example, locale: en }
  yuko: { email: yuko@bondpoint.example, locale: ja }
channels: { alerts: "#alerts", incidents: "#incidents", deploys: "#deploys", ops: "#ops" }
ladders:
  info: []
  warning:
    - { tell: dan, by: [slack], respond: 5h, wait: 10h }
  critical:
    - { tell: [kenji, mika], by: [slack], respond: 5h, wait: 10h }
    - { tell: yuko, by: [slack] }
  emergency:
    - { tell: yuko, by: [slack], wait: 10h }
"""
"""The waits outlast every run, so that each ladder has exactly one first page for each person."""


class Crashed(RuntimeError):
    """The bot ended by itself."""


class BotProcess:
    """One bot, many lives. ``log`` collects what all of them wrote."""

    def __init__(
        self, folder: Path, slack: Workspace, database_url: str, policy_text: str = POLICY, **environ: str
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "bot.log"
        policy = folder / "toban.yaml"
        policy.write_text(policy_text)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("TOBAN_", "SLACK_"))}
        self._environ = kept | {
            "TOBAN_DATABASE_URL": database_url,
            "TOBAN_POLICY": str(policy),
            "TOBAN_PORT": str(self.port),
            "TOBAN_LOG_LEVEL": "ERROR",
            "TOBAN_SHUTDOWN_GRACE": "0",
            "TOBAN_WEBHOOK_USER": USER,
            "TOBAN_WEBHOOK_PASSWORD": PASSWORD,
            "SLACK_BOT_TOKEN": slack.bot_token,
            "SLACK_SIGNING_SECRET": slack.signing_secret,
            "SLACK_API_URL": slack.api_url,
            **environ,
        }
        if self._environ.pop("PYTHONDONTWRITEBYTECODE", None):
            # Without compiled files each start would spend seconds of processor time on compiling.
            self._environ["PYTHONPYCACHEPREFIX"] = str(folder / "pycache")
        self._process: asyncio.subprocess.Process | None = None
        self.starts: list[float] = []

    async def spawn(self) -> None:
        """Start the process and do not wait for it."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "run", env=self._environ, stdout=log, stderr=log
            )

    async def start(self) -> None:
        """Start it and wait until it is alive. Raises ``Crashed`` and ``TimeoutError``."""
        began = time.perf_counter()
        await self.spawn()
        assert self._process is not None
        async with asyncio.timeout(START_WITHIN), aiohttp.ClientSession() as session:
            while True:
                if self._process.returncode is not None:
                    raise Crashed(f"it left with {self._process.returncode}\n{self.last_words()}")
                try:
                    async with session.get(f"{self.url}/livez") as answer:
                        if answer.status == 200:
                            self.starts.append(time.perf_counter() - began)
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill it with -9. Raises ``Crashed`` where it was dead already."""
        assert self._process is not None
        if self._process.returncode is not None:
            raise Crashed(f"it left with {self._process.returncode}\n{self.last_words()}")
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> tuple[int | None, float]:
        """Ask it to end: its exit code (``None`` where it did not end in time) and the seconds it took."""
        assert self._process is not None
        began = time.perf_counter()
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                code: int | None = await self._process.wait()
        except TimeoutError:
            code = None
            await self.kill()
        return code, time.perf_counter() - began

    def stand_still(self) -> None:
        """Stop it without a word, as a machine that hangs (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again as if nothing had been (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def bury(self) -> None:
        """Leave no process behind, whatever went wrong."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


def free_port() -> int:
    """A free port below the range from which the system takes those of outgoing connections.

    Between two lives nobody holds the port, so that a connection of somebody else could take it.
    """
    for port in random.sample(range(20_000, 30_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
