"""Whoever tries whatever with an approval: no traffic moves, and everybody is told why."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from domain.deploys import Deploys, Emergency, Freeze
from domain.policy import Person, Policy
from sandbox.slack.faults import FOREVER, status
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from tests.flows.test_deploys import BAD, GOOD, REPOSITORY, asked, card, deploying, world_of
from tests.payloads import monitoring

Act = Callable[[Stage, Message], Awaitable[None]]
APPROVE = "Approve Deploy"


def policy(**changes: Any) -> Policy:
    """Kenji, Aya and Mika may approve; Mika is who asks."""
    made = deploying(**changes)
    rule = made.deploys.default.model_copy(update={"approvers": ("kenji", "aya", "mika")})
    return made.model_copy(update={"deploys": made.deploys.model_copy(update={"default": rule})})


def without(*names: str) -> Policy:
    made = policy()
    people = {name: person for name, person in made.people.items() if name not in names}
    return made.model_copy(update={"people": people})


def two_needed() -> Policy:
    return policy(approvals=2)


def with_deploys(**changes: Any) -> Policy:
    made = policy()
    return made.model_copy(update={"deploys": made.deploys.model_copy(update=changes)})


def two_accounts(name: str, other: str, **changes: Any) -> Policy:
    """One person of the policy has the accounts of two people of the workspace."""
    made = policy(**changes)
    people = {key: person for key, person in made.people.items() if key not in {name, other}}
    # The accounts' numbers are the workspace's own; the stage fills them in.
    people[name] = Person(name=name, slack=(f"@{name}", f"@{other}"))
    return made.model_copy(update={"people": people})


def deploying_by(*approvers: str, **changes: Any) -> Policy:
    made = policy(**changes)
    rule = made.deploys.default.model_copy(update={"approvers": approvers})
    return made.model_copy(update={"deploys": Deploys(default=rule)})


def frozen() -> Policy:
    window = Freeze(name="quarter-end", cron="0 0 * * *", lasting=timedelta(hours=24))
    return with_deploys(freezes=(window,))


def resolved(made: Policy, stage: Stage) -> Policy:
    """The same with the workspace's own ids in place of ``@name``."""
    people = {
        key: person.model_copy(
            update={"slack": tuple(stage.slack.user(one.removeprefix("@")).id for one in person.slack)}
        )
        for key, person in made.people.items()
    }
    return made.model_copy(update={"people": people})


@dataclass(frozen=True)
class Case:
    """What is tried, who is told something about it, and what that says."""

    name: str
    act: Act
    told: str
    says: str
    policy: Callable[[], Policy] = field(default=policy)


def pressed(who: str, label: str = APPROVE, **how: Any) -> Act:
    async def act(stage: Stage, message: Message) -> None:
        await stage.slack.press(who, message.channel, message.ts, label, **how)
        await stage.settle()

    return act


def submitted(who: str) -> Act:
    async def act(stage: Stage, message: Message) -> None:
        await stage.submit(who, {})

    return act


def typed(who: str, text: str) -> Act:
    async def act(stage: Stage, message: Message) -> None:
        await stage.type(who, "#general", text)

    return act


def then(*acts: Act) -> Act:
    async def act(stage: Stage, message: Message) -> None:
        for one in acts:
            await one(stage, message)

    return act


def later(**length: float) -> Act:
    async def act(stage: Stage, message: Message) -> None:
        await stage.advance(**length)

    return act


def guest(who: str) -> Act:
    async def act(stage: Stage, message: Message) -> None:
        stage.slack.make_guest(who)

    return act


def edited(**how: Any) -> Act:
    async def act(stage: Stage, message: Message) -> None:
        stage.cloud.run.edit("bondpoint-api", by="yuko@bondpoint.example", **how)
        await stage.advance(seconds=40)

    return act


def with_policy(new: Callable[[], Policy]) -> Act:
    """The bot comes back under another policy."""

    async def act(stage: Stage, message: Message) -> None:
        await stage.stop()
        stage.policy = new()
        await stage.start()

    return act


async def slack_is_silent(stage: Stage, message: Message) -> None:
    stage.slack.faults.add("users.info", status(500), count=FOREVER)


async def many_clicks(stage: Stage, message: Message) -> None:
    """The one who asked presses ten times at once."""
    presses = [stage.slack.press("mika", message.channel, message.ts, APPROVE) for _ in range(10)]
    await asyncio.gather(*presses)
    await stage.settle()


async def replayed(stage: Stage, message: Message) -> None:
    """Aya's first approval of two is sent again, byte for byte."""
    delivery = await stage.slack.press("aya", message.channel, message.ts, APPROVE)
    await stage.settle()
    for _ in range(3):
        await stage.slack.replay(delivery)
        await stage.settle()


async def a_p1_opens(stage: Stage, message: Message) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.p1"))


def value_of(text: str) -> Act:
    return pressed("kenji", value=text)


CASES = (
    # Who.
    Case("one's own deploy", pressed("mika"), "mika", "your own deploy"),
    Case("one's own deploy, ten times at once", many_clicks, "mika", "your own deploy"),
    Case(
        "a second account of the one who asked",
        pressed("aya"),
        "aya",
        "別の人の承認",
        lambda: two_accounts("mika", "aya"),
    ),
    Case("somebody who is no approver", pressed("dan"), "dan", "Who may: kenji, aya, mika"),
    Case("the manager, who is none either", pressed("yuko"), "yuko", "可能な人：kenji、aya、mika"),
    Case(
        "somebody whom the policy does not know",
        pressed("dan"),
        "dan",
        "are not in the policy",
        lambda: without("dan"),
    ),
    Case("an approver who became a guest", then(guest("kenji"), pressed("kenji")), "kenji", "ゲスト"),
    Case("an approver from another workspace", pressed("kenji", team="T0STRANGER"), "kenji", "メンバーだけ"),
    Case(
        "an approver whom Slack cannot name",
        then(slack_is_silent, pressed("kenji")),
        "kenji",
        "本人確認ができなかった",
    ),
    Case(
        "one who was an approver when it was asked for",
        then(with_policy(lambda: deploying_by("aya", "mika")), pressed("kenji")),
        "kenji",
        "承認する権限がありません",
    ),
    Case("two needed, one gives both", then(pressed("aya"), pressed("aya")), "aya", "承認済み", two_needed),
    Case(
        "two needed, two accounts of one person",
        then(pressed("kenji"), pressed("aya")),
        "aya",
        "承認済み",
        lambda: two_accounts("kenji", "aya", approvals=2),
    ),
    Case(
        "two needed, the second is who asked",
        then(pressed("aya"), pressed("mika")),
        "mika",
        "your own",
        two_needed,
    ),
    Case(
        "two needed, the second is a stranger",
        then(pressed("aya"), pressed("dan")),
        "dan",
        "Who may: kenji",
        two_needed,
    ),
    Case("a click that the network repeats", replayed, "card", "waiting for 1 approval", two_needed),
    Case("a stranger who rejects", pressed("dan", "Reject"), "dan", "Who may: kenji"),
    # When.
    Case("an approval that is too late", then(later(minutes=16), pressed("kenji")), "card", "expired"),
    Case(
        "after it was rejected",
        then(pressed("aya", "Reject"), submitted("aya"), typed("kenji", "/deploy resume D-1")),
        "kenji",
        "進行中",
    ),
    Case("promoted before it began", typed("kenji", "/deploy promote D-1"), "kenji", "進行中ではありません"),
    Case("paused before it began", typed("kenji", "/deploy pause D-1"), "kenji", "進行中ではありません"),
    Case(
        "cancelled, then promoted",
        then(typed("mika", "/deploy abort D-1"), typed("aya", "/deploy promote D-1")),
        "aya",
        "進行中",
    ),
    # What.
    Case("the card of another plan", value_of("rollout:1/0123456789ab"), "kenji", "最新のカード"),
    Case("a card without its plan", value_of("rollout:1"), "kenji", "最新のカード"),
    Case("a deploy that does not exist", value_of("rollout:99/0123456789ab"), "kenji", "D-99"),
    Case("an alert in place of a deploy", value_of("alert:1/0123456789ab"), "kenji", "別のバージョン"),
    Case("nonsense in place of a deploy", value_of("'; DROP TABLE rollout; --"), "kenji", "別のバージョン"),
    Case("nothing in place of a deploy", value_of(""), "kenji", "別のバージョン"),
    # The world changed since.
    Case(
        "a variable was changed",
        then(edited(env={"A": "1"}), pressed("kenji"), later(minutes=3)),
        "card",
        "yuko@bondpoint.example",
    ),
    Case(
        "another image was deployed",
        then(edited(image=BAD), pressed("kenji"), later(minutes=3)),
        "card",
        "yuko@bondpoint.example",
    ),
    Case(
        "the ingress was changed",
        then(edited(ingress="internal"), pressed("kenji"), later(minutes=3)),
        "card",
        "void",
    ),
    Case(
        "an annotation was changed",
        then(edited(annotations={"a": "b"}), pressed("kenji"), later(minutes=3)),
        "card",
        "void",
    ),
    Case(
        "locked after the approval",
        then(typed("dan", "/deploy lock bondpoint-api a migration"), pressed("kenji"), later(minutes=3)),
        "card",
        "locked",
    ),
    Case(
        "held until it is too old",
        then(typed("dan", "/deploy lock bondpoint-api a migration"), pressed("kenji"), later(minutes=65)),
        "card",
        "expired",
    ),
    Case("a P1 opened", then(a_p1_opens, pressed("kenji"), later(minutes=3)), "card", "INC-1"),
    Case(
        "a freeze began",
        then(with_policy(frozen), pressed("kenji"), later(minutes=3)),
        "card",
        "quarter-end",
    ),
    Case(
        "an approver left before the second approved",
        then(
            pressed("aya"),
            with_policy(lambda: deploying_by("kenji", "mika", approvals=2)),
            pressed("kenji"),
            later(minutes=3),
        ),
        "card",
        "no longer an approver",
        two_needed,
    ),
    # Other ways in.
    Case("a lock without a reason", typed("dan", "/deploy lock bondpoint-api"), "dan", "give a reason"),
    Case(
        "a guest who unlocks",
        then(guest("dan"), typed("dan", "/deploy unlock bondpoint-api")),
        "dan",
        "Guests",
    ),
    Case(
        "a guest who asks", then(guest("dan"), typed("dan", f"/deploy bondpoint-api {GOOD}")), "dan", "Guests"
    ),
    Case(
        "an emergency of anybody",
        typed("dan", f"/deploy bondpoint-api {GOOD} --emergency now"),
        "dan",
        "may not use `--emergency`",
    ),
    Case(
        "an emergency without a reason",
        typed("dan", f"/deploy bondpoint-api {GOOD} --emergency"),
        "dan",
        "give a reason",
        lambda: with_deploys(emergency=Emergency(people=("dan",))),
    ),
    Case(
        "a service that nobody knows", typed("dan", f"/deploy bondpoint-apo {GOOD}"), "dan", "bondpoint-api"
    ),
    Case("an option that nobody knows", typed("dan", f"/deploy bondpoint-api {GOOD} --yes"), "dan", "--yes"),
    Case(
        "steps that do not end with 100",
        typed("dan", f"/deploy bondpoint-api {GOOD} --steps 10,50"),
        "dan",
        "10,50",
    ),
    Case(
        "a rollback of a stranger",
        then(guest("dan"), typed("dan", "/deploy rollback bondpoint-api")),
        "dan",
        "Guests",
    ),
)


def test_there_are_at_least_forty_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_no_traffic_moves_and_everybody_is_told_why(sqlite_only: str, case: Case) -> None:
    made = case.policy()
    async with world_of(sqlite_only, made) as stage:
        if any(person.slack for person in made.people.values()):
            await stage.stop()
            stage.policy = resolved(made, stage)
            await stage.start()
        service = stage.cloud.run.service("bondpoint-api")
        message = await asked(stage)
        assert APPROVE in message.plain
        try:
            await case.act(stage, message)
        except LookupError:
            assert APPROVE not in stage.channel("#deploys")[0].plain, "its button is gone"
        await stage.advance(minutes=2)
        assert stage.cloud.journal.count("UpdateService") == 1, "the dry run and nothing else"
        assert list(service.split().values()) == [100]
        said = stage.channel("#deploys")[0].plain if case.told == "card" else "\n".join(stage.told(case.told))
        if case.says:
            assert case.says in said


async def test_an_image_that_cannot_be_deployed_is_refused_in_words(sqlite_only: str) -> None:
    async with world_of(sqlite_only, policy()) as stage:
        for image, says in (
            ("gcr.io/bondpoint-prod/api:v2", "shut down"),
            ("docker.io/library/nginx:1", "by digest"),
        ):
            await stage.type("mika", "#general", f"/deploy bondpoint-api {image}")
            await stage.advance(seconds=3)
            assert says in card(stage).plain, image
            assert "Approve" not in card(stage).plain
        cards = len(stage.channel("#deploys"))
        for image, says in (
            (f"{REPOSITORY}:nowhere", "There is no tag"),
            ("https://x.example/api:v2", "not an image name"),
        ):
            await stage.type("mika", "#general", f"/deploy bondpoint-api {image}")
            await stage.advance(seconds=3)
            assert says in stage.told("mika")[-1], image
            assert len(stage.channel("#deploys")) == cards
        assert stage.cloud.journal.count("UpdateService") == 0
