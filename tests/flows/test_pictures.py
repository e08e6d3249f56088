"""A note with a picture: said once, with its picture where that can be had, with its words in any case."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from bot.app import Bot
from domain.effects import Note, Picture, Text
from domain.policy import Policy
from domain.ports import Painter
from sandbox.slack import faults
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from tests.databases import migrated_postgres, new_files
from tests.drawing import Square, png
from tests.flows.dying import JITTER, Reaper
from tests.flows.looking import OUTBOX, posts_to, rows, twice, unsent
from tests.flows.test_crash_points import Night, unsettled
from tests.payloads import alertmanager, monitoring

KEY = "finding:7:picture"
PICTURE = Picture(kind="anomaly", params={"finding": 7, "steps": [1.5, None]})
WORDS = "The sender closed it"
AT = 1_795_322_400
UPLOADING = ("files.getUploadURLExternal", "upload_url", "files.completeUploadExternal")


def equip(stage: Stage, painter: Painter | None, patience: float = 6.0) -> None:
    """Give the bot a painter, in this life and in every later one."""
    before = stage.prepare

    def prepare(bot: Bot) -> None:
        if before is not None:
            before(bot)
        bot.chat.painter, bot.chat.patience = painter, patience

    stage.prepare = prepare
    if stage._bot is not None:
        prepare(stage.bot)


async def say(stage: Stage, key: str = KEY, picture: Picture | None = PICTURE) -> None:
    note = Note(
        key=key,
        place="alerts",
        thread_of="alert:1",
        text=Text(key="note.closed_not_recovered", params={"at": AT}, picture=picture),
    )
    async with stage.bot.store() as tx:
        await tx.say([note], stage.clock.now())


async def told(stage: Stage) -> Message:
    """An alert, and a note with a picture in its thread: the one line that stands there."""
    await stage.webhook("cloud-monitoring", monitoring())
    await say(stage)
    await stage.settle()
    return the_note(stage)


def the_note(stage: Stage, card: int = -1) -> Message:
    (note,) = [reply for reply in stage.thread(stage.card("alerts", card)) if WORDS in reply.plain]
    return note


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("toban_pictures_total", {"outcome": outcome}) or 0.0


def uploads(stage: Stage) -> list[str]:
    return [call.method for call in stage.slack.calls if call.method in UPLOADING]


async def test_a_note_is_posted_once_with_its_picture_below_its_words(stage: Stage) -> None:
    painter = Square()
    equip(stage, painter)
    before = counted("shown")
    note = await told(stage)
    assert stage.slack.pictures(note) == [png()]
    assert note.plain.splitlines()[-1] == "A square in en"
    assert WORDS in note.text, "the notification says it in words"
    assert painter.asked == [(PICTURE, "en")]
    assert uploads(stage) == list(UPLOADING)
    assert counted("shown") == before + 1

    await stage.crash()
    await stage.start()
    await stage.advance(minutes=5)
    assert the_note(stage).ts == note.ts
    assert len(uploads(stage)) == 3
    assert (twice(stage), await unsent(stage)) == ({}, [])


async def test_what_is_stored_is_which_picture_to_draw_and_never_the_picture(world: Stage) -> None:
    equip(world, Square())
    await told(world)
    (row,) = await rows(world, sa.select(OUTBOX).where(OUTBOX.c.key == KEY))
    assert row["text"].picture == PICTURE
    async with world.bot.store.read() as tx:
        stored = await tx.rows(sa.text("SELECT text FROM outbox WHERE text IS NOT NULL"))
    assert all(len(raw["text"]) < 300 for raw in stored)


async def test_a_note_of_an_older_version_has_no_picture_and_is_said_all_the_same(world: Stage) -> None:
    equip(world, Square())
    await world.webhook("cloud-monitoring", monitoring())
    await say(world, picture=None)
    old = json.dumps({"key": "note.closed_not_recovered", "params": {"at": AT}})
    rewrite = sa.text("UPDATE outbox SET text = :old WHERE key = :key")
    async with world.bot.store() as tx:
        await tx.connection.execute(rewrite, {"old": old, "key": KEY})
    await world.settle()
    assert world.slack.pictures(the_note(world)) == []
    assert uploads(world) == []


async def test_a_note_in_a_channel_of_its_own_has_its_picture_too(world: Stage) -> None:
    equip(world, Square())
    text = Text(key="note.closed_not_recovered", params={"at": AT}, picture=Picture(kind="capacity"))
    async with world.bot.store() as tx:
        await tx.say([Note(key="capacity:2026-48", place="#performance", text=text)], world.clock.now())
    await world.settle()
    (report,) = world.channel("performance")
    assert world.slack.pictures(report) == [png()]


# Trouble: the words arrive in the same breath.


@pytest.mark.parametrize("method", UPLOADING)
@pytest.mark.parametrize(
    "fault",
    [
        faults.status(500),
        faults.rate_limit(60),
        faults.drop_before(),
        faults.drop_after(),
        faults.garbage(),
        faults.error("storage_limit_reached"),
    ],
    ids=["500", "429", "dropped before", "dropped after", "garbage", "quota"],
)
async def test_an_upload_that_fails_costs_the_picture_and_nothing_else(
    world: Stage, method: str, fault: faults.Action
) -> None:
    equip(world, Square())
    before = counted("failed")
    world.slack.faults.add(method, fault)
    note = await told(world)
    assert world.slack.pictures(note) == []
    assert counted("failed") == before + 1
    assert (twice(world), await unsent(world), world.channel("ops")) == ({}, [], [])
    assert (await world.get("/readyz"))[0] == 200
    assert not world.bot.chat.is_out()


async def _broken() -> None:
    raise RuntimeError("no history")


async def _endless() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("before", "patience", "outcome"),
    [(_broken, 6.0, "failed"), (_endless, 0.1, "late")],
    ids=["raises", "never ends"],
)
async def test_a_painter_that_fails_costs_the_picture_and_nothing_else(
    world: Stage, before: Callable[[], Awaitable[None]], patience: float, outcome: str
) -> None:
    equip(world, Square(before), patience)
    count = counted(outcome)
    note = await told(world)
    assert (world.slack.pictures(note), uploads(world)) == ([], [])
    assert counted(outcome) == count + 1
    assert await unsent(world) == []


async def test_without_a_painter_or_without_anything_to_draw_the_words_stand_alone(world: Stage) -> None:
    before = counted("nothing")
    assert world.slack.pictures(await told(world)) == []
    equip(world, Square())
    await say(world, "another", Picture(kind="nothing"))
    await world.settle()
    assert len(world.thread(world.card("alerts"))) == 2
    assert uploads(world) == []
    assert counted("nothing") == before + 2


async def test_a_slow_upload_is_cut_off_and_the_words_go_out(world: Stage) -> None:
    equip(world, Square(), patience=0.2)
    world.slack.faults.add("upload_url", faults.delay(1.0))
    before = counted("late")
    assert world.slack.pictures(await told(world)) == []
    assert counted("late") == before + 1


async def test_a_file_that_slack_still_works_on_is_waited_for(world: Stage) -> None:
    equip(world, Square())
    world.slack.file_delay = 3
    assert world.slack.pictures(await told(world)) == [png()]
    assert [call.outcome for call in posts_to(world, "alerts")] == ["ok", "ok"]


async def test_a_file_that_slack_never_gets_ready_costs_the_picture(world: Stage) -> None:
    equip(world, Square())
    before = counted("refused")
    await world.webhook("cloud-monitoring", monitoring())
    world.slack.faults.add("chat.postMessage", faults.error("invalid_blocks"), count=3)
    await say(world)
    await world.settle()
    note = the_note(world)
    assert world.slack.pictures(note) == []
    assert counted("refused") == before + 1
    assert [call.outcome for call in posts_to(world, "alerts")] == ["ok", *3 * ["invalid_blocks"], "ok"]
    assert (await unsent(world), world.channel("ops")) == ([], [])


# Once, and only once.


async def test_a_lost_answer_to_the_post_is_looked_up_and_nothing_is_uploaded_again(stage: Stage) -> None:
    equip(stage, Square())
    await stage.webhook("cloud-monitoring", monitoring())
    stage.slack.faults.add("chat.postMessage", faults.drop_after(), channel="alerts")
    await say(stage)
    await stage.advance(minutes=2)
    assert stage.slack.pictures(the_note(stage)) == [png()]
    assert len(uploads(stage)) == 3
    assert (twice(stage), await unsent(stage)) == ({}, [])


async def test_a_note_that_slack_limits_comes_later_with_its_picture(world: Stage) -> None:
    equip(world, Square())
    await world.webhook("cloud-monitoring", monitoring())
    world.slack.faults.add("chat.postMessage", faults.rate_limit(20), channel="alerts")
    await say(world)
    await world.settle()
    assert world.thread(world.card("alerts")) == []
    await world.advance(seconds=25)
    assert world.slack.pictures(the_note(world)) == [png()]
    assert twice(world) == {}


async def test_a_note_of_a_night_without_slack_has_its_picture_in_the_end(world: Stage) -> None:
    equip(world, Square())
    await world.webhook("cloud-monitoring", monitoring())
    world.slack.faults.down()
    await say(world)
    await world.advance(minutes=3)
    world.slack.faults.clear()
    await world.advance(minutes=2)
    assert world.slack.pictures(the_note(world)) == [png()]
    assert (twice(world), await unsent(world)) == ({}, [])


async def test_a_note_whose_thread_was_deleted_follows_its_card_with_its_picture(world: Stage) -> None:
    equip(world, Square())
    await world.webhook("cloud-monitoring", monitoring())
    card = world.card("alerts")
    world.slack.delete_message("alerts", card.ts)
    await say(world)
    await world.advance(minutes=2)
    assert world.card("alerts").ts != card.ts
    assert world.slack.pictures(the_note(world)) == [png()]
    assert (twice(world), await unsent(world)) == ({}, [])


async def test_a_conversation_waits_for_a_picture_no_longer_than_its_patience(world: Stage) -> None:
    equip(world, Square(_endless), patience=0.3)
    await world.webhook("cloud-monitoring", monitoring())
    await say(world)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.webhook("alertmanager", alertmanager("host", group="Another"))
    assert loop.time() - began < 3.0
    assert len(world.channel("alerts")) == 2
    assert world.slack.pictures(the_note(world, 0)) == []


@pytest.fixture
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead process does not wait for what it was doing."""
    monkeypatch.setattr("bot.app.DRAIN", 0.01)


async def night(
    url: str, policy: Policy, *kills: int, at: str = ""
) -> tuple[Reaper, int, list[bytes], list[str]]:
    """An alert and a note with a picture, the bot killed at these points: what there is in the end.

    ``at`` names a point to be killed at first thing after the note is begun.

    Also the number of the point at which the note is begun.
    """
    async with Stage.open(url, policy, start=False) as stage:
        reaper = Reaper(frozenset(kills))
        reaper.watch(stage)
        equip(stage, Square())
        script = Night(stage, reaper)
        await script.send(monitoring())
        begun = len(reaper.seen)
        reaper.next = at

        async def said() -> bool:
            await say(stage)
            return True

        await script.living(said)
        await script.rest()
        await script.until(minutes=3)
        reaper.over = True
        wrong = [f"twice: {key}" for key in twice(stage)] + await unsettled(stage)
        return reaper, begun, stage.slack.pictures(the_note(stage)), wrong


@pytest.mark.usefixtures("_no_patience")
async def test_a_kill_at_any_step_leaves_one_message_in_the_end(tmp_path: Path, policy: Policy) -> None:
    fresh = new_files(tmp_path)
    calm, begun, pictures, wrong = await night(fresh(), policy)
    assert (pictures, wrong) == ([png()], [])
    steps = calm.seen[begun:]
    for name in ("files.getUploadURLEx", "files.completeUpload", "chat.postMessage"):
        assert {f"before {name}", f"after {name}"} <= set(steps), steps
    for point in range(begun + 1, len(calm.seen) + 1):
        killed, _, pictures, wrong = await night(fresh(), policy, point)
        assert killed.happened or point > len(calm.seen) - JITTER, point
        assert (pictures, wrong) == ([png()], []), killed.happened


@pytest.mark.usefixtures("_no_patience")
async def test_a_kill_leaves_one_message_where_a_lease_has_to_run_out_first(
    postgres: str, policy: Policy
) -> None:
    for name in ("after files.completeUpload", "after chat.postMessage"):
        killed, _, pictures, wrong = await night(migrated_postgres(postgres), policy, at=name)
        (happened,) = killed.happened
        assert happened.endswith(f": {name}")
        assert (pictures, wrong) == ([png()], []), killed.happened
