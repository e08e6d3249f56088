"""Approvals: two persons and not two accounts, by those who may, for exactly what was shown, in time."""

from datetime import timedelta
from typing import Any

import pytest

from domain import rollouts as rules
from domain.approvals import (
    Account,
    Approval,
    Standing,
    allow,
    approve,
    is_among,
    person_behind,
    standing,
    still_valid,
    valid,
)
from domain.deploys import DeployRule
from domain.effects import By
from domain.errors import Refused
from domain.plans import Risk
from domain.policy import Person
from domain.rollouts import Rollout, Stage
from tests.domain.rolling_world import MINUTE, SECOND, START, Cloud, approved, planned

MIKA = Person(name="mika", slack=("U1", "U1B"))
KENJI = Person(name="kenji", slack=("U2", "U2B"))
HANA = Person(name="hana", slack=("U3",), roles=("lead",))
YUKI = Person(name="yuki", slack=("U4",), roles=("viewer",))
PEOPLE = {one.name: one for one in (MIKA, KENJI, HANA, YUKI)}
RULE = DeployRule(approvers=("mika", "kenji", "role:lead"))
PLAN = planned(Cloud())
SHOWN = PLAN.fingerprint


def by(person: Person, account: int = 0) -> By:
    return By(id=person.slack[account], name=person.name)


def requested(needed: int = 1, **changes: Any) -> Rollout:
    """Asked for by Mika, for a quarter of an hour."""
    waiting = {"stage": Stage.REQUESTED, "needed": needed, "expires_at": START + RULE.expires}
    return approved(Cloud()).model_copy(update=waiting | changes)


def refusal(rollout: Rollout, person: Person, **changes: Any) -> Refused:
    given: dict[str, Any] = {"rule": RULE, "by": by(person), "shown": SHOWN, "at": START + MINUTE}
    given |= {"people": PEOPLE} | changes
    with pytest.raises(Refused) as caught:
        rules.approve(rollout, person=person, **given)
    return caught.value


def ok(rollout: Rollout, person: Person, account: int = 0, rule: DeployRule = RULE) -> Rollout:
    return rules.approve(rollout, rule, person, by(person, account), SHOWN, START + MINUTE, PEOPLE)


# Accounts.

GOOD = Account(id="U2", person="kenji")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"known": False}, Standing.UNKNOWN),
        ({"ours": False}, Standing.FOREIGN),
        ({"bot": True}, Standing.BOT),
        ({"deleted": True}, Standing.DELETED),
        ({"guest": True}, Standing.GUEST),
        ({"known": False, "ours": False, "bot": True, "deleted": True, "guest": True}, Standing.FOREIGN),
        ({"deleted": True, "guest": True}, Standing.DELETED),
    ],
)
def test_who_cannot_be_trusted_may_change_nothing_and_is_told_why(
    changes: dict[str, bool], why: Standing | None
) -> None:
    account = GOOD.model_copy(update=changes)
    assert standing(account) is why
    if why is None:
        allow(account)
        assert person_behind(PEOPLE, account) == KENJI
        return
    for act in (lambda: allow(account), lambda: person_behind(PEOPLE, account)):
        with pytest.raises(Refused) as caught:
            act()
        assert caught.value.key == f"refused.account_{why.value}"


@pytest.mark.parametrize("person", [None, "", "stranger", "Kenji"])
def test_an_account_that_the_policy_does_not_know_is_nobody(person: str | None) -> None:
    with pytest.raises(Refused) as caught:
        person_behind(PEOPLE, Account(id="U9", person=person))
    assert caught.value.key == "refused.account_nobody"


def test_every_account_of_a_person_is_that_person() -> None:
    assert person_behind(PEOPLE, Account(id="U2B", person="kenji")) == KENJI


@pytest.mark.parametrize(
    ("person", "named", "is_one"),
    [
        (HANA, ("hana",), True),
        (HANA, ("role:lead",), True),
        (HANA, ("lead",), False),
        (HANA, ("role:",), False),
        (KENJI, ("role:lead",), False),
        (Person(name="role:lead"), ("role:lead",), True),  # A name that the policy cannot tell from a role.
        (YUKI, (), False),
    ],
)
def test_names_and_roles_mean_persons(person: Person, named: tuple[str, ...], is_one: bool) -> None:
    assert is_among(person, named) is is_one


# One approval.


def test_one_approver_who_is_not_the_requester_is_enough() -> None:
    done = ok(requested(), KENJI)
    assert done.stage is Stage.APPROVED and done.due_at == START + MINUTE
    assert done.approvals == (Approval(person="kenji", by=by(KENJI), fingerprint=SHOWN, at=START + MINUTE),)
    assert ok(requested(), HANA).stage is Stage.APPROVED


@pytest.mark.parametrize("account", [0, 1], ids=["first account", "second account"])
def test_nobody_approves_their_own_with_any_account(account: int) -> None:
    assert refusal(requested(), MIKA, by=by(MIKA, account)).key == "refused.own_deploy"


def test_where_the_policy_allows_it_ones_own_counts() -> None:
    assert ok(requested(), MIKA, rule=RULE.model_copy(update={"self_approval": True})).stage is Stage.APPROVED


def test_14_5_who_is_no_approver_is_told_who_is() -> None:
    found = refusal(requested(), YUKI)
    assert (found.key, found.params) == (
        "refused.no_approver",
        {"approvers": ["mika", "kenji", "hana (lead)"]},
    )
    assert refusal(requested(), KENJI, rule=DeployRule()).params == {"approvers": ["—"]}


def test_the_requester_who_is_no_approver_is_none_by_self_approval_either() -> None:
    rule = DeployRule(approvers=("kenji",), self_approval=True)
    assert refusal(requested(), MIKA, rule=rule).key == "refused.no_approver"


@pytest.mark.parametrize("shown", ["", "000000000000", SHOWN[:11], SHOWN.upper() + "0"])
def test_what_was_shown_has_to_be_what_would_be_done(shown: str) -> None:
    assert refusal(requested(), KENJI, shown=shown).key == "refused.other_plan"


def test_a_card_of_an_earlier_plan_approves_nothing_of_the_new_one() -> None:
    newer = requested(plan=PLAN.model_copy(update={"etag": "newer"}))
    assert refusal(newer, KENJI).key == "refused.other_plan"


# Time and stage.


@pytest.mark.parametrize("late", [timedelta(0), SECOND, timedelta(days=3)])
def test_after_its_time_neither_yes_nor_no_counts(late: timedelta) -> None:
    at = START + RULE.expires + late
    assert refusal(requested(), KENJI, at=at).key == "refused.approval_expired"
    with pytest.raises(Refused) as caught:
        rules.reject(requested(), RULE, KENJI, by(KENJI), at, PEOPLE)
    assert caught.value.key == "refused.approval_expired"


def test_until_its_last_moment_it_counts() -> None:
    at = START + RULE.expires - timedelta(microseconds=1)
    assert rules.approve(requested(), RULE, KENJI, by(KENJI), SHOWN, at, PEOPLE).stage is Stage.APPROVED


@pytest.mark.parametrize("stage", [one for one in Stage if one is not Stage.REQUESTED])
def test_what_does_not_wait_for_an_approval_takes_none(stage: Stage) -> None:
    rollout = requested(stage=stage)
    found = refusal(rollout, KENJI, at=START + timedelta(days=1))
    assert (found.key, found.params) == ("refused.not_waiting", {"number": "D-7", "stage": stage.value})
    with pytest.raises(Refused) as caught:
        rules.reject(rollout, RULE, KENJI, by(KENJI), START, PEOPLE)
    assert caught.value.key == "refused.not_waiting"


# Two of them.


def test_two_are_two_persons() -> None:
    once = ok(requested(needed=2), KENJI)
    assert once.stage is Stage.REQUESTED and once.expires_at == START + RULE.expires
    found = refusal(once, KENJI, by=by(KENJI, 1))
    assert (found.key, found.params) == ("refused.approved_already", {"given": 1, "needed": 2})
    assert refusal(once, MIKA).key == "refused.own_deploy"
    twice = ok(once, HANA)
    assert twice.stage is Stage.APPROVED and [one.person for one in twice.approvals] == ["kenji", "hana"]


def test_a_second_click_after_enough_approvals_is_answered() -> None:
    assert refusal(ok(requested(), KENJI), KENJI).key == "refused.not_waiting"


def test_approvals_of_another_plan_do_not_count_towards_this_one() -> None:
    stale = Approval(person="hana", by=by(HANA), fingerprint="of another", at=START)
    waiting = requested(needed=2, approvals=(stale,))
    once = ok(waiting, KENJI)
    assert once.stage is Stage.REQUESTED and [one.person for one in once.approvals] == ["kenji"]
    # Who approved the other one may approve this one as well.
    assert ok(once, HANA).stage is Stage.APPROVED


def test_who_gave_one_already_is_refused_whatever_the_order_of_the_rest() -> None:
    given = (Approval(person="kenji", by=by(KENJI), fingerprint=SHOWN, at=START),)
    with pytest.raises(Refused) as caught:
        approve(given, 2, RULE, KENJI, by(KENJI), "mika", "U0MIKA", SHOWN, SHOWN, START, people=PEOPLE)
    assert caught.value.key == "refused.approved_already"
    assert valid(given, SHOWN) == given and valid(given, "other") == ()


# Authority at the beginning.


@pytest.mark.parametrize(
    ("rule", "people", "names"),
    [
        (RULE, PEOPLE, ["kenji", "hana"]),
        (DeployRule(approvers=("kenji",)), PEOPLE, ["kenji"]),
        (DeployRule(approvers=("role:lead",)), PEOPLE, ["hana"]),
        (RULE, {"kenji": KENJI}, ["kenji"]),
        (RULE, PEOPLE | {"hana": Person(name="hana")}, ["kenji"]),  # A lead no more.
        (DeployRule(), PEOPLE, []),
        (RULE, {}, []),
    ],
)
def test_an_approval_lives_as_long_as_its_givers_authority(
    rule: DeployRule, people: dict[str, Person], names: list[str]
) -> None:
    given = ok(ok(requested(needed=2), KENJI), HANA).approvals
    assert [one.person for one in still_valid(given, rule, people, "mika", "U0NOBODY", SHOWN)] == names
    assert still_valid(given, rule, people, "mika", "U0NOBODY", "another plan") == ()


def test_ones_own_approval_counts_no_more_once_the_policy_says_so() -> None:
    given = ok(requested(needed=1), KENJI).approvals
    own = RULE.model_copy(update={"self_approval": True})
    assert [one.person for one in still_valid(given, own, PEOPLE, "kenji", "U0NOBODY", SHOWN)] == ["kenji"]
    assert still_valid(given, RULE, PEOPLE, "kenji", "U0NOBODY", SHOWN) == ()


# No.


@pytest.mark.parametrize("person", [MIKA, KENJI, HANA])
def test_an_approver_and_the_requester_may_reject(person: Person) -> None:
    rejected = rules.reject(requested(), RULE, person, by(person), START, PEOPLE)
    assert (rejected.stage, rejected.ended_by, rejected.due_at) == (Stage.REJECTED, by(person), None)
    assert refusal(rejected, KENJI).key == "refused.not_waiting"


def test_anybody_else_may_not_reject() -> None:
    with pytest.raises(Refused) as caught:
        rules.reject(requested(), RULE, YUKI, by(YUKI), START, PEOPLE)
    assert caught.value.key == "refused.no_rejecter"
    assert caught.value.params == {"approvers": ["mika", "kenji", "hana (lead)"]}
    own = DeployRule(approvers=("kenji",))
    assert rules.reject(requested(), own, MIKA, by(MIKA), START, PEOPLE).stage is Stage.REJECTED


# How many are asked for.


@pytest.mark.parametrize(
    ("risky", "alone", "rule", "needed", "stage"),
    [
        (False, False, RULE, 1, Stage.REQUESTED),
        (True, False, RULE, 2, Stage.REQUESTED),
        (True, True, RULE, 0, Stage.APPROVED),
        (False, True, RULE, 0, Stage.APPROVED),
        (False, False, DeployRule(approvals=0), 0, Stage.APPROVED),
        (True, False, DeployRule(approvals=0), 2, Stage.REQUESTED),
    ],
)
def test_risk_asks_for_more_and_an_emergency_for_none(
    risky: bool, alone: bool, rule: DeployRule, needed: int, stage: Stage
) -> None:
    plan = PLAN.model_copy(update={"risks": (Risk.ENV_REMOVED,) if risky else ()})
    asked = rules.ask(requested(stage=Stage.PLANNING, expires_at=None), plan, rule, alone, START)
    assert (asked.needed, asked.stage) == (needed, stage)
    waits = stage is Stage.REQUESTED
    assert asked.expires_at == (START + rule.expires if waits else None)
    assert asked.due_at == (START + rule.expires if waits else START)


# What people may do to one on its way, by its stage.

RUNNING = {one for one in Stage if one.touches} - {Stage.ROLLING_BACK}


@pytest.mark.parametrize("stage", list(Stage))
def test_buttons_work_only_where_they_mean_something(stage: Stage) -> None:
    rollout = requested(stage=stage)
    running = stage in RUNNING

    def works(act: Any) -> bool:
        try:
            act()
        except Refused as refused:
            return not refused.key.startswith("refused.")
        return True

    paused = rollout.model_copy(update={"paused_by": by(HANA)})
    assert works(lambda: rules.pause(rollout, by(KENJI), START)) is running
    assert works(lambda: rules.pause(paused, by(KENJI), START)) is False
    assert works(lambda: rules.resume(paused, RULE, KENJI, START)) is running
    assert works(lambda: rules.resume(rollout, RULE, KENJI, START)) is False
    assert works(lambda: rules.promote(rollout, by(KENJI), START)) is (stage in {Stage.BAKING, Stage.ASKING})
    assert works(lambda: rules.wait(rollout, START)) is (stage is Stage.ASKING)
    stoppable = not stage.is_over and stage is not Stage.ROLLING_BACK
    assert works(lambda: rules.abort(rollout, by(KENJI), START)) is stoppable
    if stoppable:
        ends = Stage.ROLLING_BACK if running else Stage.ABORTED
        assert rules.abort(paused, by(KENJI), START).stage is ends
