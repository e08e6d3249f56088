"""The card of a deploy in every stage and both languages: within the limits, true, and never live markup."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.approvals import Approval
from domain.chances import Counts
from domain.cloudrun import Row, Target
from domain.effects import By, Text
from domain.feasibility import feasible
from domain.incidents import Incident, IncidentStatus
from domain.levels import Severity
from domain.outbox import Rendered
from domain.plans import Change, Field, Plan, Risk, Warn
from domain.rollouts import Course, Kind, Lock, Rollout, Stage
from domain.verdict import Verdict, judge
from domain.views import RolloutView
from notify.slack import actions
from notify.slack.cards.rollout_plan import change_lines
from notify.slack.cards.rollouts import history_card, plan_card, rollout_card, rollouts_card
from notify.slack.limits import check_message, check_modal
from notify.slack.views.deploy import DeployChoice, deploy_form, picked, reject_form, tag_menu
from notify.texts import LOCALES, voice
from notify.texts.amounts import amount
from sandbox.slack.blockkit import judge_blocks, judge_view
from sandbox.slack.reading import plain_of

AT = datetime(2026, 11, 23, 1, 40, tzinfo=UTC)
DIGEST = "sha256:" + "ab12cd34" * 8
REPOSITORY = "asia-northeast1-docker.pkg.dev/bondpoint-prod/app/bondpoint-api"
OLD, NEW = "bondpoint-api-00041-xyz", "bondpoint-api-t12-ab12cd3"
MIKA, KENJI, AYA = (By(id=f"U{name.upper()}", name=name) for name in ("mika", "kenji", "aya"))
TARGET = Target(project="bondpoint-prod", region="asia-northeast1", service="bondpoint-api")
EVIL = "<!channel> *x* `y <http://evil.example|click> & _z_\n> {at}\u202e"
STARTED = frozenset({Stage.SHIFTING, Stage.BAKING, Stage.ASKING, Stage.WATCHING, Stage.ROLLING_BACK})
AFTERWARDS = frozenset({Stage.DONE, Stage.ROLLED_BACK, Stage.INTERRUPTED})


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def a_plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "image": f"{REPOSITORY}@{DIGEST}",
        "digest": DIGEST,
        "revision": NEW,
        "tag": "t012",
        "baseline": OLD,
        "rows": (Row(revision=OLD, percent=100),),
        "on_latest": False,
        "etag": "etag-1",
        "generation": 41,
        "changes": (Change(field=Field.IMAGE, before=f"{REPOSITORY}:v1", after=f"{REPOSITORY}@{DIGEST}"),),
        "uri": "https://bondpoint-api.example",
    }
    return Plan(**(values | changes))


def looked(errors: int = 1, requests: int = 480, *, interim: bool = False, **more: Any) -> Verdict:
    """What the product's own judge says of so many failed requests beside a healthy revision."""
    stable = Counts(requests=4320, errors=4)
    values: dict[str, Any] = {"share": 0.1, "interim": interim, "visible_until": AT - minutes(2.5)}
    return judge(Counts(requests=requests, errors=errors), stable, **(values | more))


def a_rollout(stage: Stage = Stage.REQUESTED, kind: Kind = Kind.DEPLOY, **changes: Any) -> Rollout:
    """One as it is stored in this stage."""
    deploy = kind is Kind.DEPLOY
    values: dict[str, Any] = {
        "id": 12,
        "kind": kind,
        "service": "bondpoint-api",
        "target": TARGET,
        "image": f"{REPOSITORY}:2026-11-23" if deploy else "",
        "digest": DIGEST,
        "requested_by": MIKA,
        "requester": "mika",
        "requested_at": AT - minutes(30),
        "course": Course(steps=(10, 50, 100) if deploy else (100,), bake=minutes(5), watch=minutes(15)),
        "stage": stage,
        "since": AT,
    }
    if stage not in {Stage.QUEUED, Stage.PLANNING}:
        values["plan"] = (
            a_plan(named="2026-11-23") if deploy else a_plan(revision=OLD, baseline=NEW, tag=None, changes=())
        )
    if stage is Stage.REQUESTED:
        values["expires_at"] = AT + minutes(15)
    if stage in STARTED | AFTERWARDS:
        values |= {"percent": 10, "shifted_at": AT - minutes(6), "bake_until": AT - minutes(1)}
        values |= {"verdict": looked(), "before": Counts(requests=57_600, errors=50)}
        values["checks"] = (("/health", True, "HTTP 200"),)
    if stage.is_over:
        values["ended_at"] = AT
    return Rollout(**(values | changes))


def a_view(rollout: Rollout, **changes: Any) -> RolloutView:
    return RolloutView(rollout=rollout, **changes)


def valid(shown: Rendered) -> Rendered:
    """The message, after both our own check and the sandbox's judge have taken it."""
    check_message(shown.text, shown.blocks)
    assert judge_blocks(shown.blocks, "message") == []
    return shown


def card(rollout: Rollout, locale: str = "en", **changes: Any) -> Rendered:
    return valid(rollout_card(voice(locale), a_view(rollout, **changes)))


def read(shown: Rendered) -> str:
    """The words that a person reads on it."""
    return re.sub("[`*]", "", plain_of(shown.text, shown.blocks, lambda name: name))


def first_line(shown: Rendered) -> str:
    return str(shown.blocks[0]["text"]["text"])


def buttons(shown: Rendered) -> list[dict[str, Any]]:
    return [one for block in shown.blocks if block["type"] == "actions" for one in block["elements"]]


def labels(shown: Rendered) -> list[str]:
    return [one["text"]["text"] for one in buttons(shown)]


def texts(value: Any) -> Iterator[dict[str, Any]]:
    """Every text object, wherever it stands."""
    if isinstance(value, dict):
        if value.get("type") in {"mrkdwn", "plain_text"}:
            yield value
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


# Every stage.


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("stage", Stage)
def test_every_stage_is_a_message_that_slack_takes(stage, kind, locale):
    shown = card(a_rollout(stage, kind), locale)
    assert "bondpoint-api" in shown.text
    assert "D-12" in shown.text
    assert "D-12" in first_line(shown)
    assert voice(locale).plain(f"rollout.kind_{kind.value}") in first_line(shown)
    assert sum(one.get("style") == "primary" for one in buttons(shown)) <= 1
    assert all("confirm" in one for one in buttons(shown) if one.get("style") == "danger")
    assert all(one["value"].startswith("rollout:12") for one in buttons(shown))


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("stage", [stage for stage in Stage if stage.is_over])
def test_what_is_over_has_an_outcome_line_and_no_buttons(stage, locale):
    shown = card(a_rollout(stage, ended_by=KENJI), locale)
    assert buttons(shown) == []
    (small,) = [block for block in shown.blocks if block["type"] == "context"]
    outcome = next(one["text"] for one in small["elements"] if "kenji" in one["text"])
    assert f"<!date^{int(AT.timestamp())}^" in outcome
    if stage is not Stage.REJECTED:  # How long somebody thought about a "no" is no length of a deploy.
        assert ("30 minutes" if locale == "en" else "30分") in outcome


@pytest.mark.parametrize(
    ("stage", "changes", "says"),
    [
        (Stage.QUEUED, {}, "queued"),
        (Stage.PLANNING, {}, "being planned"),
        (Stage.REQUESTED, {"needed": 2}, "waiting for 2 approvals"),
        (Stage.APPROVED, {"held_by": "lock"}, "approved, but held"),
        (Stage.CREATING, {}, "the new revision is starting, without traffic"),
        (Stage.SHIFTING, {"step": 1}, "traffic is moving to 50 %"),
        (Stage.BAKING, {}, "canary at 10 %, under watch"),
        (Stage.BAKING, {"paused_by": KENJI}, "paused at 10 %"),
        (Stage.ASKING, {}, "needs a decision"),
        (Stage.WATCHING, {"percent": 100}, "100 %, still watched"),
        (Stage.ROLLING_BACK, {}, "rolling back"),
        (Stage.INTERRUPTED, {}, "stopped: somebody else changed the service"),
        (Stage.VOID, {}, "void: the service changed since it was planned"),
    ],
)
def test_the_first_line_says_what_happened_or_what_is_needed(stage, changes, says):
    shown = card(a_rollout(stage, **changes))
    assert first_line(shown).endswith(f"Deploy D-12 · bondpoint-api: {says}")
    assert shown.text.startswith(f"Deploy D-12 · bondpoint-api: {says}")


def test_a_question_is_asked_in_the_first_line_even_where_somebody_paused():
    shown = card(a_rollout(Stage.ASKING, paused_by=KENJI))
    assert "needs a decision" in first_line(shown)
    assert shown.text.endswith("Please decide.")


# Before it starts.


def test_a_request_says_who_asked_for_what_and_until_when_it_may_be_approved():
    seen = read(card(a_rollout()))
    for part in ("mika", "bondpoint-api:2026-11-23", "ab12cd34ab12", OLD, NEW, "10 % → 50 % → 100 %"):
        assert part in seen
    raw = str(card(a_rollout()).blocks)
    assert f"<!date^{int((AT + minutes(15)).timestamp())}^" in raw


def test_differences_are_named_and_no_value_of_a_variable_or_its_hash_is_shown():
    changes = (
        Change(field=Field.ENV, name="FEATURE_X", before=None, after="h4sh0001"),
        Change(field=Field.ENV, name="OLD_URL", before="h4sh0002", after=None),
        Change(field=Field.ENV, name="DB_NAME", before="h4sh0003", after="h4sh0004"),
        Change(field=Field.SECRET, name="API_KEY", before="api-key@3", after="api-key@latest"),
        Change(field=Field.MEMORY, before="1Gi", after="512Mi"),
    )
    seen = read(card(a_rollout(plan=a_plan(changes=changes))))
    assert "Variable FEATURE_X is added" in seen
    assert "Variable OLD_URL is removed" in seen
    assert "Variable DB_NAME is changed" in seen
    assert "Secret API_KEY: api-key@3 → api-key@latest" in seen
    assert "Memory: 1Gi → 512Mi" in seen
    assert "h4sh" not in seen


def test_of_many_differences_the_rest_is_counted():
    changes = tuple(Change(field=Field.ENV, name=f"V{n}", before=None, after="h") for n in range(40))
    assert "25" in read(card(a_rollout(plan=a_plan(changes=changes))))


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("risk", Risk)
def test_every_risk_says_that_it_asks_for_a_second_approver(risk, locale):
    seen = read(card(a_rollout(plan=a_plan(risks=(risk,)), needed=2), locale))
    assert ("a second approver is needed" if locale == "en" else "2人目の承認が必要") in seen


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("warning", Warn)
def test_every_warning_is_shown(warning, locale):
    found = feasible(9.6, 10, minutes(5), 250)
    plain = read(card(a_rollout(feasibility=found), locale))
    warned = read(card(a_rollout(plan=a_plan(warnings=(warning,)), feasibility=found), locale))
    assert len(warned) > len(plain) + 10


def test_too_few_requests_are_told_with_what_would_do():
    found = feasible(120.0, 10, minutes(5), 250)
    rollout = a_rollout(
        plan=a_plan(warnings=(Warn.FEW_REQUESTS,)),
        feasibility=found,
        course=Course(steps=(10, 100), bake=minutes(5), watch=minutes(15)),
    )
    seen = read(card(rollout))
    assert "10 % of the traffic for 5 minutes is about 60 requests; a verdict needs 250" in seen
    assert found.percent is not None
    assert found.bake is not None
    assert f"--steps {found.percent},100 --bake {int(found.bake.total_seconds() // 60)}m" in seen


@pytest.mark.parametrize(
    ("locale", "title"),
    [
        ("en", "bondpoint-api: rollback of deploy D-12"),
        ("ja", "bondpoint-api：デプロイ D-12 のロールバック"),
    ],
)
def test_14_5_the_title_of_a_rollbacks_alert_is_true_before_and_after_its_end(
    locale: str, title: str
) -> None:
    """Its incident bears the title for good; the way back may also fail."""
    said = voice(locale).plain("signal.rollout_failed", service="bondpoint-api", number="D-12", revision=NEW)
    assert said == title


def test_14_5_what_will_hold_a_deploy_is_on_its_card_and_in_the_question_before_the_approval() -> None:
    shown = card(a_rollout(held_by="incident:INC-3"))
    says = "INC-3 is open on this service: once approved, the deploy waits until it is resolved."
    assert read(shown).count(says) == 1
    assert "Held until" not in read(shown)
    assert buttons(shown)[0]["confirm"]["text"]["text"].endswith(says)
    long = card(a_rollout(held_by="incident:INC-3", service="s" * 63, image=f"{REPOSITORY}:{'t' * 120}"))
    assert "as revision" in buttons(long)[0]["confirm"]["text"]["text"]
    assert "Held by the freeze weekend" in read(card(a_rollout(held_by="freeze:weekend")))


def test_14_5_what_ends_a_deploy_is_called_by_one_word_in_card_and_dialog() -> None:
    for kind, keep in ((Kind.DEPLOY, "Keep Deploy"), (Kind.ROLLBACK, "Keep Rollback")):
        (end,) = buttons(card(a_rollout(Stage.APPROVED, kind)))
        assert end["confirm"]["deny"]["text"] == keep
    rejected = a_rollout(Stage.REJECTED, ended_by=AYA)
    assert "Rejected by aya" in read(card(rejected))
    assert "aya さんが却下（" in read(card(rejected, "ja"))
    assert "所要時間" not in read(card(rejected, "ja"))


def test_14_5_a_dry_run_speaks_of_no_approval() -> None:
    plan = a_plan(warnings=(Warn.MUTABLE_TAG,))
    for locale, word in (("en", "this approval"), ("ja", "承認対象")):
        assert word in read(card(a_rollout(plan=plan), locale))
        dry = plan_card(voice(locale), a_rollout(plan=plan, id=None))
        assert word not in read(dry)
        assert DIGEST.removeprefix("sha256:")[:12] in read(dry)


def test_14_5_japanese_lines_of_changes_have_full_width_colons() -> None:
    assert "イメージ： bondpoint-api" in read(card(a_rollout(), "ja")).replace("：b", "： b")
    assert "イメージ:" not in read(card(a_rollout(), "ja"))


@pytest.mark.parametrize(("locale", "shown"), [("en", "65 seconds"), ("ja", "65秒")])
def test_14_5_more_than_a_minute_has_no_tenths(locale: str, shown: str) -> None:
    assert amount(65.1, "seconds", locale) == shown
    assert amount(59.94, "seconds", locale) == "59.9 s"


def test_14_5_a_paused_deploy_promises_no_verdict() -> None:
    shown = read(card(a_rollout(Stage.BAKING, paused_by=KENJI)))
    assert "Paused by kenji: nothing moves until Resume. It is still rolled back if it gets worse." in shown
    assert "the verdict comes" not in shown
    assert "the verdict comes" in read(card(a_rollout(Stage.BAKING)))


def test_an_emergency_is_said_loudly_with_its_whole_reason():
    reason = "Everybody is locked out since the certificate expired. " * 5 + "The end."
    shown = card(a_rollout(emergency=reason))
    assert first_line(shown).startswith(":rotating_light:")
    assert "The end." in read(shown)


def test_the_approve_button_is_bound_to_what_is_shown_and_names_it_again():
    rollout = a_rollout()
    approve, reject = buttons(card(rollout))
    assert approve["action_id"] == actions.ROLLOUT_APPROVE
    assert approve["value"] == f"rollout:12/{rollout.plan.fingerprint}"
    assert approve["style"] == "primary"
    assert "bondpoint-api:2026-11-23" in approve["confirm"]["text"]["text"]
    assert reject["value"] == "rollout:12"
    assert "confirm" not in reject, "its form asks"


def test_approvals_so_far_are_shown():
    given = Approval(person="kenji", by=KENJI, fingerprint=a_plan().fingerprint, at=AT)
    shown = card(a_rollout(needed=2, approvals=(given,)))
    assert "waiting for 1 approval" in first_line(shown)
    assert "Approved by kenji" in read(shown)


@pytest.mark.parametrize(
    ("held_by", "says"),
    [("lock", "locked"), ("freeze:friday-evening", "friday-evening"), ("incident:INC-3", "INC-3")],
)
def test_what_holds_an_approved_deploy_is_named(held_by, says):
    assert says in read(card(a_rollout(Stage.APPROVED, held_by=held_by)))


@pytest.mark.parametrize("locale", LOCALES)
def test_a_queued_one_says_behind_which_and_its_place(locale):
    behind = a_rollout(Stage.BAKING, id=11)
    seen = read(card(a_rollout(Stage.QUEUED), locale, behind=behind, ahead=2))
    assert "D-11" in seen
    assert "3" in seen.split("D-11")[1]


# While it runs.


def test_a_canary_shows_its_counts_its_interval_and_up_to_when_anything_is_known():
    verdict = looked(errors=4, requests=120, interim=True)
    shown = card(a_rollout(Stage.BAKING, verdict=verdict))
    seen = read(shown)
    assert "120 / 250 requests" in seen
    assert "▓▓▓▓▓░░░░░" in seen
    assert "4 of 120 requests failed" in seen
    assert "4 of 4,320 requests failed" in seen
    low, high = verdict.evidence.interval
    assert f"95 %: {low * 100:.3g} % to {high * 100:.3g} %" in seen
    assert f"<!date^{int((AT - minutes(2.5)).timestamp())}^" in str(shown.blocks)


def test_a_canary_with_requests_enough_is_not_said_to_miss_any():
    seen = read(card(a_rollout(Stage.BAKING, verdict=looked(requests=480))))
    assert "480 of 480" not in seen
    assert "480 requests, enough for a verdict" in seen


def test_it_is_said_which_step_is_served_and_until_when_it_is_watched():
    until = AT + minutes(4)
    shown = card(a_rollout(Stage.BAKING, percent=50, step=1, bake_until=until))
    assert "step 2 of 3" in read(shown)
    assert f"<!date^{int(until.timestamp())}^" in str(shown.blocks)


@pytest.mark.parametrize("locale", LOCALES)
def test_without_requests_no_rate_is_made_up(locale):
    verdict = looked(errors=0, requests=0)
    seen = read(card(a_rollout(Stage.ASKING, verdict=verdict), locale))
    assert "95 %" not in seen


@pytest.mark.parametrize(
    ("stage", "changes", "shown"),
    [
        (Stage.QUEUED, {}, ["Cancel Deploy"]),
        (Stage.PLANNING, {}, ["Cancel Deploy"]),
        (Stage.APPROVED, {}, ["Cancel Deploy"]),
        (Stage.CREATING, {}, ["Pause", "Roll Back"]),
        (Stage.SHIFTING, {}, ["Pause", "Roll Back"]),
        (Stage.BAKING, {}, ["Pause", "Promote", "Roll Back"]),
        (Stage.BAKING, {"paused_by": KENJI}, ["Resume", "Promote", "Roll Back"]),
        (Stage.ASKING, {}, ["Wait", "Promote", "Roll Back"]),
        (Stage.WATCHING, {}, ["Pause", "Roll Back"]),
        (Stage.ROLLING_BACK, {}, []),
    ],
)
def test_buttons_offer_what_can_be_done_and_nothing_else(stage, changes, shown):
    assert labels(card(a_rollout(stage, **changes))) == shown


def test_a_question_says_what_is_not_known_and_what_each_button_does():
    rollout = a_rollout(Stage.ASKING, problem=Text(key="rollout.inconclusive"), verdict=looked(requests=90))
    shown = card(rollout)
    seen = read(shown)
    assert "do not tell whether it is healthy" in seen
    assert "Too few requests for a verdict." in seen
    for name in ("Wait", "Promote", "Roll Back"):
        assert name in labels(shown)
        assert f"{name} " in seen
    assert [one["text"]["text"] for one in buttons(shown) if one.get("style") == "primary"] == ["Wait"]


def test_checks_are_shown_with_what_they_answered():
    checks = (("/health", True, "HTTP 200"), ("/api/v1/health", False, "HTTP 503"))
    seen = read(card(a_rollout(Stage.SMOKE, checks=checks)))
    assert "/api/v1/health HTTP 503" in seen


# When it is over.


def test_an_interrupted_one_names_who_changed_the_service_and_what_serves_now():
    why = Text(
        key="rollout.interrupted",
        params={"who": "yuko@bondpoint.example", "serving": "bondpoint-api-00042-abc 100 %"},
    )
    seen = read(card(a_rollout(Stage.INTERRUPTED, problem=why)))
    assert "yuko@bondpoint.example changed the service" in seen
    assert "bondpoint-api-00042-abc 100 %" in seen


def test_what_was_taken_back_keeps_its_evidence_and_points_to_incident_and_lock():
    incident = Incident(
        id=3,
        title="bondpoint-api is worse",
        severity=Severity.P1,
        status=IncidentStatus.OPEN,
        opened_at=AT,
        opened_by=KENJI,
    )
    lock = Lock(service="bondpoint-api", reason=Text(key="rollout.worse"), by=KENJI, since=AT)
    rollout = a_rollout(
        Stage.ROLLED_BACK, verdict=looked(errors=40), problem=Text(key="rollout.worse"), alerted=True
    )
    seen = read(card(rollout, incident=incident, lock=lock))
    assert "40 of 480 requests failed" in seen
    assert "INC-3" in seen
    assert "/deploy unlock bondpoint-api" in seen


# Rollbacks.


def test_a_rollback_speaks_of_itself_in_its_own_words():
    shown = card(a_rollout(kind=Kind.ROLLBACK))
    assert "Rollback D-12" in first_line(shown)
    assert labels(shown) == ["Approve Rollback", "Reject"]
    approve, reject = buttons(shown)
    assert OLD in approve["confirm"]["text"]["text"]
    assert "confirm" not in reject, "its form asks"
    form = reject_form(voice("en"), a_rollout(kind=Kind.ROLLBACK))
    check_modal(form)
    assert "deployed" not in str(form["blocks"])
    assert "Image" not in read(shown)


def test_the_way_back_from_a_rollback_says_where_it_leads():
    (pause, back) = buttons(card(a_rollout(Stage.WATCHING, Kind.ROLLBACK)))
    assert pause["action_id"] == actions.ROLLOUT_PAUSE
    assert back["action_id"] == actions.ROLLOUT_ABORT
    assert back["text"]["text"] == "Undo Rollback"
    assert NEW in back["confirm"]["text"]["text"]
    assert labels(card(a_rollout(Stage.APPROVED, Kind.ROLLBACK))) == ["Cancel Rollback"]


# Lists, the dry run, the form.


@pytest.mark.parametrize("locale", LOCALES)
def test_the_status_lists_what_runs_is_locked_and_is_frozen(locale):
    lock = Lock(service="bondpoint-sync", reason=Text(key="rollout.worse"), by=KENJI, since=AT)
    running = [a_rollout(Stage.BAKING), a_rollout(Stage.QUEUED, id=13)]
    shown = valid(rollouts_card(voice(locale), running, [lock], {"bondpoint-web": "holidays"}))
    for part in ("D-12", "D-13", "bondpoint-sync", "kenji", "bondpoint-web", "holidays"):
        assert part in read(shown)
    assert read(valid(rollouts_card(voice(locale), [], [], {})))


@pytest.mark.parametrize("locale", LOCALES)
def test_a_long_status_cuts_no_line_and_drops_nothing_unsaid(locale):
    running = [a_rollout(Stage.BAKING, id=number, service=f"svc-{number}") for number in range(100, 200)]
    frozen = {f"svc-{number}": "holidays" for number in range(100, 200)}
    shown = valid(rollouts_card(voice(locale), running, [], frozen))
    for one in texts(shown.blocks):
        assert one["text"].count("<!date^") == len(re.findall(r"<!date\^\d+\^[^|<>]+\|[^|<>]+>", one["text"]))
        assert not one["text"].endswith("…")
    listed = sum(f"svc-{number} " in read(shown) for number in range(100, 200))
    assert 0 < listed < 100
    left = int(re.findall(r"\d+", read(shown).splitlines()[-1])[-1])
    shown_lines = sum(f"svc-{n}" in row for row in read(shown).splitlines() for n in range(100, 200))
    assert shown_lines + left == 200


@pytest.mark.parametrize("locale", LOCALES)
def test_the_history_lists_both_kinds_and_says_so_where_there_is_none(locale):
    past = [a_rollout(Stage.DONE), a_rollout(Stage.DONE, Kind.ROLLBACK, id=11, to_revision=OLD)]
    seen = read(valid(history_card(voice(locale), "bondpoint-api", past)))
    assert "bondpoint-api:2026-11-23" in seen
    assert OLD in seen
    assert "bondpoint-api" in read(valid(history_card(voice(locale), "bondpoint-api", [])))


def test_a_rollback_to_the_revision_before_names_it_in_the_history_once_it_is_known():
    seen = read(valid(history_card(voice("en"), "bondpoint-api", [a_rollout(Stage.DONE, Kind.ROLLBACK)])))
    assert OLD in seen


@pytest.mark.parametrize("locale", LOCALES)
def test_a_dry_run_shows_the_plan_says_that_nothing_changed_and_has_no_buttons(locale):
    imagined = a_rollout(Stage.PLANNING, id=None, plan=a_plan(risks=(Risk.LIMITS_LOWERED,)))
    shown = valid(plan_card(voice(locale), imagined))
    seen = read(shown)
    assert buttons(shown) == []
    assert OLD in seen
    assert NEW not in seen, "a name that will never be is not shown"
    assert voice(locale)("rollout.nothing_changed") in seen
    assert voice(locale)("risk.limits_lowered") in seen


CHOICES = [
    DeployChoice("bondpoint-api", (f"{REPOSITORY}:v2", f"{REPOSITORY}:v1"), revision=OLD, percent=100),
    DeployChoice("bondpoint-sync"),
]


@pytest.mark.parametrize("locale", LOCALES)
def test_the_form_is_one_that_slack_takes_and_says_what_serves_now(locale):
    form = deploy_form(voice(locale), CHOICES)
    check_modal(form)
    assert judge_view(form) == []
    assert form["callback_id"] == actions.DEPLOY_FORM
    said = " ".join(one["text"] for one in texts(form))
    assert OLD in said
    assert "bondpoint-api:v1" in said


CAME = datetime(2026, 11, 22, 15, 4, tzinfo=UTC)


def test_the_menu_of_tags_fits_and_names_the_service_of_each():
    menu = tag_menu(
        {"api": [(f"{REPOSITORY}:v2", "v2", CAME), (f"{REPOSITORY}:v1", "v1", None)]}, "Asia/Tokyo"
    )
    (group,) = menu["option_groups"]
    assert [one["text"]["text"] for one in group["options"]] == ["v2 · 2026-11-23 00:04", "v1"]
    assert picked(group["options"][0]["value"]) == ("api", f"{REPOSITORY}:v2")
    assert tag_menu({"api": []}, "UTC") == {"options": []}


def test_a_menu_of_very_many_tags_is_cut_to_what_slack_takes():
    tags = [(f"{REPOSITORY}:{n:0100}", f"{n:0100}", CAME) for n in range(300)]
    assert tag_menu({"x" * 60: tags}, "UTC") == {"options": []}, "too long for a menu: written out instead"
    menu = tag_menu(
        {f"s{n}": [(f"h.pkg.dev/{n}/{t}", "t" * 128, CAME) for t in range(300)] for n in range(7)}, "UTC"
    )
    options = [one for group in menu["option_groups"] for one in group["options"]]
    assert len(menu["option_groups"]) == 7 and len(options) == 98
    assert all(len(one["text"]["text"]) <= 75 and len(one["value"]) <= 150 for one in options)


@pytest.mark.parametrize("locale", LOCALES)
def test_the_form_of_very_many_services_with_long_names_still_fits(locale):
    choices = [
        DeployChoice(f"s{n}-" + "x" * 58, ("y" * 512,) * 10, revision="r" * 63, percent=100)
        for n in range(150)
    ]
    form = deploy_form(voice(locale), choices)
    check_modal(form)
    assert judge_view(form) == []


# Text from outside.


def hostile() -> list[Rollout]:
    """Everything that comes from people, policy, Google and the service, at its worst."""
    by = By(id="U666", name=EVIL)
    why = Text(key="rollout.update_failed", params={"why": EVIL * 60})
    named = tuple(
        Change(field=field, name=EVIL * 5, before=EVIL * 9, after=EVIL * 9) for field in Field for _ in "12"
    )
    plan = a_plan(
        revision=EVIL, baseline=EVIL * 3, changes=named, risks=tuple(Risk), warnings=tuple(Warn), tag=EVIL
    )
    more: dict[str, Any] = {
        "image": EVIL,
        "service": EVIL,
        "requested_by": by,
        "emergency": EVIL * 60,
        "problem": why,
        "ended_by": by,
        "paused_by": by,
        "word": by,
        "plan": plan,
        "feasibility": feasible(1.0, 10, minutes(5), 250),
        "approvals": (Approval(person=EVIL, by=by, fingerprint="x", at=AT),) * 8,
        "held_by": f"freeze:{EVIL}",
        "checks": ((EVIL * 20, False, EVIL * 60),) * 40,
        "to_revision": EVIL,
    }
    made = [a_rollout(stage, kind, **more) for stage in Stage for kind in Kind]
    return made + [one.model_copy(update={"plan": None, "paused_by": None}) for one in made]


def is_harmless(shown: Rendered) -> bool:
    """No text opens a tag but our own dates, none is escaped twice, and none breaks out of its code."""
    for one in [{"type": "mrkdwn", "text": shown.text}, *texts(shown.blocks)]:
        text = one["text"]
        if one["type"] == "plain_text":
            assert "&lt;" not in text, text
            assert "&amp;" not in text, text
            continue
        bare = re.sub(r"<!date\^\d+\^[^|<>]+\|[^|<>]+>", "", text)
        assert "<" not in bare, text
        assert ">" not in bare, text
        assert re.search(r"&(?!amp;|lt;|gt;)", bare) is None, text
        assert "&lt;" not in html.unescape(bare), text
        assert "&amp;" not in html.unescape(bare), text
        for row in bare.splitlines():
            assert row.count("`") % 2 == 0, row
    return True


@pytest.mark.parametrize("locale", LOCALES)
def test_hostile_texts_are_escaped_once_everywhere_and_fit(locale):
    lock = Lock(
        service=EVIL,
        reason=Text(key="rollout.locked_because", params={"reason": EVIL * 60}),
        by=KENJI,
        since=AT,
    )
    incident = Incident(
        id=3,
        title=EVIL * 60,
        severity=Severity.P0,
        status=IncidentStatus.OPEN,
        opened_at=AT,
        opened_by=By(id="U666", name=EVIL),
    )
    for rollout in hostile():
        assert is_harmless(card(rollout, locale, lock=lock, incident=incident, behind=rollout, ahead=9))
        assert is_harmless(valid(plan_card(voice(locale), rollout)))
    assert is_harmless(valid(rollouts_card(voice(locale), hostile(), [lock] * 9, {EVIL: EVIL})))
    assert is_harmless(valid(history_card(voice(locale), EVIL, hostile()[:10])))
    form = deploy_form(voice(locale), [DeployChoice("api", (EVIL * 9,), revision=EVIL, percent=100)])
    check_modal(form)
    assert is_harmless(Rendered(text="a form", blocks=form["blocks"]))


def test_hostile_text_is_still_readable_after_all_that():
    seen = read(card(a_rollout(Stage.FAILED, problem=Text(key="rollout.not_ready", params={"why": EVIL}))))
    assert "<!channel>" in seen


@pytest.mark.parametrize("locale", LOCALES)
def test_a_lone_backtick_in_a_name_does_not_end_its_code(locale):
    change = Change(field=Field.ENV, name="A`B", before=None, after="h")
    rollout = a_rollout(
        Stage.APPROVED,
        image="re`po",
        plan=a_plan(baseline="ba`se", changes=(change,)),
        checks=(("/a`b", True, "HTTP 200"),),
    )
    assert is_harmless(card(rollout, locale))
    assert is_harmless(valid(history_card(voice(locale), "bondpoint-api", [rollout])))


def test_13_6_no_number_of_harmless_changes_hides_a_dangerous_one() -> None:
    """Dozens of annotations and secrets beside a command and another service account, which differ late."""
    account = "app-of-bondpoint-with-a-very-long-name@bondpoint-production-tokyo-0"
    noise = [Change(field=Field.OTHER, name=f"annotations[a{n:02}.example.com/note]") for n in range(40)]
    noise += [Change(field=Field.SECRET, name=f"KEY_{n}", after=f"key-{n}@3") for n in range(40)]
    danger = [
        Change(field=Field.OTHER, name=f"{'x' * 58}: command", before="1", after="2"),
        Change(field=Field.SERVICE_ACCOUNT, before=f"{account}1.iam", after=f"{account}2.iam"),
    ]
    text = "\n".join(change_lines(voice("en"), a_plan(changes=(*noise, *danger))))
    assert ": command" in text
    assert "1.iam" in text
    assert "2.iam" in text
