"""13.16, 13.22: how the program starts, is told things, and ends; as a process, as an operator sees it."""

import asyncio
import os
import secrets
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from bot.policy_reload import reload
from domain.errors import Outage
from sandbox.clock import ShiftedClock
from sandbox.demo import POLICY
from sandbox.slack import faults
from sandbox.slack.workspace import Workspace
from sandbox.stage import PASSWORD, USER, Stage
from storage.lock import FileLock
from tests.payloads import monitoring

LOGIN = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """One ``toban run``."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, path: str) -> int | None:
        """The status; nothing where nobody listens."""
        with suppress(aiohttp.ClientError, TimeoutError):
            limit = aiohttp.ClientTimeout(total=3)
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(self.url + path) as got:
                return got.status
        return None

    async def alert(self, body: object) -> int | None:
        """Send an alert; its status."""
        with suppress(aiohttp.ClientError):
            async with (
                aiohttp.ClientSession(headers=LOGIN) as session,
                session.post(f"{self.url}/webhooks/cloud-monitoring", json=body) as got,
            ):
                return got.status
        return None

    async def until(self, path: str, status: int | None, seconds: float = 60) -> float:
        """How long it took until this is the answer."""
        began = time.monotonic()
        while await self.get(path) != status:
            assert time.monotonic() - began < seconds, (path, status)
            assert self.process.returncode is None or status is None, self.process.returncode
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def ends(self, seconds: float) -> tuple[int | None, float]:
        """The exit code, and after how many seconds it came."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            await self.process.wait()
        return self.process.returncode, time.monotonic() - began


@asynccontextmanager
async def running(folder: Path, api_url: str, **environ: str) -> AsyncIterator[Running]:
    port = int(environ.get("TOBAN_PORT", free_port()))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOBAN_", "SLACK_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        "run",
        env=kept
        | {
            "TOBAN_DATABASE_URL": f"sqlite:///{folder / 'toban.db'}",
            "TOBAN_POLICY": str(POLICY),
            "TOBAN_PORT": str(port),
            "TOBAN_WEBHOOK_USER": USER,
            "TOBAN_WEBHOOK_PASSWORD": PASSWORD,
            "SLACK_BOT_TOKEN": "xoxb-" + secrets.token_hex(8),
            "SLACK_SIGNING_SECRET": "secret",
            "SLACK_API_URL": api_url,
        }
        | environ,
        stdout=PIPE,
        stderr=PIPE,
        limit=1 << 24,
    )
    try:
        yield Running(process, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def silent_slack() -> AsyncIterator[str]:
    """A Slack that takes connections and never answers."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _reader, writer: held.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/api/"
    for writer in held:
        writer.close()
    server.close()


@asynccontextmanager
async def talking_slack() -> AsyncIterator[Workspace]:
    slack = Workspace(ShiftedClock())
    await slack.start()
    yield slack
    await slack.stop()


async def test_13_16_alerts_are_accepted_while_slack_says_nothing_and_the_end_takes_ten_seconds_at_most(
    tmp_path: Path,
) -> None:
    async with silent_slack() as api, running(tmp_path, api) as bot:
        await bot.until("/readyz", 200)
        assert await bot.alert(monitoring()) == 200
        await asyncio.sleep(1)  # Calls to Slack are under way now, each for many seconds.
        bot.process.send_signal(signal.SIGTERM)
        took = await bot.until("/readyz", 503, 2)
        assert took < 2
        assert await bot.alert(monitoring("0.two", policy="Latency")) == 200, "the door is open still"
        code, seconds = await bot.ends(12)
        assert code == 0
        assert 4 < seconds < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
async def test_13_16_signals_end_the_program_in_good_order_and_others_do_not(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with talking_slack() as slack:
        environ = {"SLACK_BOT_TOKEN": slack.bot_token, "TOBAN_SHUTDOWN_GRACE": "0"}
        async with running(tmp_path, slack.api_url, **environ) as bot:
            await bot.until("/readyz", 200)
            for harmless in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
                bot.process.send_signal(harmless)
            await asyncio.sleep(0.3)
            assert await bot.alert(monitoring()) == 200
            bot.process.send_signal(number)
            code, _ = await bot.ends(10)
            assert code == 0
            said = (await bot.process.communicate())[0].decode()
            assert "bot.stopping" in said
            assert "policy.taken_over" in said


def _ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a process ignores a signal, as Linux has it."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(mask, 16) & 1 << (number - 1))


async def test_13_16_no_signal_kills_while_the_program_starts(tmp_path: Path) -> None:
    numbers = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    async with silent_slack() as api, running(tmp_path, api, TOBAN_SHUTDOWN_GRACE="0") as bot:
        # As early as may be: when the program has taken hold of its signals, however slow Python starts.
        async with asyncio.timeout(60):
            # Under `nohup` a hang-up is ignored from the first moment, so that one alone says nothing.
            while not all(_ignores(bot.process.pid, number) for number in numbers):
                await asyncio.sleep(0.02)
        for number in numbers:
            bot.process.send_signal(number)
        await bot.until("/readyz", 200)


async def test_13_16_a_slack_that_comes_late_is_greeted_then(tmp_path: Path) -> None:
    async with talking_slack() as slack:
        slack.faults.down()
        environ = {"SLACK_BOT_TOKEN": slack.bot_token, "TOBAN_SHUTDOWN_GRACE": "0"}
        async with running(tmp_path, slack.api_url, **environ) as bot:
            await bot.until("/readyz", 200)
            assert await bot.alert(monitoring()) == 200
            slack.faults.clear()
            await slack.wait_for(lambda: bool(slack.messages("alerts")), 20)


async def _refusal(bot: Running) -> str:
    code, _ = await bot.ends(45)
    said = (await bot.process.communicate())[1].decode()
    assert code == 2, said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1, said
    return said


@pytest.mark.parametrize("error", ["invalid_auth", "account_inactive", "token_revoked", "not_authed"])
async def test_13_16_a_refused_token_is_one_sentence_and_exit_2(tmp_path: Path, error: str) -> None:
    async with talking_slack() as slack:
        slack.faults.add("*", faults.error(error), count=10_000)
        async with running(tmp_path, slack.api_url) as bot:
            said = await _refusal(bot)
            assert "SLACK_BOT_TOKEN" in said
            assert error in said


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:///{}/none/toban.db", "no folder"),
        ("sqlite:///{}/file/toban.db", "no folder"),
        ("sqlite:///{}", "is a directory"),
        ("sqlite:///{}/notes.db", "no SQLite database"),
        ("sqlite:///{}/cut.db", "cannot be used"),
        ("postgresql://nobody:nothing@127.0.0.1:1/toban", "database"),
    ],
)
async def test_13_16_a_database_that_cannot_work_is_one_sentence_and_exit_2(
    tmp_path: Path, url: str, why: str
) -> None:
    (tmp_path / "notes.db").write_text("dear diary, this is no database at all")
    (tmp_path / "cut.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    (tmp_path / "file").write_text("")
    async with running(tmp_path, "http://127.0.0.1:1/api/", TOBAN_DATABASE_URL=url.format(tmp_path)) as bot:
        assert why in await _refusal(bot)


async def test_13_16_a_port_that_cannot_be_listened_on_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with running(tmp_path, "http://127.0.0.1:1/api/", TOBAN_PORT=str(port)) as bot:
            said = await _refusal(bot)
            assert f"port {port}: it is in use" in said
    async with running(tmp_path, "http://127.0.0.1:1/api/", TOBAN_HOST="no.such.host.invalid") as bot:
        assert "cannot listen" in await _refusal(bot)


def test_13_16_no_second_process_gets_the_database_by_another_name_or_without_its_lock_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "toban.db"
    file.touch()
    first = FileLock(file)
    first.take()
    links = tmp_path / "elsewhere"
    links.mkdir()
    (links / "soft.db").symlink_to(file)
    (links / "hard.db").hardlink_to(file)
    (tmp_path / "folder").symlink_to(links)
    names = [
        links / "soft.db",
        links / "hard.db",
        tmp_path / "folder" / "soft.db",
        Path(os.path.relpath(file)),
    ]
    for name in names:
        with pytest.raises(Outage, match="another Toban"):
            FileLock(name).take()
    lock = tmp_path / "toban.db.lock"
    lock.unlink()
    with pytest.raises(Outage, match="another Toban"):
        FileLock(file).take()
    lock.unlink(missing_ok=True)
    lock.write_text("made anew")
    with pytest.raises(Outage, match="another Toban"):
        FileLock(file).take()
    first.release()
    second = FileLock(links / "soft.db")
    second.take()
    second.release()


async def test_13_16_a_valid_policy_is_taken_over_and_an_invalid_one_is_refused_with_its_lines(
    stage: Stage, tmp_path: Path
) -> None:
    world, file = stage.bot.world, tmp_path / "toban.yaml"
    text = POLICY.read_text()
    file.write_text(text)
    assert await reload(file, world, stage.bot.policies)
    await stage.settle()
    assert "Changed:" in stage.channel("ops")[-1].plain
    taken = world.policy
    assert "bondpoint-api" in {service.name for service in taken.services}
    assert world.prober is not None

    file.write_text(text + "\nunheard_of: 1\n")
    assert not await reload(file, world, stage.bot.policies)
    await stage.settle()
    assert world.policy is taken
    said = stage.channel("ops")[-1].plain
    assert "unheard_of" in said
    assert f"toban.yaml:{len(text.splitlines()) + 2}" in said.replace(" ", "") or "unheard_of" in said
    assert "policy.refused" in world.problems.current()

    file.write_text(text.replace('ops: "#ops"', 'ops: "#ops"'))
    assert await reload(file, world, stage.bot.policies)
    await stage.settle()
    assert "nothing has changed" in stage.channel("ops")[-1].plain
    assert "policy.refused" not in world.problems.current()

    file.unlink()
    assert not await reload(file, world, stage.bot.policies)
    assert world.policy == taken


async def test_13_16_after_a_reload_the_new_ladder_and_the_new_jobs_hold(
    stage: Stage, tmp_path: Path
) -> None:
    anomalies = next(job for job in stage.bot.jobs if job.name == "anomalies")
    assert anomalies.next_due is not None
    now = stage.clock.now()
    assert anomalies.next_due(now) > now, "the policy has none"
    file = tmp_path / "toban.yaml"
    file.write_text(POLICY.read_text())
    assert await reload(file, stage.bot.world, stage.bot.policies)
    assert anomalies.next_due(now) == now
    assert "anomalies" in {work.name for work in stage.bot.desk.works()}
    assert stage.bot.world.policy.ladders != stage.policy.ladders
