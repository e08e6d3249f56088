"""The Home tab: what needs its reader first, at the moment in which it is opened."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from domain.backup_plans import Backups, DrillRule, Source
from sandbox.stage import Stage
from tests.conftest import make_policy
from tests.flows.backing import backed_up, nightly, until_three
from tests.flows.test_deploys import GOOD, world_of
from tests.payloads import monitoring

NOTHING, NOTHING_JA = "Nothing is waiting for you", "あなたの対応待ちはありません"


def buttons(stage: Stage, person: str) -> list[str]:
    view = stage.slack.home(person)
    assert view is not None
    rows = [block["elements"] for block in view.doc["blocks"] if block["type"] == "actions"]
    return [element["text"]["text"] for elements in rows for element in elements]


def links(stage: Stage, person: str) -> list[str]:
    view = stage.slack.home(person)
    assert view is not None
    texts = [block["text"]["text"] for block in view.doc["blocks"] if block["type"] == "section"]
    return [text.split("<http", 1)[1].split("|", 1)[0] for text in texts if "<http" in text]


async def test_a_page_stands_first_until_somebody_answers(stage: Stage) -> None:
    quiet = await stage.home("mika")
    assert quiet.startswith(NOTHING)
    assert "No incident is open." in quiet
    assert buttons(stage, "mika") == ["Declare Incident", "Refresh"]
    await stage.webhook("cloud-monitoring", monitoring())

    seen = await stage.home("kenji")
    assert seen.startswith("あなたの対応待ち：1 件")
    assert "INC-1 API error rate" in seen and "に呼び出されました" in seen
    assert "未解決のインシデント：1 件" in seen
    card = stage.card("incidents")
    assert links(stage, "kenji")[0].endswith(f"/archives/{card.channel}/p{card.ts.replace('.', '')}")
    assert buttons(stage, "kenji") == ["インシデントを宣言", "更新"]
    aya = await stage.home("aya")
    assert aya.startswith(("Nothing", NOTHING_JA)), "her turn comes later"

    await stage.advance(minutes=16)
    assert not (await stage.home("aya")).startswith(("Nothing", NOTHING_JA))
    assert (await stage.home("kenji")).startswith("あなたの対応待ち：1 件"), "two pages of one ladder are one"
    await stage.press("aya", stage.dms("aya")[0], "対応する")
    for person in ("aya", "kenji"):
        assert (await stage.home(person)).startswith(("Nothing", NOTHING_JA))
    assert "aya" in await stage.home("mika"), "who has it"


async def test_an_approval_waits_for_those_who_may_give_it(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        await stage.type("mika", "#deploys", f"/deploy bondpoint-api {GOOD}")
        await stage.advance(seconds=10)
        assert (await stage.home("mika")).startswith("Nothing"), "nobody approves their own"
        for person in ("kenji", "aya"):
            seen = await stage.home(person)
            assert "bondpoint-api" in seen.splitlines()[1] and "D-1" in seen.splitlines()[1]
            assert "mika" in seen.splitlines()[1]
        card = stage.card("#deploys")
        assert links(stage, "kenji")[0].endswith(f"/archives/{card.channel}/p{card.ts.replace('.', '')}")
        approve = next(label for label in card.buttons if label.startswith("Approve"))
        await stage.press("kenji", card, approve)
        for person in ("kenji", "aya"):
            assert "D-1" not in await stage.home(person)


async def test_an_approval_that_has_run_out_waits_for_nobody(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        await stage.type("mika", "#deploys", f"/deploy bondpoint-api {GOOD}")
        await stage.advance(seconds=10)
        assert "D-1" in await stage.home("kenji")
        stage.clock.push(timedelta(days=2))  # No loop has looked at it yet.
        assert "D-1" not in await stage.home("kenji")


async def test_backups_show_what_would_be_lost_and_how_long_a_restore_takes(
    sqlite_only: str, tmp_path: Path
) -> None:
    """RPO and RTO, and a drill that waits for somebody else than who asked for it."""
    rule = DrillRule(scratch={Source.TOBAN: str(tmp_path / "scratch")})
    plan = nightly(tmp_path / "kept", drill=rule)
    async with backed_up(sqlite_only, plan) as stage:
        fresh = await stage.home("mika")
        assert "Backup plans that need a look: 1" in fresh, "nothing is not well"
        assert "There is no verified backup of this plan." in fresh
        await until_three(stage)
        await stage.type("mika", "#ops", "/toban backup drill nightly")
        mika, dan = await stage.home("mika"), await stage.home("dan")
        assert mika.startswith(NOTHING)
        assert dan.splitlines()[0] == "Waiting for you: 1"
        assert "Restore drill RD-1 of nightly · mika asks for an approval · until" in dan
        assert "All backup plans are fine: 1" in dan
        assert "(RPO)" in dan and "Not restored so far" in dan
        await stage.press("dan", stage.card("#ops"), "Approve Drill")
        await stage.advance(hours=1)
        dan = await stage.refresh_home("dan", "Refresh")
        assert dan.startswith(NOTHING)
        assert "(RTO)" in dan
        assert "1 h" in dan.split("(RPO)")[0], "the age is that of now"


async def test_an_account_of_nobody_is_told_how_to_become_somebody(sqlite_only: str) -> None:
    policy = make_policy(people={name: one for name, one in make_policy().people.items() if name != "dan"})
    async with Stage.open(sqlite_only, policy) as stage:
        seen = await stage.home("dan")
        account = stage.slack.user_id("dan")
        assert f"Your account {account} belongs to nobody" in seen.replace("`", "")


async def test_whoever_opens_the_messages_gets_no_home(stage: Stage) -> None:
    event = {"type": "app_home_opened", "user": stage.slack.user_id("mika"), "tab": "messages"}
    delivery = await stage.slack.outbound.event("app_home_opened", event)
    assert delivery is not None and delivery.ok
    await stage.bot.desk.drain(1)
    assert stage.slack.home("mika") is None


async def test_an_incident_is_declared_from_there(stage: Stage) -> None:
    await stage.home("mika")
    view = stage.slack.home("mika")
    assert view is not None
    await stage.slack.press_view("mika", view.id, "Declare Incident")
    await stage.submit("mika", {"title": "Uploads hang", "severity": "P2"})
    assert "INC-1" in stage.card("incidents").plain
    assert "Uploads hang" in await stage.home("mika")


async def test_many_things_fit_and_are_counted(stage: Stage) -> None:
    for number in range(14):
        await stage.type("mika", "#incidents", f"/incident declare P3 Trouble number {number}")
    seen = await stage.home("mika")
    assert "Open incidents: 14" in seen
    assert seen.count("Trouble number") == 10


async def test_what_somebody_else_wrote_is_no_markup_there(stage: Stage) -> None:
    await stage.type(
        "mika", "#incidents", "/incident declare P1 <!channel> *x* <https://evil.example|ok> `y`"
    )
    await stage.home("aya")
    view = stage.slack.home("aya")
    assert view is not None
    for block in view.doc["blocks"]:
        said = str((block.get("text") or {}).get("text", ""))
        live = stage.slack.mentions(said)
        assert (live.users, live.channels, live.groups, live.broadcasts) == (0, 0, 0, 0)
        assert said.count("<http") == live.links == said.count("|開く>"), "ours alone"


@pytest.mark.parametrize("trouble", ["publish fails", "memory fails"])
async def test_trouble_is_told_and_gone_with_the_next_look(sqlite_only: str, trouble: str) -> None:
    def rename(old: str, new: str) -> None:
        with sqlite3.connect(sqlite_only.removeprefix("sqlite:///")) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
        connection.close()

    async with Stage.open(sqlite_only, make_policy(backups=Backups())) as stage:
        if trouble == "publish fails":
            stage.slack.faults.down()
            await stage.slack.open_home("mika")
            await stage.bot.desk.drain(5)
            assert stage.slack.home("mika") is None
            stage.slack.faults.clear()
            await stage.advance(minutes=1)
        else:
            rename("incident", "elsewhere")
            seen = await stage.home("mika")
            print(seen)
            assert "cannot read its records" in seen
            assert buttons(stage, "mika") == ["Refresh"]
            rename("elsewhere", "incident")
            assert (await stage.refresh_home("mika", "Refresh")).startswith(NOTHING)
        assert (await stage.home("mika")).startswith(NOTHING)


async def test_titles_as_long_as_they_may_be_are_never_cut_in_the_middle_of_a_date(stage: Stage) -> None:
    """Twenty of them hold more than one block; what was cut showed its markup."""
    for _ in range(20):
        await stage.type("mika", "#incidents", f"/incident declare P3 {'&' * 200}")
    await stage.type("mika", "#incidents", "/incident list")
    await stage.home("mika")
    view = stage.slack.home("mika")
    assert view is not None
    listed = next(one for one in stage.slack.ephemerals("mika") if "Open incidents" in one.plain)
    for blocks, plain in ((view.doc["blocks"], stage.slack.view_plain(view)), (listed.blocks, listed.plain)):
        texts = [str((block.get("text") or {}).get("text", "")) for block in blocks]
        assert max(map(len, texts)) <= 3000
        shown = sum(text.count("<!date^") for text in texts if "P3" in text)
        assert 6 <= shown < 10
        assert f"and {20 - shown} more" in plain
        for text in texts:
            assert text.count("<") == text.count(">")
