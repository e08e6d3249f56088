"""`/deploy` from the request to the end, in the whole bot against a pretend Cloud Run that splits traffic."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from domain.deploys import DeployRule, Deploys, Emergency
from domain.policy import Policy, Service
from domain.series import epoch
from operations.anomalies import _remembered
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.images import Behaviour
from sandbox.slack.faults import drop_after, drop_before
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from tests.conftest import make_policy
from tests.flows.looking import notes
from tests.payloads import monitoring

PROJECT, REGION = "bondpoint-prod", "asia-northeast1"
REPOSITORY = f"{REGION}-docker.pkg.dev/{PROJECT}/app/api"
GOOD, BAD = f"{REPOSITORY}:v2", f"{REPOSITORY}:broken"


def deploying(**changes: Any) -> Policy:
    """Kenji and Aya may approve what Mika asks for."""
    service = Service(
        name="bondpoint-api", project=PROJECT, region=REGION, match={"service_name": "bondpoint-api"}
    )
    rule = DeployRule(approvers=("kenji", "aya"), **changes)
    return make_policy(services=(service,), deploys=Deploys(default=rule))


@asynccontextmanager
async def world_of(
    database_url: str,
    policy: Policy | None = None,
    *,
    service: Mapping[str, Any] | None = None,
    **environ: str,
) -> AsyncIterator[Stage]:
    """A service that serves v1 at a thousand requests a minute, and three more images in the registry."""
    async with Stage.open(database_url, policy or deploying(), cloud=Cloud, **environ) as stage:
        images = stage.cloud.images
        images.push(f"{REPOSITORY}:v1", Behaviour(error_share=0.001))
        images.push(GOOD, Behaviour(error_share=0.001))
        images.push(BAD, Behaviour(error_share=0.3))
        settings = {"image": f"{REPOSITORY}:v1", "requests_per_second": 1000 / 60} | dict(service or {})
        stage.cloud.run.serve("bondpoint-api", PROJECT, location=REGION, **settings)
        await stage.advance(minutes=1)
        yield stage


def card(stage: Stage) -> Message:
    return stage.card("#deploys")


def split(stage: Stage) -> dict[str, int]:
    return stage.cloud.run.service("bondpoint-api").split()


async def asked(stage: Stage, image: str = GOOD, more: str = "") -> Message:
    """Mika asks; the plan is made."""
    await stage.type("mika", "#general", f"/deploy bondpoint-api {image} {more}".strip())
    await stage.advance(seconds=5)
    return card(stage)


async def rejected(stage: Stage, who: str, message: Message, reason: str = "") -> None:
    """Somebody presses Reject, and sends the form that asks why."""
    await stage.press(who, message, "Reject")
    assert (await stage.submit(who, {"reason": reason} if reason else {})).ok


async def test_the_story_of_a_good_deploy(database_url: str) -> None:
    async with world_of(database_url) as stage:
        (old,) = split(stage)
        shown = await asked(stage)
        assert "bondpoint-api" in shown.plain
        assert "v2" in shown.plain
        assert split(stage) == {old: 100}
        await stage.press("mika", shown, "Approve Deploy")
        assert split(stage) == {old: 100}
        assert "You may not approve this. Who may: kenji, aya" in stage.told("mika")[-1]
        await stage.press("kenji", card(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        new = next(name for name in split(stage) if name != old)
        assert split(stage) == {old: 90, new: 10}
        assert "10 %" in card(stage).plain
        await stage.advance(minutes=8)
        assert split(stage) == {new: 100}
        await stage.advance(minutes=20)
        assert split(stage) == {new: 100}
        over = card(stage)
        assert "done, 100 %" in over.plain
        assert stage.channel("#alerts") == []
        assert len(stage.channel("#deploys")) == 1


async def test_a_bad_image_is_taken_back_by_itself_locks_the_service_and_opens_an_incident(
    database_url: str,
) -> None:
    async with world_of(database_url) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage, BAD), "Approve Deploy")
        await stage.advance(minutes=9)
        assert split(stage) == {old: 100}
        over = card(stage).plain
        assert "rolled back" in over
        assert "worse than the one before" in over
        assert "INC-1" in over
        (incident,) = stage.channel("#incidents")
        assert "P1" in incident.plain
        await stage.type("mika", "#general", f"/deploy bondpoint-api {GOOD}")
        assert "locked" in stage.told("mika")[-1]
        await stage.type("aya", "#general", "/deploy unlock bondpoint-api")
        await stage.press("aya", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        assert split(stage) == {old: 100}, "an open P1 holds deploys"
        assert "INC-1" in card(stage).plain
        await stage.type("mika", "#general", "/incident resolve INC-1 a bad image")
        await stage.advance(minutes=2)
        assert sorted(split(stage).values()) == [10, 90]


async def test_an_approval_expires_and_its_buttons_go(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        before = split(stage)
        assert "Approve Deploy" in (await asked(stage)).plain
        await stage.advance(minutes=16)
        assert "expired, nothing changed" in card(stage).plain
        assert card(stage).buttons == ()
        assert split(stage) == before


async def test_what_somebody_changes_in_the_console_voids_the_approval_and_stays(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        shown = await asked(stage)
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", env={"FLAG": "on"})
        await stage.advance(seconds=60)
        before = split(stage)
        await stage.press("kenji", shown, "Approve Deploy")
        await stage.advance(minutes=5)
        assert split(stage) == before
        assert "yuko@bondpoint.example" in card(stage).plain


async def test_a_change_by_somebody_else_stops_a_rollout_and_is_not_overwritten(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        new = next(name for name in split(stage) if name != old)
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", percent={old: 50, new: 50})
        await stage.advance(minutes=15)
        assert split(stage) == {old: 50, new: 50}
        assert "yuko@bondpoint.example" in card(stage).plain


async def test_pause_resume_and_roll_back(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        await stage.press("mika", card(stage), "Pause")
        await stage.advance(minutes=30)
        assert sorted(split(stage).values()) == [10, 90]
        await stage.press("mika", card(stage), "Resume")
        await stage.advance(minutes=1)
        assert sorted(split(stage).values()) == [100]
        await stage.press("dan", card(stage), "Roll Back")
        await stage.advance(minutes=1)
        assert split(stage) == {old: 100}
        assert stage.channel("#alerts") == []


async def test_a_second_request_waits_for_its_turn_and_is_planned_anew(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        await asked(stage)
        await stage.type("dan", "#general", f"/deploy bondpoint-api {BAD}")
        first, second = stage.channel("#deploys")
        assert "D-1" in second.plain
        await rejected(stage, "kenji", first)
        await stage.advance(seconds=5)
        assert "Approve Deploy" in stage.channel("#deploys")[1].plain


async def test_14_5_who_may_approve_is_mentioned_and_written_to(database_url: str) -> None:
    """User 9: whoever asked is not among them, and a role is people, not a word of the policy."""
    policy = deploying()
    kenji = policy.people["kenji"].model_copy(update={"roles": ("manager",)})
    rule = policy.deploys.default.model_copy(update={"approvers": ("aya", "mika", "role:manager")})
    policy = policy.model_copy(
        update={
            "people": policy.people | {"kenji": kenji},
            "deploys": policy.deploys.model_copy(update={"default": rule}),
        }
    )
    async with world_of(database_url, policy) as stage:
        await asked(stage)
        await stage.advance(seconds=30)
        for name in ("kenji", "aya"):
            (message,) = stage.dms(name)
            assert "D-1" in message.plain
            assert "mika" in message.plain
        assert stage.dms("mika") == []
        (note,) = [one for one in stage.thread(card(stage)) if "asks for your approval" in one.plain]
        assert "role:" not in note.plain
        assert all(f"<@{stage.slack.user_id(name)}>" in note.text for name in ("kenji", "aya"))


async def test_14_5_the_message_to_an_approver_links_the_card(database_url: str) -> None:
    """The card of a deploy that was queued stands for certain; a first one may still be on its way."""
    async with world_of(database_url) as stage:
        await asked(stage)
        await asked(stage)
        await stage.type("mika", "#general", "/deploy abort D-1")
        await stage.advance(seconds=30)
        first, second = stage.dms("kenji")
        shown = stage.channel("#deploys")[1]
        assert f"<#{shown.channel}>" in str(first.blocks)
        link = f"/archives/{shown.channel}/p{shown.ts.replace('.', '')}|D-2 のカードを開く>"
        assert link in str(second.blocks)


async def test_14_5_whoever_asked_reads_who_rejected_it_and_why(database_url: str) -> None:
    async with world_of(database_url) as stage:
        before = split(stage)
        await rejected(stage, "kenji", await asked(stage), "The load test is not done")
        await stage.advance(seconds=30)
        told = stage.dms("mika")[-1].plain
        assert "D-1" in told
        assert "kenji" in told
        assert "The load test is not done" in told
        assert "The load test is not done" in stage.thread(card(stage))[-1].plain
        assert split(stage) == before


async def test_14_5_who_was_asked_reads_that_somebody_else_has_decided(database_url: str) -> None:
    """The message that asked is edited: nobody opens a laptop at night for what is over."""
    async with world_of(database_url, deploying(approvals=2)) as stage:
        await asked(stage)
        await stage.advance(seconds=10)
        (first,) = stage.dms("aya")
        await stage.press("kenji", card(stage), "Approve Deploy")
        await stage.advance(seconds=10)
        (own,), (still,) = stage.dms("kenji"), stage.dms("aya")
        assert "*D-1* を承認しました" in own.plain
        assert "あと 1 名の承認が必要" in own.plain
        assert (still.ts, still.plain) == (first.ts, first.plain)
        await stage.press("aya", card(stage), "Approve Deploy")
        await stage.advance(seconds=10)
        for name in ("kenji", "aya"):
            (message,) = stage.dms(name)
            assert "aya" in message.plain
            assert "ご対応は不要" in message.plain
            assert "依頼" not in message.plain


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("rejected", "*D-1* を却下しました"),
        ("expired", "*D-1* は期限までに承認されませんでした"),
        ("aborted", "もう承認は必要ありません"),
    ],
)
async def test_14_5_what_asks_for_an_approval_says_how_it_ended(
    sqlite_only: str, how: str, says: str
) -> None:
    async with world_of(sqlite_only) as stage:
        requested = await asked(stage)
        if how == "rejected":
            await rejected(stage, "kenji", requested)
        elif how == "aborted":
            await stage.type("dan", "#general", "/deploy abort D-1")
        await stage.advance(minutes=16)
        for name in ("kenji", "aya"):
            (message,) = stage.dms(name)
            assert says in message.plain


async def test_14_5_who_never_read_the_question_need_not_read_its_end(database_url: str) -> None:
    async with world_of(database_url) as stage:
        stage.slack.faults.add("conversations.open", drop_before(), count=1000)
        requested = await asked(stage)
        await rejected(stage, "kenji", requested)
        await stage.advance(seconds=30)
        stage.slack.faults.clear()
        await stage.advance(minutes=2)
        assert [stage.dms(name) for name in ("kenji", "aya")] == [[], []]


@pytest.mark.parametrize("twice", [False, True])
async def test_14_5_a_question_of_unknown_fate_says_the_end_too(database_url: str, *, twice: bool) -> None:
    """Slack took it, and its answer was lost; the decision comes before anybody looked."""
    async with world_of(database_url) as stage:
        await rejected(stage, "kenji", await asked(stage))
        await stage.advance(seconds=30)
        channel = stage.dms("aya")[0].channel
        stage.slack.faults.add("chat.postMessage", drop_after(), channel=channel, count=2 if twice else 1)
        stage.slack.faults.add("conversations.history", drop_before(), channel=channel, count=20)
        await asked(stage)
        await rejected(stage, "kenji", stage.channel("#deploys")[-1])
        stage.slack.faults.clear()
        await stage.advance(minutes=5)
        assert [("却下しました" in one.plain) for one in stage.dms("aya")] == [True, True]


async def test_14_5_who_may_not_press_reads_what_was_pressed_and_who_may(sqlite_only: str) -> None:
    policy = deploying()
    rule = policy.deploys.default.model_copy(update={"approvers": ("kenji", "aya", "role:manager")})
    people = policy.people | {"yuko": policy.people["yuko"].model_copy(update={"roles": ("manager",)})}
    policy = policy.model_copy(update={"deploys": Deploys(default=rule), "people": people})
    async with world_of(sqlite_only, policy) as stage:
        shown = await asked(stage)
        await stage.press("dan", shown, "Reject")
        assert "You may not reject this. Who may: kenji, aya, yuko (manager)" in stage.told("dan")[-1]
        await stage.press("kenji", shown, "Approve Deploy")
        await stage.advance(minutes=2)
        await stage.press("dan", card(stage), "Promote")
        assert "You may not promote this deploy. Who may: kenji, aya, yuko (manager)" in stage.told("dan")[-1]
        await stage.press("mika", card(stage), "Promote")
        assert "You may not promote this deploy" in stage.told("mika")[-1]


async def test_14_5_a_rejection_needs_no_reason_and_ones_own_is_told_nobody(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        await rejected(stage, "mika", await asked(stage))
        await stage.advance(seconds=30)
        assert stage.dms("mika") == []
        assert "rejected" in card(stage).plain


async def test_14_5_whoever_asked_reads_that_nobody_answered_in_time(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        await asked(stage)
        await stage.advance(minutes=17)
        assert "in time" in stage.dms("mika")[-1].plain


async def test_14_5_the_form_of_a_rejection_that_comes_too_late_says_so(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        message = await asked(stage)
        await stage.press("kenji", message, "Reject")
        await stage.press("aya", message, "Approve Deploy")
        assert (await stage.submit("kenji", {"reason": "Too late"})).ok
        await stage.advance(seconds=5)
        assert "進行中" in stage.told("kenji")[-1] or stage.dms("mika") == []
        assert "rejected" not in card(stage).plain


async def test_a_dry_run_changes_nothing_and_is_seen_by_who_asked(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        before = split(stage)
        updates = stage.cloud.journal.count("UpdateService")
        await stage.type("mika", "#general", f"/deploy bondpoint-api {GOOD} --dry-run")
        assert "v2" in stage.told("mika")[-1] or "sha256" in stage.told("mika")[-1]
        assert stage.channel("#deploys") == []
        assert split(stage) == before
        assert stage.cloud.journal.count("UpdateService") == updates + 1  # With validate_only.


async def test_a_rollback_goes_to_the_revision_before_with_the_same_approval(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=40)
        assert old not in split(stage)
        await stage.type("dan", "#general", "/deploy rollback bondpoint-api")
        await stage.advance(seconds=5)
        assert split(stage) != {old: 100}
        await stage.press("kenji", card(stage), "Approve Rollback")
        await stage.advance(minutes=1)
        assert split(stage) == {old: 100}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "no other revision that is ready"),
        (" bondpoint-api-none", "has no revision `bondpoint-api-none`"),
    ],
)
async def test_14_5_a_rollback_that_cannot_be_is_answered_to_its_author_and_posts_nothing(
    sqlite_only: str, typed: str, says: str
) -> None:
    async with world_of(sqlite_only) as stage:
        before = split(stage)
        await stage.type("dan", "#general", f"/deploy rollback bondpoint-api{typed}")
        await stage.advance(minutes=1)
        assert says in stage.told("dan")[-1]
        assert stage.channel("#deploys") == []
        assert split(stage) == before


async def test_14_5_who_asks_while_an_incident_is_open_reads_that_the_deploy_will_wait(
    sqlite_only: str,
) -> None:
    async with world_of(sqlite_only) as stage:
        await stage.webhook("cloud-monitoring", monitoring())
        await stage.type("mika", "#general", f"/deploy bondpoint-api {GOOD}")
        await stage.settle()
        says = "is open on this service: once approved, the deploy waits until it is resolved"
        assert says in stage.told("mika")[-1]
        await stage.advance(seconds=5)
        (thread,) = [line for line in notes(stage, "#deploys") if "your approval" in line]
        assert says in thread
        await stage.press("kenji", card(stage), "Approve Deploy")
        await stage.advance(minutes=1)
        assert "Held until INC-1 is resolved" in card(stage).plain


async def test_14_5_the_card_says_before_the_approval_that_an_incident_will_hold_the_deploy(
    sqlite_only: str,
) -> None:
    async with world_of(sqlite_only) as stage:
        says = "INC-1 is open on this service: once approved, the deploy waits until it is resolved"
        assert says not in (await asked(stage)).plain
        await stage.webhook("cloud-monitoring", monitoring())
        await stage.advance(minutes=1, seconds=5)
        assert says in card(stage).plain
        assert "waiting for 1 approval" in card(stage).plain
        await stage.webhook("cloud-monitoring", monitoring(state="closed"))
        await stage.type("kenji", "#general", "/incident resolve INC-1 it went away")
        await stage.advance(minutes=1, seconds=5)
        assert says not in card(stage).plain


@pytest.mark.parametrize("is_touched", [False, True])
async def test_14_5_the_reason_of_an_abort_is_on_the_card_and_in_its_thread(
    sqlite_only: str, *, is_touched: bool
) -> None:
    async with world_of(sqlite_only) as stage:
        requested = await asked(stage)
        if is_touched:
            await stage.press("kenji", requested, "Approve Deploy")
            await stage.advance(minutes=2)
        await stage.type("dan", "#general", "/deploy abort D-1 wrong image, sorry")
        await stage.advance(minutes=2)
        assert "wrong image, sorry" in card(stage).plain
        word = "stopped" if is_touched else "cancelled"
        assert any(f"dan {word} it: wrong image, sorry" in line for line in notes(stage, "#deploys"))
        says = "is stopped; anything it changed is being rolled back" if is_touched else "nothing was changed"
        assert says in " ".join(stage.told("dan"))


async def test_an_alert_names_the_deploy_before_it_and_its_button_asks_for_the_way_back(
    sqlite_only: str,
) -> None:
    async with world_of(sqlite_only) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=40)
        await stage.webhook("cloud-monitoring", monitoring())
        alert = stage.card("#alerts")
        assert "D-1 (done, 100 %): `bondpoint-api-t1-" in alert.plain
        assert "by mika" in alert.plain
        await stage.press("dan", alert, "Roll Back")
        await stage.advance(seconds=5)
        assert split(stage) != {old: 100}
        await stage.press("aya", card(stage), "Approve Rollback")
        await stage.advance(minutes=2)
        assert split(stage) == {old: 100}


async def test_the_button_of_an_alert_stops_a_deploy_that_is_on_its_way(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        await stage.webhook("cloud-monitoring", monitoring())
        assert "canary under watch" in stage.card("#alerts").plain
        await stage.press("dan", stage.card("#alerts"), "Roll Back")
        await stage.advance(minutes=1)
        assert split(stage) == {old: 100}
        assert "Roll Back" not in stage.card("#alerts").plain


async def test_14_5_an_alert_that_began_before_a_deploy_does_not_name_it_until_it_fires_again(
    database_url: str,
) -> None:
    async with world_of(database_url, deploying(bake=timedelta(minutes=20))) as stage:
        await stage.webhook("cloud-monitoring", monitoring(severity="Warning"))
        await stage.advance(minutes=1)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=2)
        assert sorted(split(stage).values()) == [10, 90]
        alert = stage.card("#alerts")
        assert "D-1" not in alert.plain
        assert "Roll Back" not in alert.plain
        await stage.webhook("cloud-monitoring", monitoring(severity="Warning", state="closed"))
        await stage.advance(minutes=3)
        await stage.webhook(
            "cloud-monitoring", monitoring(severity="Warning", incident="0.again", started=1795310400)
        )
        alert = stage.channel("#alerts")[0]
        assert "D-1 (canary under watch): `bondpoint-api-t1-" in alert.plain
        assert "Roll Back" in alert.plain


async def test_14_5_an_alert_long_after_a_deploy_does_not_name_it(sqlite_only: str) -> None:
    async with world_of(sqlite_only, deploying(steps=(100,))) as stage:
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=20)
        stage.clock.push(timedelta(hours=6))
        await stage.webhook("cloud-monitoring", monitoring())
        assert "D-1" not in stage.card("#alerts").plain
        assert "Roll Back" not in stage.card("#alerts").plain


async def test_14_5_a_deploy_counts_from_its_first_traffic_on_not_from_its_last_step(
    sqlite_only: str,
) -> None:
    async with world_of(sqlite_only, deploying()) as stage:
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=4)
        await stage.webhook("cloud-monitoring", monitoring())
        await stage.advance(minutes=6)
        assert list(split(stage).values()) == [100]
        assert "D-1 (" in stage.card("#alerts").plain
        assert "Roll Back" in stage.card("#alerts").plain


async def test_what_a_bad_deploy_did_is_not_learned_as_usual(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=40)
        await stage.press("kenji", await asked(stage, BAD), "Approve Deploy")
        await stage.advance(minutes=9)
        _, unusual = await _remembered(stage.bot.world)
        async with stage.bot.store.read() as tx:
            bad, _ = await tx.rollouts_of("bondpoint-api", 2)
        assert bad.shifted_at is not None
        assert bad.ended_at is not None
        assert unusual == [("bondpoint-api", epoch(bad.shifted_at), epoch(bad.ended_at))]


@pytest.mark.parametrize("minutes", [1, 6, 12])
async def test_a_killed_bot_goes_on_where_it_was(database_url: str, minutes: int) -> None:
    async with world_of(database_url, deploying(watch=timedelta(minutes=3))) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=minutes)
        await stage.crash()
        stage.clock.push(timedelta(minutes=1))
        await stage.start()
        await stage.advance(minutes=20)
        serving = split(stage)
        assert old not in serving
        assert list(serving.values()) == [100]
        assert "done, 100 %" in card(stage).plain


async def test_13_5_a_rollback_to_what_was_taken_back_is_no_plain_rollback(sqlite_only: str) -> None:
    """The revision of a failed deploy never served all users: its lock holds, and one approval is too few."""
    async with world_of(sqlite_only) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage, BAD), "Approve Deploy")
        await stage.advance(minutes=9)
        (bad,) = (name for name in stage.cloud.run.service("bondpoint-api").revisions if name != old)
        await stage.type("mika", "#general", f"/deploy rollback bondpoint-api {bad}")
        await stage.advance(seconds=5)
        assert "has never served all users" in card(stage).plain
        await stage.press("kenji", card(stage), "Approve Rollback")
        await stage.advance(minutes=1)
        assert split(stage).keys() == {old}


async def test_14_5_an_emergency_does_not_queue_behind_what_nobody_has_approved(database_url: str) -> None:
    """User 13. What made way is asked for again once the emergency is over."""
    policy = deploying()
    urgent = Emergency(people=("dan",), skips=("approval",))
    policy = policy.model_copy(update={"deploys": policy.deploys.model_copy(update={"emergency": urgent})})
    async with world_of(database_url, policy) as stage:
        first = await asked(stage, BAD)
        await stage.type("dan", "#general", f"/deploy bondpoint-api {GOOD} --emergency users are out")
        await stage.advance(minutes=40)
        assert "D-2" in stage.channel("#deploys")[1].plain
        assert "done" in stage.channel("#deploys")[1].plain
        assert any("emergency deploy goes first" in one.plain for one in stage.thread(first))
        assert "waiting for 1 approval" in stage.channel("#deploys")[0].plain
        first_time, again = (one.plain for one in stage.dms("kenji") if "D-1" in one.plain)
        assert "もう承認は必要ありません" in first_time
        assert "*D-1* の承認を依頼しています" in again


@pytest.mark.parametrize(
    ("skips", "said"),
    [
        (
            ("freeze", "lock", "incident"),
            "freezes, locks, open incidents do not hold this deploy; it still needs an approval",
        ),
        (("freeze", "approval"), "freezes do not hold this deploy, and it begins without an approval"),
        ((), "it is held and needs an approval like any other deploy"),
    ],
)
async def test_14_5_an_emergency_says_what_the_policy_skips_and_no_more(
    sqlite_only: str, skips: tuple[str, ...], said: str
) -> None:
    policy = deploying()
    urgent = Emergency.model_validate({"people": ("kenji",), "skips": skips})
    policy = policy.model_copy(update={"deploys": policy.deploys.model_copy(update={"emergency": urgent})})
    async with world_of(sqlite_only, policy) as stage:
        await stage.type("kenji", "#general", f"/deploy bondpoint-api {GOOD} --emergency users are out")
        await stage.advance(seconds=5)
        (note,) = (one for one in notes(stage, "#deploys") if "Emergency" in one)
        assert f"Emergency (kenji): {said}" in note
        assert note.endswith("Reason: users are out")
        assert ("waiting for 1 approval" in card(stage).plain) is ("approval" not in skips)


@pytest.mark.parametrize(("who", "alone"), [("aya", True), ("dan", False)])
async def test_14_5_an_approver_goes_back_alone_where_the_policy_says_so(
    sqlite_only: str, who: str, *, alone: bool
) -> None:
    async with world_of(sqlite_only, deploying(rollback_alone=True)) as stage:
        (old,) = split(stage)
        await stage.press("kenji", await asked(stage), "Approve Deploy")
        await stage.advance(minutes=40)
        await stage.type(who, "#general", "/deploy rollback bondpoint-api")
        await stage.advance(minutes=2)
        assert (split(stage) == {old: 100}) is alone
        assert ("Approve Rollback" in card(stage).plain) is not alone


async def test_14_5_nobody_goes_alone_to_what_users_never_met(sqlite_only: str) -> None:
    async with world_of(sqlite_only, deploying(rollback_alone=True)) as stage:
        before = split(stage)
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", env={"A": "2"})
        await stage.advance(minutes=1)
        new = stage.cloud.run.service("bondpoint-api").revisions[-1]
        await stage.type("aya", "#general", f"/deploy rollback bondpoint-api {new}")
        await stage.advance(minutes=2)
        assert split(stage) == before
        assert "waiting for 2 approvals" in card(stage).plain


async def test_14_5_what_never_had_traffic_is_not_told_to_be_back(sqlite_only: str) -> None:
    """User 18."""
    async with world_of(sqlite_only) as stage:
        stage.cloud.images.push(f"{REPOSITORY}:dead", Behaviour(starts=False))
        await stage.press("kenji", await asked(stage, f"{REPOSITORY}:dead"), "Approve Deploy")
        await stage.advance(minutes=10)
        told = "\n".join(one.plain for one in stage.thread(card(stage)))
        assert "again" not in told
        assert "never had any traffic" in told


@pytest.mark.parametrize("typed", ["v2", ":v2", "api:v2", "`v2`", "ｖ２"])
async def test_14_5_a_short_tag_is_one_of_the_image_that_serves(database_url: str, typed: str) -> None:
    """User 14."""
    async with world_of(database_url) as stage:
        message = await asked(stage, typed)
        assert "waiting for 1 approval" in message.plain
        assert "api:v2" in message.plain
        await stage.press("kenji", card(stage), "Approve Deploy")
        await stage.advance(minutes=30)
        assert "done, 100 %" in card(stage).plain


@pytest.mark.parametrize(
    "typed", ["v99", f"{REPOSITORY}:v99", "other:v2", "https://x.example/v2", "api@sha256:12"]
)
async def test_14_5_an_image_that_cannot_be_is_refused_to_whoever_typed_it_and_nobody_else(
    sqlite_only: str, typed: str
) -> None:
    """User 14: a typo is no public failure, and the way out is named."""
    async with world_of(sqlite_only) as stage:
        await stage.type("mika", "#general", f"/deploy bondpoint-api {typed}")
        await stage.advance(seconds=5)
        assert stage.channel("#deploys") == []
        said = stage.told("mika")[-1]
        assert "nothing was requested" in said
        assert "v2" in said or "`v42`" in said


async def test_14_5_what_was_pushed_a_moment_ago_is_found(sqlite_only: str) -> None:
    async with world_of(sqlite_only) as stage:
        await stage.type("mika", "#general", "/deploy bondpoint-api v7")
        assert "nothing was requested" in stage.told("mika")[-1]
        stage.cloud.images.push(f"{REPOSITORY}:v7", Behaviour())
        message = await asked(stage, "v7")
        assert "api:v7" in message.plain


async def test_14_5_status_and_freeze_answer_while_a_deploy_is_open(database_url: str) -> None:
    """User 4."""
    async with world_of(database_url) as stage:
        await asked(stage)
        for command in ("/deploy status", "/deploy status bondpoint-api", "/deploy freeze"):
            await stage.type("mika", "#general", command)
            assert "failed on our side" not in stage.told("mika")[-1]
        assert "D-1" in next(one for one in reversed(stage.told("mika")) if "Deploys open" in one)
