"""The rollout machine on a pretend Cloud Run: whatever goes wrong, wherever it dies, traffic ends right."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import rolling
from domain import rollouts as rules
from domain.cloudrun import RevisionSeen, Row
from domain.effects import Text
from domain.errors import Refused
from domain.policy import Person
from domain.rollouts import Kind, Purpose, Rollout, Stage
from operations import rollouts as operation
from tests.domain.rolling_world import (
    KENJI,
    MINUTE,
    NEW,
    OLD,
    RULE,
    SECOND,
    START,
    TAG,
    Birth,
    Cloud,
    Fault,
    Point,
    Story,
    approved,
    bad,
    planned,
)

QUICK = settings(max_examples=400, deadline=None, database=None, derandomize=True)
COURSES = st.sampled_from([(10, 100), (20, 50, 100), (100,)])
HARMLESS = (Fault.NONE, Fault.LOST, Fault.UNHEARD, Fault.LATE, Fault.ABORTED)
"""After which the same update is simply made again. Four of them in a row are borne."""

KILLS = st.frozensets(st.integers(1, 100), max_size=8)
THEIRS = (Row(revision=OLD, percent=60), Row(revision="web-theirs", percent=40))
NONE = Fault.NONE
CREATING, FIRST, SECOND_STEP = (NONE,) * 0, (NONE,) * 1, (NONE,) * 2
"""Calls that go well before the one of that step."""


def holds(story: Story, *, without: tuple[str, ...] = ()) -> None:
    """It is over, traffic is where it says, and no step was made twice."""
    rollout, split = story.rollout, story.cloud.split
    wanted = {NEW: 100} if rollout.stage is Stage.DONE else {OLD: 100}
    assert rollout.stage.is_over, rollout.stage
    assert (split, rollout.percent) == (wanted, wanted.get(NEW, 0))
    assert rollout.intent is None and rollout.due_at is None and rollout.ended_at is not None
    assert story.repeated() == {}


def points(what: str, stage: Stage, cloud: Callable[[], Cloud] = Cloud) -> list[int]:
    """The numbers of these points in an undisturbed story."""
    trail = Story(cloud=cloud()).live().trail
    return [number for number, at in enumerate(trail, start=1) if at == (what, stage)]


def acts(change: Callable[..., Rollout], *by: Any, now: bool = True) -> Point:
    """A person does this; where it is refused nothing happens."""

    def act(story: Story) -> None:
        given = (*by, story.cloud.at) if now else by
        try:
            story.person(lambda rollout: change(rollout, *given))
        except Refused:
            return

    return act


ABORT, PAUSE, PROMOTE = acts(rules.abort, KENJI), acts(rules.pause, KENJI), acts(rules.promote, KENJI)
RESUME = acts(rules.resume, RULE, Person(name="kenji", slack=(KENJI.id,)))
WAIT = acts(rules.wait)


def both(*those: Point) -> Point:
    def act(story: Story) -> None:
        for one in those:
            one(story)

    return act


# Ends.


def test_a_healthy_revision_gets_everything_in_three_updates_and_is_verified_at_each() -> None:
    story = Story().live()
    holds(story)
    assert story.rollout.stage is Stage.DONE
    assert [one.ours for one in story.cloud.updates] == [
        (Purpose.CREATE, 0),
        (Purpose.FORWARD, 0),
        (Purpose.FORWARD, 1),
    ]
    assert [split for _, split in story.cloud.history][1:] == [{OLD: 100}, {OLD: 90, NEW: 10}, {NEW: 100}]
    assert story.rollout.verdict is not None and story.rollout.verdict.outcome == "promote"


def test_a_worse_revision_is_taken_back_locked_and_its_alert_ends_when_traffic_is_back() -> None:
    story = Story(cloud=bad()).live()
    holds(story)
    assert (story.rollout.stage, story.problem) == (Stage.ROLLED_BACK, "rollout.worse")
    assert [one.lock for one in story.decisions if one.lock is not None] == [Text(key="rollout.worse")]
    assert [one.alarm for one in story.decisions if one.alarm is not None] == [True, False]
    assert [served.get(NEW, 0) for _, served in story.cloud.history] == [0, 0, 10, 0]


def test_a_revision_that_sickens_only_with_all_requests_is_taken_back_too() -> None:
    def sicken(story: Story) -> None:
        story.cloud.errors[NEW] = 0.3

    story = Story(happens={points("saved", Stage.WATCHING)[0]: sicken}).live()
    holds(story)
    assert (story.rollout.stage, story.problem) == (Stage.ROLLED_BACK, "rollout.worse_later")


def test_what_nobody_saw_while_it_was_watched_is_not_called_well() -> None:
    def close_the_eyes(story: Story) -> None:
        story.cloud.blind = "denied"

    seen = Story().live()
    assert "rollout.note_done" in seen.notes
    story = Story(happens={points("saved", Stage.WATCHING)[0]: close_the_eyes}).live()
    holds(story)
    assert story.rollout.stage is Stage.DONE
    assert "rollout.note_done_blind" in story.notes and "rollout.note_done" not in story.notes


@QUICK
@given(st.lists(st.sampled_from(HARMLESS), max_size=6), KILLS, st.booleans(), COURSES)
def test_with_lost_answers_and_deaths_every_way_ends_and_traffic_is_where_the_machine_says(
    faults: list[Fault], kills: frozenset[int], sick: bool, steps: tuple[int, ...]
) -> None:
    cloud = bad(faults=list(faults)) if sick else Cloud(faults=list(faults))
    story = Story(cloud=cloud, kills=kills, steps=steps).live()
    holds(story)
    if sick:
        assert story.rollout.stage is not Stage.DONE
    elif len(faults) + len(kills) < rolling.ATTEMPTS:
        assert story.rollout.stage is Stage.DONE


@QUICK
@given(
    st.lists(st.sampled_from([one for one in Fault if one not in {Fault.LATE, Fault.HANGS}]), max_size=9),
    KILLS,
)
def test_with_refusals_and_failing_operations_every_way_ends_and_nothing_is_left_between(
    faults: list[Fault], kills: frozenset[int]
) -> None:
    holds(Story(cloud=Cloud(faults=list(faults)), kills=kills).live())


@pytest.mark.parametrize("cloud", [Cloud, bad], ids=["good", "bad"])
def test_killed_at_any_single_point_it_ends_as_if_nothing_had_been(cloud: Callable[[], Cloud]) -> None:
    calm = Story(cloud=cloud()).live()
    assert calm.points > 50
    for point in range(1, calm.points + 1):
        story = Story(cloud=cloud(), kills=frozenset({point})).live()
        holds(story)
        ended = (story.rollout.stage, [one.ours for one in story.cloud.updates])
        assert ended == (calm.rollout.stage, [one.ours for one in calm.cloud.updates]), point


@QUICK
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 40), st.integers(0, 20)), max_size=30),
    st.lists(st.sampled_from([Fault.NONE, Fault.LOST, Fault.UNHEARD, Fault.ABORTED]), max_size=3),
    st.booleans(),
)
def test_two_replicas_at_once_make_no_step_twice(
    runs: list[tuple[int, int, int]], faults: list[Fault], sick: bool
) -> None:
    order = [(which, seconds) for which, many, seconds in runs for _ in range(many)]
    story = Story(cloud=bad(faults=faults) if sick else Cloud(faults=faults)).live_together(order)
    holds(story)
    assert (story.rollout.stage is Stage.DONE) is not sick


# Somebody else.


def edits(rows: tuple[Row, ...] | None) -> Point:
    """Eve changes the split, or with ``None`` something else, in the console."""

    def edit(story: Story) -> None:
        story.cloud.revisions["web-theirs"] = RevisionSeen(name="web-theirs", ready=True)
        story.cloud.console(rows or story.cloud.rows)
        story.theirs = story.cloud.rows

    return edit


LATEST = (Row(revision=None, percent=100),)


@pytest.mark.parametrize("dies", [False, True], ids=["lives on", "dies there"])
@pytest.mark.parametrize("rows", [THEIRS, LATEST, None], ids=["split", "latest", "template"])
@pytest.mark.parametrize("cloud", [Cloud, bad], ids=["good", "bad"])
def test_a_change_by_somebody_else_at_any_point_stops_it_and_stays(
    cloud: Callable[[], Cloud], rows: tuple[Row, ...] | None, dies: bool
) -> None:
    calm = Story(cloud=cloud()).live()
    for point in range(1, calm.points + 1):
        kills = frozenset({point}) if dies else frozenset()
        story = Story(cloud=cloud(), kills=kills, happens={point: edits(rows)}).live()
        assert story.cloud.rows == story.theirs and story.cloud.modifier == "eve@example.com", point
        if point >= calm.points - 1 and story.rollout.stage is calm.rollout.stage:
            continue  # After the last look it is none of ours any more.
        assert story.rollout.stage in {Stage.INTERRUPTED, Stage.VOID}, (point, calm.trail[point - 1])
        problem = story.rollout.problem
        assert problem is not None and problem.params["who"] == "eve@example.com"
        assert story.rollout.percent == story.cloud.split.get(NEW, 0)


@QUICK
@given(st.lists(st.sampled_from(list(Fault)), max_size=6), KILLS, st.integers(1, 80), st.booleans())
def test_whatever_else_goes_wrong_the_rows_of_somebody_else_stay(
    faults: list[Fault], kills: frozenset[int], point: int, sick: bool
) -> None:
    cloud = bad(faults=faults) if sick else Cloud(faults=faults)
    story = Story(cloud=cloud, kills=kills, happens={point: edits(THEIRS)}).live(timedelta(hours=2))
    if story.points >= point:
        assert story.cloud.rows == THEIRS and story.rollout.stage.is_over
        assert sum(one.ours is None for one in story.cloud.updates) == 1
        assert story.cloud.updates[-1].ours is None


def test_interrupted_with_users_on_the_new_revision_its_alert_goes_on() -> None:
    (point, *_) = points("looked", Stage.ROLLING_BACK, bad)
    story = Story(cloud=bad(), happens={point: edits(None)}).live()
    assert (story.rollout.stage, story.rollout.percent) == (Stage.INTERRUPTED, 10)
    assert [one.alarm for one in story.decisions if one.alarm is not None] == [True]


# Drift between the plan and the beginning.


def _serves_another(cloud: Cloud) -> None:
    cloud.revisions["web-2"] = RevisionSeen(name="web-2", ready=True)
    cloud.serving = (Row(revision="web-2", percent=100),)


def _is_split(cloud: Cloud) -> None:
    cloud.serving = (Row(revision=OLD, percent=99), Row(revision="web-2", percent=1))


def _is_newer(cloud: Cloud) -> None:
    cloud.generation += 1


def _is_written(cloud: Cloud) -> None:
    cloud.writes += 1


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_serves_another, "baseline"),
        (_is_split, "baseline"),
        (_is_newer, "generation"),
        (_is_written, "etag"),
    ],
)
def test_what_drifted_since_the_plan_voids_it_and_nothing_is_called(
    change: Callable[[Cloud], None], what: str, kind: Kind
) -> None:
    cloud = Cloud()
    first = approved(cloud, kind=kind)
    change(cloud)
    cloud.modifier = "eve@example.com"
    story = Story(cloud=cloud, first=first).live()
    assert story.rollout.stage is Stage.VOID and story.rollout.problem is not None
    assert story.rollout.problem.params == {"what": what, "who": "eve@example.com"}
    assert cloud.updates == [] and not any(one.call for one in story.decisions)


def test_an_approver_who_is_none_any_more_voids_it() -> None:
    story = Story(is_approved=False).live()
    assert (story.rollout.stage, story.problem) == (Stage.VOID, "rollout.approver_gone")
    assert story.cloud.updates == []


def test_what_stands_in_the_way_is_waited_for_an_hour_and_no_longer() -> None:
    held = Story(held_by="freeze:friday").live(timedelta(minutes=59))
    assert (held.rollout.stage, held.rollout.held_by) == (Stage.APPROVED, "freeze:friday")
    over = held.live()
    assert over.rollout.stage is Stage.EXPIRED and over.cloud.updates == []
    free = Story(held_by="freeze:friday").live(timedelta(minutes=59))
    free.held_by = None
    free.live()
    assert free.rollout.stage is Stage.DONE and free.rollout.held_by is None


# What goes wrong, each with its end and its reason.


@pytest.mark.parametrize(
    ("birth", "problem", "params"),
    [
        (Birth.CRASHES, "rollout.not_ready", {"why": "the container exits"}),
        pytest.param(
            Birth.UNPULLED,
            "rollout.not_ready",
            {"why": "the image is not found"},
        ),
        (Birth.SLEEPS, "rollout.never_ready", {}),
        (Birth.GONE, "rollout.never_ready", {}),
        (Birth.OTHER, "rollout.other_image", {"got": "sha256:" + "b" * 12, "wanted": "sha256:" + "a" * 12}),
    ],
)
def test_a_revision_that_is_not_what_was_approved_gets_no_request(
    birth: Birth, problem: str, params: dict[str, str]
) -> None:
    story = Story(cloud=Cloud(birth=birth)).live()
    holds(story)
    assert story.rollout.stage is Stage.FAILED and story.rollout.problem is not None
    assert story.rollout.problem.params == params
    assert story.rollout.problem.key in {problem, *({"rollout.update_failed"} if "why" in params else ())}
    assert all(NEW not in served for _, served in story.cloud.history)
    assert not any(one.alarm or one.lock for one in story.decisions)


def test_a_failing_check_is_repeated_for_a_moment_and_then_ends_it_before_any_traffic() -> None:
    wrong = (("/health", True, "HTTP 200"), ("/api/v1/health", False, "HTTP 500"))
    story = Story(cloud=Cloud(checks=wrong)).live()
    holds(story)
    assert story.rollout.stage is Stage.FAILED
    assert story.rollout.problem == Text(
        key="rollout.check_failed", params={"path": "/api/v1/health", "said": "HTTP 500"}
    )
    looks = [one.rollout for one in story.decisions if one.rollout.stage is Stage.SMOKE]
    assert looks[-1].since + rolling.CHECKS_FOR > story.rollout.ended_at - MINUTE  # type: ignore[operator]
    assert len(looks) > 10

    def heal(story: Story) -> None:
        story.cloud.checks = (("/health", True, "HTTP 200"),)

    (smoke, *_) = points("looked", Stage.SMOKE)
    healed = Story(cloud=Cloud(checks=wrong), happens={smoke + 5: heal}).live()
    assert healed.rollout.stage is Stage.DONE


FAULTS: dict[tuple[Fault, tuple[Fault, ...]], tuple[Stage, str | None]] = {
    (Fault.LOST, CREATING): (Stage.DONE, None),
    (Fault.LOST, FIRST): (Stage.DONE, None),
    (Fault.UNHEARD, CREATING): (Stage.DONE, None),
    (Fault.UNHEARD, SECOND_STEP): (Stage.DONE, None),
    (Fault.LATE, CREATING): (Stage.DONE, None),
    (Fault.LATE, FIRST): (Stage.DONE, None),
    (Fault.LATE, SECOND_STEP): (Stage.DONE, None),
    (Fault.ABORTED, CREATING): (Stage.DONE, None),
    (Fault.ABORTED, SECOND_STEP): (Stage.DONE, None),
    (Fault.DENIED, CREATING): (Stage.FAILED, "needs run.services.update"),
    (Fault.DENIED, FIRST): (Stage.FAILED, "needs run.services.update"),
    (Fault.DENIED, SECOND_STEP): (Stage.ROLLED_BACK, "needs run.services.update"),
    (Fault.INVALID, CREATING): (Stage.FAILED, "that cannot be"),
    (Fault.FAILS, FIRST): (Stage.FAILED, "the update failed"),
    (Fault.FAILS, SECOND_STEP): (Stage.ROLLED_BACK, "the update failed"),
    (Fault.HANGS, CREATING): (Stage.FAILED, "not done after 15 min"),
    (Fault.HANGS, FIRST): (Stage.FAILED, "not done after 5 min"),
    (Fault.HANGS, SECOND_STEP): (Stage.ROLLED_BACK, "not done after 5 min"),
}


@pytest.mark.parametrize(
    ("fault", "well"), FAULTS, ids=lambda one: one if isinstance(one, Fault) else len(one)
)
def test_each_call_that_goes_wrong_has_its_end_and_its_reason(fault: Fault, well: tuple[Fault, ...]) -> None:
    stage, why = FAULTS[fault, well]
    story = Story(cloud=Cloud(faults=[*well, fault])).live()
    holds(story)
    assert story.rollout.stage is stage
    problem = story.rollout.problem
    assert (problem.params["why"] if problem is not None else None) == why
    # Once users were on it, that it was taken back is an alert and locks the service; else it is neither.
    loud = stage is Stage.ROLLED_BACK
    assert any(one.lock for one in story.decisions) is loud
    assert [one.alarm for one in story.decisions if one.alarm is not None] == ([True, False] if loud else [])


def test_an_update_that_never_arrives_is_given_up_after_a_few_attempts() -> None:
    story = Story(cloud=Cloud(faults=[Fault.LOST] * 50)).live()
    holds(story)
    assert story.rollout.stage is Stage.FAILED
    # And one more on the way back, so that none of them can be taken later.
    assert sum(one.call for one in story.decisions) == rolling.ATTEMPTS + 1


def test_a_creation_whose_operation_failed_is_not_taken_for_done() -> None:
    story = Story(cloud=Cloud(faults=[Fault.FAILS])).live()
    assert story.rollout.stage is Stage.FAILED


def test_a_service_that_is_gone_at_any_point_ends_it() -> None:
    def vanish(story: Story) -> None:
        story.cloud.gone = True

    calm = Story().live()
    for point in range(1, calm.points - 1):
        story = Story(happens={point: vanish}).live()
        assert (story.rollout.stage, story.problem) == (Stage.FAILED, "rollout.service_gone"), point


def _delete_new(story: Story) -> None:
    """In its tag it is no more than a name."""
    del story.cloud.revisions[NEW]


def test_a_revision_that_is_deleted_before_its_first_request_ends_it() -> None:
    (smoke, *_) = points("looked", Stage.SMOKE)
    story = Story(happens={smoke: _delete_new}).live()
    holds(story)
    assert story.rollout.stage is Stage.FAILED and story.rollout.problem is not None
    assert story.rollout.problem.params["why"] == f"Revision '{NEW}' is not found"


# Going back when Google does not let us.


def stuck(*faults: Fault) -> Story:
    """A bad canary whose way back meets these."""
    return Story(cloud=bad(faults=[*SECOND_STEP, *faults])).live(timedelta(hours=2))


def test_going_back_is_tried_until_it_succeeds() -> None:
    story = stuck(*[Fault.DENIED] * 20, *[Fault.FAILS] * 20, *[Fault.LOST] * 20)
    holds(story)
    assert story.rollout.stage is Stage.ROLLED_BACK
    assert [one.alarm for one in story.decisions if one.alarm is not None][-1] is False


def test_a_quiet_way_back_that_is_refused_becomes_an_alert_and_is_told_once() -> None:
    story = Story(cloud=Cloud(faults=[NONE, Fault.FAILS, *[Fault.DENIED] * 9])).live()
    holds(story)
    assert story.notes.count("rollout.note_cannot_go_back") == 1
    alarms = [one.alarm for one in story.decisions if one.alarm is not None]
    assert alarms[0] is True and alarms[-1] is False


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(
            (Fault.DENIED,) * 500,
            id="refused",
        ),
        pytest.param(
            (Fault.LOST,) * 500,
            id="lost",
        ),
        pytest.param(
            (Fault.HANGS,),
            id="hangs",
        ),
    ],
)
def test_that_a_bad_revision_cannot_be_taken_back_is_told(faults: tuple[Fault, ...]) -> None:
    assert "rollout.note_cannot_go_back" in stuck(*faults).notes


def stale(*faults: Fault) -> Story:
    """The service wants 90/10 since an update failed long ago; what serves is one revision."""
    cloud = Cloud(faults=list(faults))
    cloud.revisions["web-2"] = RevisionSeen(name="web-2", ready=True)
    cloud.rows = (Row(revision=OLD, percent=90), Row(revision="web-2", percent=10))
    return Story(cloud=cloud, first=approved(cloud)).live()


def test_a_stale_split_is_replaced_by_the_one_that_is_true() -> None:
    story = stale()
    holds(story)
    assert story.rollout.stage is Stage.DONE


def test_a_creation_that_was_refused_on_a_stale_split_ends() -> None:
    story = stale(Fault.INVALID)
    assert story.rollout.stage is Stage.FAILED and story.cloud.split == {OLD: 100}


# No data.


def test_a_blind_monitoring_never_promotes_asks_a_person_and_goes_back_when_nobody_answers() -> None:
    story = Story(cloud=Cloud(blind="denied")).live()
    holds(story)
    assert (story.rollout.stage, story.problem) == (Stage.ROLLED_BACK, "rollout.nobody_answered")
    assert story.notes.count("rollout.note_asking") == 1
    asked = next(one.rollout for one in story.decisions if one.rollout.stage is Stage.ASKING)
    assert asked.problem == Text(key="rollout.blind")
    assert max(served.get(NEW, 0) for _, served in story.cloud.history) == 10
    over = story.rollout.ended_at
    assert over is not None and over - asked.since < RULE.patience + MINUTE


@pytest.mark.parametrize("rate", [0, 30, 500], ids="{}/min".format)
def test_too_few_requests_extend_once_then_ask(rate: int) -> None:
    story = Story(cloud=Cloud(rate=rate)).live()
    holds(story)
    assert story.rollout.stage is Stage.ROLLED_BACK
    assert story.notes.count("rollout.note_extended") == 1 and story.notes.count("rollout.note_asking") == 1
    asked = next(one.rollout for one in story.decisions if one.rollout.stage is Stage.ASKING)
    assert asked.problem == Text(key="rollout.inconclusive")


def test_without_any_window_it_never_gets_past_its_first_step() -> None:
    rollout, cloud = approved(Cloud()), Cloud()
    baking = rollout.model_copy(
        update={"stage": Stage.BAKING, "percent": 10, "generation": 4, "bake_until": START, "due_at": START}
    )
    stages = set()
    for minutes in range(40):
        sight = rolling.Sight(service=cloud.service())
        decision = rolling.advance(baking, sight, RULE, START + minutes * MINUTE)
        baking = decision.rollout
        stages.add(baking.stage)
        if baking.stage is Stage.ROLLING_BACK:
            break
        assert not decision.call
    assert stages == {Stage.BAKING, Stage.ASKING, Stage.ROLLING_BACK}


# People.


def test_paused_at_any_point_it_gets_no_further_than_the_step_on_its_way_and_resumed_it_ends() -> None:
    for point in range(1, points("saved", Stage.DONE)[0]):
        story = Story(happens={point: PAUSE})
        story.live(timedelta(minutes=25))
        if story.rollout.paused_by is None:  # Not begun, or over.
            continue
        at = next(one.rollout for one in reversed(story.decisions) if one.rollout.paused_by is None)
        on_its_way = at.aim if at.intent is not None and at.intent.purpose is Purpose.FORWARD else at.percent
        assert story.cloud.split.get(NEW, 0) <= on_its_way, (point, at.stage)
        stands = {Stage.DONE} if on_its_way == 100 else {Stage.SMOKE, Stage.BAKING}
        assert {story.rollout.stage} <= stands, point
        RESUME(story)
        holds(story.live())
        assert story.cloud.split == {NEW: 100}


def test_paused_it_is_taken_back_all_the_same() -> None:
    for point in points("looked", Stage.BAKING, bad):
        story = Story(cloud=bad(), happens={point: PAUSE}).live()
        holds(story)
        assert (story.rollout.stage, story.problem) == (Stage.ROLLED_BACK, "rollout.worse")
    (smoke, *_) = points("looked", Stage.SMOKE)
    story = Story(cloud=Cloud(checks=(("/health", False, "HTTP 500"),)), happens={smoke: PAUSE}).live()
    assert (story.rollout.stage, story.problem) == (Stage.FAILED, "rollout.check_failed")


def test_paused_while_a_person_is_asked_patience_still_ends() -> None:
    story = Story(cloud=Cloud(blind="denied")).live(timedelta(minutes=18))
    assert story.rollout.stage is Stage.ASKING
    PAUSE(story)
    holds(story.live())
    assert (story.rollout.stage, story.problem) == (Stage.ROLLED_BACK, "rollout.nobody_answered")


def test_paused_before_a_step_was_sent_it_is_not_sent_later() -> None:
    (saved, *_) = points("saved", Stage.SHIFTING)
    story = Story(kills=frozenset({saved}), happens={saved: PAUSE}).live(timedelta(hours=1))
    assert story.rollout.paused_by is not None and story.cloud.split == {OLD: 100}


@pytest.mark.parametrize("then", [PAUSE, WAIT], ids=["pause", "wait"])
def test_who_says_stop_after_somebody_promoted_is_heard(then: Point) -> None:
    story = Story(cloud=Cloud(blind="denied")).live(timedelta(minutes=18))
    both(PROMOTE, then)(story)
    story.live(timedelta(minutes=5))
    assert story.cloud.split == {OLD: 90, NEW: 10}


async def test_while_paused_after_its_bake_requests_are_still_looked_at() -> None:
    asked: list[tuple[int, int]] = []

    async def read(queries: tuple[Any, ...], first: int, last: int) -> dict[Any, Any]:
        asked.append((first, last))
        blind = SimpleNamespace(problem="nothing to see")
        return dict.fromkeys(queries, blind)

    later = START + timedelta(hours=1)
    baking = {
        "stage": Stage.BAKING,
        "shifted_at": START,
        "bake_until": START + 5 * MINUTE,
        "paused_by": KENJI,
    }
    world: Any = SimpleNamespace(clock=SimpleNamespace(now=lambda: later), metrics=SimpleNamespace(read=read))
    await operation._window(world, approved(Cloud()).model_copy(update=baking))
    assert asked[0][1] == int(later.timestamp())


def test_a_persons_word_promotes_what_cannot_be_judged_and_lifts_a_pause() -> None:
    story = Story(cloud=Cloud(blind="denied")).live(timedelta(minutes=18))
    both(PAUSE, PROMOTE)(story)
    holds(story.live())
    assert story.rollout.stage is Stage.DONE
    assert story.cloud.split == {NEW: 100}


def test_a_persons_word_at_any_look_goes_on_at_once_but_for_one_step_alone() -> None:
    for point in points("looked", Stage.BAKING):
        story = Story(steps=(10, 50, 100), happens={point: PROMOTE}, cloud=Cloud(rate=0)).live()
        holds(story)
        assert story.rollout.stage is Stage.ROLLED_BACK
        assert max(served.get(NEW, 0) for _, served in story.cloud.history) == 50


def test_whoever_waits_is_asked_again() -> None:
    story = Story(cloud=Cloud(rate=0)).live(timedelta(minutes=15))
    assert story.notes.count("rollout.note_asking") == 1
    WAIT(story)
    assert story.rollout.stage is Stage.BAKING
    again = story.live(timedelta(minutes=8))
    assert again.notes.count("rollout.note_asking") == 2
    holds(again.live())


@pytest.mark.parametrize("dies", [False, True], ids=["lives on", "dies there"])
@pytest.mark.parametrize("cloud", [Cloud, bad], ids=["good", "bad"])
def test_aborted_at_any_point_the_service_is_put_back(cloud: Callable[[], Cloud], dies: bool) -> None:
    calm = Story(cloud=cloud()).live()
    for point in range(1, calm.points):
        if calm.trail[point - 1][1] in {Stage.ROLLING_BACK, Stage.DONE, Stage.ROLLED_BACK}:
            continue
        kills = frozenset({point}) if dies else frozenset()
        story = Story(cloud=cloud(), kills=kills, happens={point: ABORT}).live()
        holds(story)
        assert story.rollout.stage in {Stage.ABORTED, Stage.ROLLED_BACK}, point
        assert story.rollout.ended_by == KENJI and not any(one.lock for one in story.decisions)


@QUICK
@given(
    st.lists(st.sampled_from([one for one in Fault if one not in {Fault.LATE, Fault.HANGS}]), max_size=6),
    KILLS,
    st.dictionaries(st.integers(1, 80), st.sampled_from([ABORT, PAUSE, PROMOTE, RESUME, WAIT]), max_size=5),
    st.booleans(),
)
def test_whatever_people_press_and_whatever_fails_it_ends_where_it_says(
    faults: list[Fault], kills: frozenset[int], presses: dict[int, Point], sick: bool
) -> None:
    cloud = bad(faults=faults) if sick else Cloud(faults=faults)
    story = Story(cloud=cloud, kills=kills, happens=dict(presses)).live(timedelta(hours=2))
    if story.rollout.paused_by is not None and not story.rollout.stage.is_over:
        RESUME(story)
        story.live()
    holds(story)


def test_aborted_while_its_update_is_refused_the_reason_is_still_the_person() -> None:
    (called, *_) = points("called", Stage.SHIFTING)
    story = Story(cloud=Cloud(faults=[*FIRST, Fault.DENIED]), happens={called: ABORT}).live()
    assert (story.rollout.stage, story.problem) == (Stage.ABORTED, "rollout.by_person")


# A call that is still on its way when its rollout ends, or turns back.

IN_FLIGHT = (
    "_not_taken and _update_failed conclude from the old split that nothing was done, while a call with a"
    " valid etag may still be on its way: it is accepted after the end, and nobody looks again"
)


def test_aborted_while_a_step_is_on_its_way_the_service_is_put_back_all_the_same() -> None:
    (called, *_) = points("called", Stage.SHIFTING)
    holds(Story(cloud=Cloud(faults=[*FIRST, Fault.LATE]), happens={called: ABORT}).live())


def test_a_step_given_up_as_lost_that_arrives_later_does_not_move_traffic() -> None:
    late = Cloud(faults=[*FIRST, *[Fault.LATE] * 5], late_by=90 * SECOND)
    holds(Story(cloud=late).live())


def about_to_send(step: int) -> tuple[Story, Iterator[str]]:
    """A replica that has saved this step's update, and stands still before it sends it."""
    story = Story()
    while True:
        assert story.rollout.due_at is not None
        story.cloud.pass_to(max(story.rollout.due_at, story.cloud.at + SECOND))
        turn = story.turn()
        for what in turn:
            if what == "saved" and story.rollout.stage is Stage.SHIFTING and story.rollout.step == step:
                return story, turn


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(0),
        pytest.param(
            1,
        ),
    ],
)
def test_aborted_between_two_replicas_the_service_is_put_back(step: int) -> None:
    story, slow = about_to_send(step)
    ABORT(story)
    story.cloud.pass_to(story.cloud.at + SECOND)
    quick = story.turn()
    assert (next(quick), next(quick)) == ("looked", "saved")
    for turn in (slow, quick):
        assert all(turn)
    holds(story.live())


def test_a_replica_that_sends_its_step_long_after_the_other_one_has_gone_on_changes_nothing() -> None:
    for step in (0, 1):
        story, slow = about_to_send(step)
        story.live()
        assert all(slow)
        holds(story.live())
        assert story.rollout.stage is Stage.DONE


# Back to a revision that there is.


def rollback(cloud: Cloud) -> Rollout:
    """To ``NEW``, which is then an earlier revision."""
    cloud.revisions[NEW] = RevisionSeen(name=NEW, ready=True)
    plan = planned(cloud, tag=None)
    return approved(cloud, steps=(100,), kind=Kind.ROLLBACK, plan=plan, to_revision=NEW, before=None)


@pytest.mark.parametrize("cloud", [Cloud, bad], ids=["good", "bad"])
def test_a_rollback_moves_everything_at_once_and_is_watched_without_being_taken_back(
    cloud: Callable[[], Cloud],
) -> None:
    made = cloud()
    calm = Story(cloud=made, first=rollback(made)).live()
    holds(calm)
    assert calm.rollout.stage is Stage.DONE
    assert [one.ours for one in made.updates] == [(Purpose.FORWARD, 0)]
    assert made.updates[0].rows == (Row(revision=NEW, percent=100),)
    assert Stage.WATCHING in {stage for _, stage in calm.trail}
    for point in range(1, calm.points + 1):
        again = cloud()
        story = Story(cloud=again, first=rollback(again), kills=frozenset({point})).live()
        holds(story)
        assert story.rollout.stage is Stage.DONE and len(again.updates) == 1, point


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ((Fault.DENIED,), "needs run.services.update"),
        ((Fault.FAILS,), "the update failed"),
        ((Fault.LOST,) * 9, "unavailable: lost"),
    ],
)
def test_a_rollback_that_fails_leaves_what_serves(faults: tuple[Fault, ...], why: str) -> None:
    cloud = Cloud(faults=list(faults))
    story = Story(cloud=cloud, first=rollback(cloud)).live()
    holds(story)
    assert story.rollout.stage is Stage.FAILED and story.rollout.problem is not None
    assert story.rollout.problem.params["why"] == why


def test_a_rollback_to_a_revision_that_is_deleted_meanwhile_fails() -> None:
    cloud = Cloud()
    story = Story(cloud=cloud, first=rollback(cloud), happens={1: _delete_new}).live()
    holds(story)
    assert story.rollout.stage is Stage.FAILED and story.rollout.problem is not None
    assert "is not found" in story.rollout.problem.params["why"]


def test_a_rollback_can_be_aborted_and_interrupted_like_any_other() -> None:
    for point in (1, 2, 3, 4, 6):
        cloud = Cloud()
        story = Story(cloud=cloud, first=rollback(cloud), happens={point: ABORT}).live()
        holds(story)
        assert story.rollout.stage in {Stage.ABORTED, Stage.ROLLED_BACK}
        cloud = Cloud()
        story = Story(cloud=cloud, first=rollback(cloud), happens={point: edits(THEIRS)}).live()
        assert (story.rollout.stage, story.cloud.rows) == (Stage.INTERRUPTED, THEIRS)


# Rows of others.


def test_a_service_on_latest_is_pinned_first_and_tags_of_others_stay_through_it_all() -> None:
    for made in (Cloud, bad):
        cloud = made(
            rows=(
                Row(revision=None, percent=100),
                Row(revision=None, tag="blue"),
                Row(revision="web-2", tag="qa"),
                Row(revision="web-t3-abcdef0", tag="t003"),
            )
        )
        for name in ("web-2", "web-t3-abcdef0"):
            cloud.revisions[name] = RevisionSeen(name=name, ready=True)
        story = Story(cloud=cloud).live()
        holds(story)
        assert cloud.updates[0].rows[0] == Row(revision=OLD, percent=100)
        for update in cloud.updates:
            tags = {(row.tag, row.revision) for row in update.rows if row.tag}
            ours = set() if update.ours == (Purpose.BACK, 0) else {(TAG, NEW)}
            assert tags - {(TAG, NEW)} == {("blue", OLD), ("qa", "web-2")} and tags >= ours
            assert all(row.percent == 0 for row in update.rows if row.tag)
            assert all(row.revision is not None for row in update.rows)
