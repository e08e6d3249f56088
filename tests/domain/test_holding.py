"""Which alerts a deploy explains: by its stage, the alert's level, and what was held before."""

from datetime import timedelta

import pytest

from domain.alerts import AlertGroup, AlertStatus
from domain.cloudrun import Target
from domain.deploys import DeployRule
from domain.effects import TOBAN
from domain.holding import SHOWN_AFTER, hold_on, is_held
from domain.policy import Level
from domain.rollouts import Course, Kind, Rollout, Stage, rollout_group
from sandbox.clock import START

MINUTE = timedelta(minutes=1)
RULE = DeployRule()


def rollout(at: Stage, **changes: object) -> Rollout:
    values = {
        "id": 7,
        "kind": Kind.DEPLOY,
        "service": "api",
        "target": Target(project="p", region="r", service="api"),
        "image": "image",
        "requested_by": TOBAN,
        "requester": "mika",
        "requested_at": START,
        "course": Course(steps=(10, 50, 100), bake=5 * MINUTE, watch=15 * MINUTE),
        "stage": at,
        "since": START,
        "percent": 10,
        "shifted_at": START,
        "ended_at": START if at.is_over else None,
    }
    return Rollout.model_validate(values | changes)


def group(**changes: object) -> AlertGroup:
    values = {
        "id": 3,
        "key": "key",
        "source": "monitoring",
        "service": "api",
        "title": "Errors",
        "level": Level.CRITICAL,
        "opened_at": START,
        "changed_at": START,
    }
    return AlertGroup.model_validate(values | changes)


HOLDS = {Stage.SHIFTING, Stage.BAKING, Stage.ASKING, Stage.ROLLING_BACK, Stage.ROLLED_BACK}


@pytest.mark.parametrize("stage", list(Stage))
def test_only_a_canary_and_its_way_back_explain_an_alert(stage: Stage) -> None:
    hold = hold_on(group(), [rollout(stage)], RULE, START + MINUTE)
    assert (hold is not None) is (stage in HOLDS)
    if hold is not None:
        until = START + (SHOWN_AFTER if stage is Stage.ROLLED_BACK else 11 * MINUTE)
        assert (hold.by, hold.until) == (7, until), "14.5: not ten minutes for what is back already"


@pytest.mark.parametrize("level", list(Level))
def test_an_emergency_pages_in_any_case(level: Level) -> None:
    hold = hold_on(group(level=level), [rollout(Stage.BAKING)], RULE, START)
    assert (hold is not None) is (level in {Level.WARNING, Level.CRITICAL})


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 2, "percent": 50},
        {"percent": 0},
        {"stage": Stage.ROLLING_BACK, "shifted_at": None},
        {"stage": Stage.ROLLED_BACK, "ended_at": START - 6 * MINUTE},
    ],
    ids=["all of it is on its way", "none of it yet", "users never met it", "long back"],
)
def test_not_where_users_cannot_have_met_it_or_all_do(changes: dict[str, object]) -> None:
    assert hold_on(group(), [rollout(Stage.BAKING, **changes)], RULE, START) is None


def test_once_for_each_deploy_and_never_its_own_failure() -> None:
    live = rollout(Stage.BAKING)
    assert hold_on(group(held_by=7), [live], RULE, START) is None
    assert hold_on(group(held_by=6), [live], RULE, START) is not None
    assert hold_on(group(key=rollout_group("api")), [live], RULE, START) is None
    assert hold_on(group(), [live], DeployRule(hold=timedelta(0)), START) is None
    assert hold_on(group(), [], RULE, START) is None


def test_it_is_held_until_its_moment_or_an_answer() -> None:
    held = group(held_until=START + MINUTE, held_by=7)
    assert is_held(held, START)
    assert not is_held(held, START + MINUTE)
    assert not is_held(held.model_copy(update={"status": AlertStatus.ACKNOWLEDGED}), START)
    assert not is_held(group(), START)
