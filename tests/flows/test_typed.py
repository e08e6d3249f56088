"""What people type is read as it was meant, or asked back with nothing changed; on both databases."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.backup_plans import Backups
from domain.deploys import Emergency
from domain.policy import Service, Severity
from sandbox.stage import Stage
from tests.conftest import make_policy
from tests.databases import new_sqlite
from tests.flows.backing import nightly
from tests.flows.test_deploys import GOOD, deploying, world_of
from tests.handlers.test_typed import decorated
from tests.payloads import monitoring


async def say(stage: Stage, text: str, person: str = "mika") -> str:
    """Type a command and return what only this person saw of it."""
    before = len(stage.told(person))
    delivery = await stage.type(person, "#general", text)
    assert delivery.ok, delivery
    await stage.advance(seconds=2)
    return "\n".join(stage.told(person)[before:])


async def opened(stage: Stage) -> list[tuple[str, Severity, str]]:
    """Number, severity and title of every open incident."""
    async with stage.bot.store.read() as tx:
        return [(one.number, one.severity, one.title) for one in await tx.open_incidents()]


NOT_OPEN = (
    *(
        "resolve INC-99: fixed",
        "resolve INC-99\u3000fixed",
        "resolve INC-99\u00a0fixed",
        "resolve *INC-99* fixed",
    ),
    *("resolve ＩＮＣ－９９　直った", "resolve [INC-99] fixed", "resolve INC‑99, fixed", "resolve 99: fixed"),
    *(
        "resolve fixed: INC-99",
        "resolve “INC-99”",
        "resolve I\u200bNC-99 fixed",
        "resolve INC-99999999999 fixed",
    ),
    *("INC-99 resolve fixed", "resolve INC-99a fixed", "ack INC-99: mine", "ack\u3000#99", "show 【INC-99】"),
)


async def test_a_number_that_is_not_open_never_falls_back_to_another_user_2(stage: Stage) -> None:
    await say(stage, "/incident declare P1 The API is down")
    for text in NOT_OPEN:
        said = await say(stage, f"/incident {text}")
        assert "99" in said, text
        assert await opened(stage) == [("INC-1", Severity.P1, "The API is down")], text
    assert "nobody has it" in await say(stage, "/incident list")
    assert "INC-1 is resolved" in await say(stage, "/incident resolve：ＩＮＣ－１、it’s “fixed”")
    assert "it’s “fixed”" in stage.card("#incidents").plain


async def test_with_several_open_the_hint_names_the_verb_and_all_of_them_user_2(sqlite_only: str) -> None:
    async with Stage.open(sqlite_only, make_policy(ladders={})) as stage:
        for number in range(12):
            await say(stage, f"/incident declare P3 Trouble {number}")
        said = await say(stage, "/incident resolve fixed")
        assert "`/incident resolve INC-1`" in said
        assert all(f"INC-{number}" in said for number in range(1, 13))
        for number in range(12, 23):
            await say(stage, f"/incident declare P3 Trouble {number}")
        said = await say(stage, "/incident show")
        assert "/incident show INC-1" in said
        assert "INC-20 and 3 more" in said
        assert len(await opened(stage)) == 23


P1S = (
    *("P1 API is down", "P1: API is down", "p1\u00a0API is down", "“P1” API is down", "[P1] API is down"),
    *(
        "SEV1 API is down",
        "Ｐ１　API is down",
        "*P1* API is down",
        "critical: API is down",
        "【重大】API is down",
    ),
    *("API is down (P1)", "API is down P1", "`P1 API is down`", "P1\u200bAPI is down", "sev-1 — API is down"),
)


async def test_a_severity_is_read_as_meant_and_the_answer_names_whom_it_pages_user_3(stage: Stage) -> None:
    for number, text in enumerate(P1S, 1):
        said = await say(stage, f"/incident declare {text}")
        assert f"INC-{number} declared as P1, paging kenji now: API is down" in said, text
    assert {one[1:] for one in await opened(stage)} == {(Severity.P1, "API is down")}
    said = await say(stage, "/incident declare APIが遅い", "aya")
    assert f"INC-{len(P1S) + 1} を P2 で宣言し、mika さんを呼び出しました：APIが遅い" in said
    said = await say(stage, "/incident declare P3: typo")
    assert f"INC-{len(P1S) + 2} declared as P3, which pages nobody: typo" in said


async def test_an_unknown_or_unclear_severity_declares_nothing_user_3(stage: Stage) -> None:
    for text in ("P4 x", "SEV9 x", "P1/P2 x", "API is down (P7)", "API P1 is down", "S3 is down"):
        assert "othing was declared" in await say(stage, f"/incident declare {text}"), text
    assert "宣言していません" in await say(stage, "/incident declare 緊急メンテナンスが失敗", "aya")
    assert await opened(stage) == []
    assert stage.channel("#incidents") == []


TITLES = (
    "it’s  “down”",
    "users can't log in",
    '"API" is *down*',
    "落ちた　ＡＰＩ",
    "a <b> & c",
    "5 % of p99 > 3 s",
)


async def test_a_title_is_kept_as_it_was_typed_user_21(stage: Stage) -> None:
    for title in TITLES:
        await say(stage, f"/incident declare　P3：\u3000{title}\u3000")
    assert [one[2] for one in await opened(stage)] == list(TITLES)


async def test_the_form_answers_whom_it_pages_and_a_handed_over_paging_goes_on_user_3(stage: Stage) -> None:
    await say(stage, "/incident declare critical")
    (view,) = stage.slack.open_views("mika")
    assert "pages at once: P0 kenji · P1 kenji · P2 mika · P3 nobody" in stage.slack.view_plain(view)
    before = len(stage.told("mika"))
    assert (await stage.submit("mika", {"title": "\u3000API is down\u3000"})).ok
    await stage.advance(seconds=2)
    assert "INC-1 declared as P1, paging kenji now: API is down" in "\n".join(stage.told("mika")[before:])
    await stage.webhook("cloud-monitoring", monitoring(severity="Warning"))
    await stage.advance(seconds=2)
    await stage.press("mika", stage.card("#alerts"), "Declare Incident")
    before = len(stage.told("mika"))
    assert (await stage.submit("mika", {"severity": "P2"})).ok
    await stage.advance(seconds=2)
    assert "INC-2 declared as P2; paging of mika goes on" in "\n".join(stage.told("mika")[before:])


def _loud() -> Emergency:
    return Emergency(people=("mika",))


@pytest.mark.parametrize("reason", ["users can't log in", "it’s down"])
async def test_the_reason_of_an_emergency_is_kept_verbatim_case_17(database_url: str, reason: str) -> None:
    made = deploying()
    policy = made.model_copy(update={"deploys": made.deploys.model_copy(update={"emergency": _loud()})})
    async with world_of(database_url, policy) as stage:
        assert "planned" in await say(stage, f"/deploy bondpoint-api {GOOD} --emergency {reason}")
        async with stage.bot.store.read() as tx:
            (rollout,) = await tx.open_rollouts()
        assert rollout.emergency == reason


async def test_a_slip_of_the_pen_never_suggests_what_harms_user_6(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        for text in (
            "bondpoint-api",
            "foo",
            "abrot",
            "promot",
            "rolback bondpoint-api",
            "unlok bondpoint-api",
        ):
            said = await say(stage, f"/deploy {text}")
            assert "Did you mean" not in said, text
            assert "/deploy help" in said, text
        assert "`/toban helpp` isn't a command. Did you mean `/toban help`? `/toban help`" in await say(
            stage, "/toban helpp"
        )
        assert "`/toban foo` isn't a command, so nothing was changed. `/toban help` lists them." in await say(
            stage, "/toban foo"
        )
        assert "`/deploy status`" in await say(stage, "/deploy statsu")


@pytest.mark.parametrize("text", ["severity INC-1 P0", "sev INC-1 to P0", "INC-1 severity P0"])
async def test_14_1_a_word_about_an_open_incident_never_proposes_a_second_one(
    sqlite_only: str, text: str
) -> None:
    async with Stage.open(sqlite_only, make_policy(ladders={})) as stage:
        await say(stage, "/incident declare P3 Trouble")
        said = await say(stage, f"/incident {text}")
        assert "declare" not in said
        assert await opened(stage) == [("INC-1", Severity.P3, "Trouble")]


@pytest.mark.parametrize(
    "text", ["/toban health bondpoint-api", "/toban jobs today", "/toban anomalies list bondpoint-api"]
)
async def test_14_1_words_that_a_verb_would_ignore_are_refused(sqlite_only: str, text: str) -> None:
    async with world_of(sqlite_only) as stage:
        assert "cannot be given" in await say(stage, text)


async def test_14_5_other_words_for_abort_and_rollback_name_them_and_do_nothing(sqlite_only: str) -> None:
    policy = deploying()
    database = Service(name="bondpoint-db", match={"database_id": "bondpoint-prod:bondpoint-db"})
    policy = policy.model_copy(update={"services": (*policy.services, database)})
    async with world_of(sqlite_only, policy) as stage:
        assert "planned" in await say(stage, f"/deploy bondpoint-api {GOOD}")
        for text, command in (
            ("stop D-1", "/deploy abort D-1"),
            ("stop", "/deploy abort D-1"),
            ("停止 D-1", "/deploy abort D-1"),
            ("roll back bondpoint-api", "/deploy rollback bondpoint-api"),
            ("roll-back bondpoint-api", "/deploy rollback bondpoint-api"),
            ("undo D-1", "/deploy rollback SERVICE"),
        ):
            assert f"`{command}`" in await say(stage, f"/deploy {text}"), text
        said = await say(stage, "/deploy bondpoint-db v42")
        assert said == "bondpoint-db is a Cloud SQL database; `/deploy` handles Cloud Run only."
        async with stage.bot.store.read() as tx:
            (rollout,) = await tx.open_rollouts()
        assert rollout.number == "D-1"


async def test_freeze_with_a_service_says_that_nothing_was_frozen_user_15(database_url: str) -> None:
    async with world_of(database_url) as stage:
        said = await say(stage, "/deploy freeze bondpoint-api until Monday")
        assert "Nothing was frozen" in said
        assert "/deploy lock bondpoint-api" in said
        async with stage.bot.store.read() as tx:
            assert await tx.locks() == []
        said = await say(stage, "/deploy freeze")
        assert "No service is frozen now." in said
        assert "deploys.freezes" in said
        assert "until somebody unlocks" in await say(stage, "/deploy lock bondpoint-api： it’s  moving")
        assert "it’s moving" in await say(stage, "/deploy freeze")
        assert "nothing was changed" in await say(stage, "/deploy unlock bondpoint-api on Monday")
        async with stage.bot.store.read() as tx:
            assert len(await tx.locks()) == 1


async def test_what_is_missing_is_asked_for_with_the_names_user_16(database_url: str, tmp_path: Path) -> None:
    plans = (nightly(tmp_path / "copies"), nightly(tmp_path / "others", name="weekly"))
    async with Stage.open(database_url, make_policy(backups=Backups(plans=plans))) as stage:
        for text in ("capacity", "anomalies explain", "anomalies mute", "anomalies unmute"):
            assert await say(stage, f"/toban {text}") == "Which service? bondpoint-api, bondpoint-db", text
        assert await say(stage, "/toban backup run") == "Which backup plan? nightly, weekly"
        assert "Which plan? nightly, weekly" in await say(stage, "/toban backup run daily")
        assert "Which backup?" in await say(stage, "/toban backup accept")
        assert "There is no backup B-99" in await say(stage, "/toban backup accept “B-99”")
    async with world_of(database_url) as stage:
        for text in ("history", "lock", "unlock", "rollback"):
            assert await say(stage, f"/deploy {text}") == "Which service? bondpoint-api", text


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("not open"), decorated(["resolve", "INC-99"], "fixed")),
            st.tuples(st.just("not open"), decorated(["ack", "INC-99"])),
            st.tuples(st.just("P1"), decorated(["declare", "P1"], "API is down")),
            st.tuples(st.just("unknown"), decorated(["declare", "P7"], "API is down")),
        ),
        min_size=12,
        max_size=12,
    )
)
def test_no_decoration_acts_on_what_was_not_named_nor_lowers_a_severity(typed: list[tuple[str, str]]) -> None:
    asyncio.run(_typed(typed))


async def _typed(typed: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        async with Stage.open(new_sqlite(Path(folder)), make_policy(ladders={})) as stage:
            stage.slack.escape_commands = False  # They are escaped already.
            await say(stage, "/incident declare P2 Another one")
            for meaning, text in typed:
                before = await opened(stage)
                assert await say(stage, f"/incident {text}"), text
                after = await opened(stage)
                if meaning == "P1":
                    new = [one[1:] for one in after if one not in before]  # The worst stands first.
                    assert new == [(Severity.P1, "API is down")], text
                else:
                    assert after == before, text
