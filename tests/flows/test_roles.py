"""13.1, 13.3: every act of the product with every kind of account, through the real Bolt app."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from domain import backing
from domain.authority import RULES, Act, Besides
from domain.backup_plans import Backups
from domain.deploys import DeployRule, Deploys
from domain.effects import By
from domain.findings import Detector, Finding
from domain.policy import Channels, Service
from domain.retention import Standing as BackupStanding
from domain.roles import Role
from domain.rollouts import Course, Kind, Rollout
from domain.rollouts import Stage as RolloutStage
from domain.watches import Watch, WatchKind
from handlers.acts import ACTIONS, KEPT
from handlers.commands import DEPLOY, INCIDENT, TOBAN
from handlers.interpret import ACTS
from notify.slack import actions
from notify.texts import voice
from operations.deploys import course_of, target_of
from sandbox.cloud.cloud import Cloud
from sandbox.slack.faults import FOREVER, error, status
from sandbox.slack.reading import Message
from sandbox.stage import ANSWER_WITHIN, Stage
from storage.rows import table
from storage.tables import (
    AlertGroupRow,
    BackupRow,
    DrillRow,
    EscalationRow,
    FindingRow,
    IncidentRow,
    LockRow,
    RolloutRow,
    TimelineRow,
    WatchRow,
)
from tests.conftest import make_policy, open_stage
from tests.flows.backing import nightly, tools
from tests.payloads import alertmanager, monitoring

KEPT_TABLES = [
    table(row)
    for row in (
        AlertGroupRow,
        IncidentRow,
        EscalationRow,
        TimelineRow,
        FindingRow,
        RolloutRow,
        LockRow,
        BackupRow,
        DrillRow,
    )
]

FORMS = (actions.DECLARE_FORM, actions.RESOLVE_FORM, actions.DEPLOY_FORM, actions.REJECT_FORM)
MENUS = (actions.DEPLOY_TAG,)
COMMANDS_ONLY = (
    actions.QUIET_END,
    actions.DETECTOR_MUTE,
    actions.DETECTOR_UNMUTE,
    actions.DEPLOY_REQUEST,
    actions.DEPLOY_ROLLBACK,
    actions.DEPLOY_LOCK,
    actions.DEPLOY_UNLOCK,
    actions.DRILL_REQUEST,
    "unknown",
)
"""What has no button of its own."""

VALUES = {
    actions.ALERT_ACKNOWLEDGE: "alert:2",
    actions.ALERT_RESOLVE: "alert:2",
    actions.ALERT_DECLARE: "alert:2",
    actions.PAGE_ACKNOWLEDGE: "page:1",
    "incident": "incident:1",
    "finding": "finding:1",
    "deploy": "rollout:1/0123456789ab",
    "backups": "backup:1",
    "drills": "drill:1",
    "app_home": "home",
}

ARGUMENTS = {
    "/incident declare": "P3 Something small",
    "/incident show": "INC-1",
    "/incident ack": "INC-1",
    "/incident resolve": "INC-1 over",
    "/deploy pause": "D-1",
    "/deploy resume": "D-1",
    "/deploy promote": "D-1",
    "/deploy abort": "D-1",
    "/deploy rollback": "bondpoint-api",
    "/deploy lock": "bondpoint-api a migration",
    "/deploy unlock": "bondpoint-api",
    "/deploy history": "bondpoint-api",
    "/deploy diff": "bondpoint-api asia-northeast1-docker.pkg.dev/bondpoint-prod/app/api:v2",
    "/toban anomalies explain": "bondpoint-api",
    "/toban anomalies mute": "bondpoint-api 6h",
    "/toban anomalies unmute": "bondpoint-api",
    "/toban backup history": "nightly",
    "/toban backup run": "nightly",
    "/toban backup drill": "nightly",
    "/toban backup accept": "B-1",
    "/toban capacity": "bondpoint-api",
}


@asynccontextmanager
async def town(database_url: str, folder: Path, **how: Any) -> AsyncIterator[Stage]:
    """A workspace in which every act has something to be done to."""
    api = Service(
        name="bondpoint-api",
        project="bondpoint-prod",
        region="asia-northeast1",
        match={"service_name": "bondpoint-api"},
    )
    policy = make_policy(
        services=(api,),
        deploys=Deploys(default=DeployRule(approvers=("kenji", "aya"))),
        backups=Backups(plans=(nightly(folder),)),
    )
    environ = {"TOBAN_PG_BIN": tools()} if tools() else {}
    cloud = Cloud if how.get("cloud") else None
    async with Stage.open(database_url, policy, cloud=cloud, start=False, **environ) as stage:
        for method, fault in how.get("faults", {}).items():
            stage.slack.faults.add(method, fault, count=FOREVER)
        if "grid" in how:
            stage.slack.join_grid("E0ORG", org_install=how["grid"])
        await stage.start()
        await stage.webhook("cloud-monitoring", monitoring())
        await stage.webhook("alertmanager", alertmanager("db-1"))
        if "faults" in how:
            await stage.advance(minutes=1)  # Until the first message shows that Slack takes some.
        await _seed(stage, api)
        yield stage


async def _seed(stage: Stage, api: Service) -> None:
    at, mika = stage.clock.now(), By(id=stage.slack.user_id("mika"), name="mika")
    async with stage.bot.store() as tx:
        course: Course = course_of(DeployRule(), None, None)
        await tx.add_rollout(
            Rollout(
                kind=Kind.DEPLOY,
                service=api.name,
                target=target_of(api),
                image="asia-northeast1-docker.pkg.dev/bondpoint-prod/app/api:v2",
                requested_by=mika,
                requester="mika",
                requested_at=at,
                course=course,
                stage=RolloutStage.QUEUED,
                since=at,
            )
        )
        made = backing.begin(stage.policy.backups.plans[0], at, at, mika)
        suspicious = {"standing": BackupStanding.SUSPICIOUS, "ended_at": at, "look_at": None}
        await tx.add_backup(made.model_copy(update=suspicious))
        await tx.add_finding(
            Finding(
                service=api.name, driver="latency", direction="high", score=3.0, started_at=at, seen_at=at
            )
        )
        if await tx.watch(WatchKind.DETECTOR, api.name) is None:
            state = Detector().model_dump(mode="json")
            watch = Watch(kind=WatchKind.DETECTOR, key=api.name, state=state, changed_at=at)
            await tx.save_watches([watch])
    await stage.settle()


async def kept(stage: Stage) -> list[Any]:
    """All that an act may change, in the database."""
    found: list[Any] = []
    async with stage.bot.store.read() as tx:
        found += [sorted(map(repr, await tx.rows(sa.select(one)))) for one in KEPT_TABLES]
        watches = await tx.rows(sa.select(table(WatchRow)).where(table(WatchRow).c.kind == "detector"))
        found.append([row["state"].get("track") for row in watches])
    return found


async def panel(stage: Stage) -> dict[str, Message]:
    """A message of the bot's own for each button that there is."""
    found = {}
    for action in ACTIONS:
        if action in (*FORMS, *MENUS, *COMMANDS_ONLY):
            continue
        value = VALUES.get(action) or VALUES[action.partition(".")[0]]
        button = {
            "type": "button",
            "text": {"type": "plain_text", "text": "Press"},
            "action_id": action,
            "value": value,
        }
        await stage.bot.api.web.chat_postMessage(
            channel=stage.slack.channel_id("general"),
            text=action,
            blocks=[{"type": "actions", "elements": [button]}],
        )
        found[action] = stage.channel("#general")[-1]
    return found


Do = Callable[[Stage, str], Awaitable[str]]


@dataclass(frozen=True)
class Door:
    """One way to one act: what is done, and what the person is told about it."""

    name: str
    act: Act
    do: Do


async def _heard(stage: Stage, who: str, before: int) -> str:
    await stage.settle([])
    await stage.bot.desk.drain(ANSWER_WITHIN)
    stage.clock.push(timedelta(seconds=2))  # Answers to one person have a pace.
    await stage.settle(["outbox"])
    return "\n".join(stage.told(who)[before:])


def typed(text: str) -> Do:
    async def do(stage: Stage, who: str) -> str:
        before = len(stage.told(who))
        delivery = await stage.slack.type(who, "#general", text)
        assert delivery.ok, delivery
        return await _heard(stage, who, before)

    return do


def pressed(message: Message) -> Do:
    async def do(stage: Stage, who: str) -> str:
        before = len(stage.told(who))
        action = message.text
        delivery = await stage.slack.press(who, message.channel, message.ts, action)
        assert delivery.ok, delivery
        return await _heard(stage, who, before)

    return do


NOT_SHOWN = "Slack shows no tab to such an account"


async def home(stage: Stage, who: str) -> str:
    """The tab is made anew, with a notice where the account may not see it."""

    def published() -> int:
        return sum(call.method == "views.publish" for call in stage.slack.calls)

    before = published()
    await stage.slack.open_home(who)
    await stage.slack.wait_for(lambda: published() > before)
    view = stage.slack.home(who)
    return stage.slack.view_plain(view) if view is not None else NOT_SHOWN


def form(callback: str) -> Do:
    """A form that was opened before the account lost its rights; refused ones answer beside a field."""
    fields = {
        actions.DECLARE_FORM: ({"title": "A form", "severity": "P3"}, "", ("title", "severity")),
        actions.RESOLVE_FORM: ({"summary": "Over"}, "incident:1", ("summary",)),
        actions.DEPLOY_FORM: ({"service": "bondpoint-api", "image": "x/y:v2"}, "", ("service", "image")),
        actions.REJECT_FORM: ({"reason": "Not now"}, "rollout:1", ("reason",)),
    }
    values, metadata, names = fields[callback]

    async def do(stage: Stage, who: str) -> str:
        before = len(stage.told(who))
        view_id = await _open(stage, who, callback, metadata, [_input(name) for name in names])
        delivery = await stage.slack.submit(who, view_id, values)
        assert delivery.ok, delivery
        if delivery.errors:
            await stage.slack.close_view(who, view_id)
        return "\n".join([*delivery.errors.values(), await _heard(stage, who, before)])

    return do


def _input(name: str) -> dict[str, Any]:
    element: dict[str, Any] = {"type": "plain_text_input", "action_id": "value"}
    if name in {"severity", "service"}:
        chosen = "P3" if name == "severity" else "bondpoint-api"
        option = {"text": {"type": "plain_text", "text": chosen}, "value": chosen}
        element = {"type": "static_select", "action_id": "value", "options": [option]}
    return {
        "type": "input",
        "block_id": name,
        "label": {"type": "plain_text", "text": name},
        "element": element,
    }


async def _open(stage: Stage, who: str, callback: str, metadata: str, blocks: list[dict[str, Any]]) -> str:
    view = {
        "type": "modal",
        "callback_id": callback,
        "private_metadata": metadata,
        "title": {"type": "plain_text", "text": "Form"},
        "submit": {"type": "plain_text", "text": "Send"},
        "blocks": blocks,
    }
    trigger = stage.slack.triggers.issue(stage.slack.user_id(who))
    answer = await stage.bot.api.web.views_open(trigger_id=trigger, view=view)
    return str(answer["view"]["id"])


async def menu(stage: Stage, who: str) -> str:
    """Nothing is offered to whoever may not ask for a deploy."""
    element = {"type": "external_select", "action_id": actions.DEPLOY_TAG, "min_query_length": 0}
    block = {
        "type": "input",
        "block_id": "tag",
        "label": {"type": "plain_text", "text": "Tag"},
        "element": element,
    }
    view_id = await _open(stage, who, actions.DEPLOY_FORM, "", [block])
    found = await stage.slack.suggest(who, view_id, actions.DEPLOY_TAG, "v")
    await stage.slack.close_view(who, view_id)
    return "offered" if found else "nothing"


def doors(buttons: dict[str, Message]) -> list[Door]:
    """Every button, form, menu, verb and tab."""
    found = [Door(f"button {action}", ACTIONS[action], pressed(shown)) for action, shown in buttons.items()]
    found += [Door(f"form {one}", ACTIONS[one], form(one)) for one in FORMS]
    for command, verbs in ((one.name, one.verbs) for one in (INCIDENT, DEPLOY, TOBAN)):
        for verb, of in verbs.items():
            name = f"{command} {verb}".strip()
            found.append(Door(name, of.act, typed(f"{name} {ARGUMENTS.get(name, '')}".strip())))
    image = "asia-northeast1-docker.pkg.dev/bondpoint-prod/app/api:v2"
    found.append(Door("/deploy SERVICE", Act.DEPLOY_REQUEST, typed(f"/deploy bondpoint-api {image}")))
    dry = typed(f"/deploy bondpoint-api {image} --dry-run")
    found.append(Door("/deploy --dry-run", Act.DEPLOY_PLAN, dry))
    found.append(Door("Home", Act.READ_HOME, home))
    return found


# Who.


@dataclass(frozen=True)
class AccountKind:
    """A kind of account: how it comes to be, and what it is told; ``None`` where it may."""

    name: str
    make: Callable[[Stage], str]
    refused: Callable[[Act], str | None]
    how: dict[str, Any]
    unverified: bool = False


def _added(**kind: Any) -> Callable[[Stage], str]:
    def make(stage: Stage) -> str:
        return str(stage.slack.add_account("visitor", **kind).name)

    return make


def _guest(*, single: bool) -> Callable[[Stage], str]:
    def make(stage: Stage) -> str:
        stage.slack.make_guest("dan", single=single)
        return "dan"

    return make


def _dan(_stage: Stage) -> str:
    return "dan"


def _gone(stage: Stage) -> str:
    stage.slack.deactivate("dan")
    stage.slack.late_clicks = True
    return "dan"


def _silent(stage: Stage) -> str:
    stage.slack.faults.add("users.info", status(500), count=FOREVER)
    return "dan"


def always(key: str) -> Callable[[Act], str | None]:
    return lambda _act: key


def writing(key: str) -> Callable[[Act], str | None]:
    return lambda act: None if RULES[act].role is Role.READER else key


def but_acknowledging(act: Act) -> str | None:
    return None if act is Act.ACKNOWLEDGE else "refused.account_unknown"


def never(_act: Act) -> str | None:
    return None


def persons_only(act: Act) -> str | None:
    return "refused.account_nobody" if RULES[act].needs_person else None


def persons_only_later(act: Act) -> str | None:
    """As long as Slack cannot say whose account it is, it is not called a stranger's."""
    return "refused.account_unknown" if RULES[act].needs_person else None


FOREIGN, GUEST = "refused.account_foreign", "refused.account_guest"
DOWN = {"auth.test": error("internal_error")}

KINDS = (
    AccountKind("a person of the policy", _dan, never, {}),
    AccountKind("a full member whom the policy does not know", _added(), persons_only, {}),
    AccountKind("a guest of several channels", _guest(single=False), writing(GUEST), {}),
    AccountKind("a guest of a single channel", _guest(single=True), writing(GUEST), {}),
    AccountKind("an app", _added(is_bot=True), always("refused.account_bot"), {}),
    AccountKind("somebody who has left", _gone, always("refused.account_deleted"), {}),
    AccountKind("another workspace", _added(team="T0FOREIGN"), always(FOREIGN), {}),
    AccountKind("a Slack Connect stranger", _added(team="T0FOREIGN", stranger=True), always(FOREIGN), {}),
    AccountKind(
        "an account that Slack does not know", _added(unknown=True), always("refused.account_missing"), {}
    ),
    AccountKind("a member while Slack is silent", _silent, but_acknowledging, {}, unverified=True),
    AccountKind("a person while auth.test fails", _dan, persons_only_later, {"faults": DOWN}),
    AccountKind(
        "another workspace while auth.test fails", _added(team="T0FOREIGN"), always(FOREIGN), {"faults": DOWN}
    ),
    AccountKind("a guest while auth.test fails", _guest(single=False), writing(GUEST), {"faults": DOWN}),
    AccountKind(
        "another workspace of our organisation",
        _added(team="T0OTHER", enterprise="E0ORG"),
        persons_only,
        {"grid": False},
    ),
    AccountKind(
        "our organisation, where the app is installed for all of it",
        _added(team="T0OTHER", enterprise="E0ORG"),
        persons_only,
        {"grid": True},
    ),
    AccountKind("a person of an organisation", _dan, never, {"grid": True}),
    AccountKind(
        "another organisation",
        _added(team="T0FOREIGN", enterprise="E0FOREIGN"),
        always(FOREIGN),
        {"grid": False},
    ),
    AccountKind("no organisation", _added(team="T0FOREIGN"), always(FOREIGN), {"grid": True}),
)

REFUSALS = (
    "refused.account_unknown",
    "refused.account_missing",
    "refused.account_foreign",
    "refused.account_deleted",
    "refused.account_guest",
    "refused.account_bot",
    "refused.account_nobody",
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_13_1_every_act_with_every_kind_of_account(
    sqlite_only: str, tmp_path: Path, kind: AccountKind
) -> None:
    """13.1, 13.3: what may not be done changes nothing and is answered in words; the rest is done."""
    is_let_in = kind.refused(Act.ALERT_RESOLVE) is None
    async with town(sqlite_only, tmp_path / "copies", cloud=is_let_in, **kind.how) as stage:
        buttons = await panel(stage)
        who = kind.make(stage)
        words = {key: voice("en").plain(key) for key in REFUSALS}
        before: list[Any] = []
        for door in doors(buttons):
            wanted = kind.refused(door.act)
            before = before if wanted and before else await kept(stage)
            said = await door.do(stage, who)
            if said == NOT_SHOWN and wanted:
                continue
            heard = [key for key, text in words.items() if _bare(text) in _bare(said)]
            assert heard == ([wanted] if wanted else []), f"{door.name}: {said}"
            if wanted:
                assert await kept(stage) == before, f"{door.name} changed something"
            else:
                before = []
        wanted = kind.refused(Act.DEPLOY_REQUEST)
        assert (await menu(stage, who) == "nothing") or wanted is None
        (first,) = [card for card in stage.channel("#incidents") if "INC-1" in card.plain]
        assert ("unverified" in first.plain) == kind.unverified
        timeline = await _acknowledged(stage)
        assert (True in timeline) == kind.unverified


def _bare(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


async def _acknowledged(stage: Stage) -> list[bool]:
    """Of each acknowledgement in the timeline, whether it is marked."""
    rows = table(TimelineRow)
    async with stage.bot.store.read() as tx:
        found = await tx.rows(sa.select(rows).where(rows.c.what.like("%acknowledged")))
    return [bool(row["data"].get("unverified")) for row in found]


# The table itself.


async def test_13_1_nothing_is_registered_without_an_act(sqlite_only: str) -> None:
    """Every id of a button, form and menu has an act, every act a way to it, every kept one an effect."""
    ids = {value for name, value in vars(actions).items() if name.isupper()}
    assert ids | {"unknown"} == set(ACTIONS)
    assert set(KEPT) == set(ACTS)
    assert set(RULES) == set(Act)
    verbs = (verb for command in (INCIDENT, DEPLOY, TOBAN) for verb in command.verbs.values())
    reached = {*ACTIONS.values(), *(verb.act for verb in verbs)}
    assert reached == set(Act)


async def test_13_1_only_acts_that_read_are_for_every_reader() -> None:
    changing = [act for act, rule in RULES.items() if rule.role is not Role.READER]
    assert all(act.value.startswith("read-") == (act not in changing) for act in Act)
    assert [act for act in Act if RULES[act].besides is Besides.UNVERIFIED] == [Act.ACKNOWLEDGE]


async def test_13_1_our_workspace_is_remembered_for_a_start_without_slack(sqlite_only: str) -> None:
    """An ``auth.test`` that fails after a restart does not open the door to another workspace."""
    async with open_stage(sqlite_only, make_policy()) as stage:
        await stage.webhook("cloud-monitoring", monitoring())
        await stage.stop()
        for method in ("auth.test", "users.info"):
            stage.slack.faults.add(method, status(500), count=FOREVER)
        await stage.start()
        stage.slack.add_account("visitor", team="T0FOREIGN")
        said = await typed("/incident ack INC-1")(stage, "visitor")
        assert voice("en").plain("refused.account_foreign") in said
        await typed("/incident ack INC-1")(stage, "dan")
        await stage.advance(minutes=1)
        assert "unverified" in "\n".join(stage.told("dan"))


async def test_13_1_while_nothing_says_which_workspace_is_ours_only_a_button_of_ours_acknowledges(
    sqlite_only: str,
) -> None:
    channels = Channels(alerts="C0A", incidents="C0B", deploys="C0C", ops="C0D")
    async with Stage.open(sqlite_only, make_policy(channels=channels), start=False) as stage:
        numbers = {key: stage.slack.channel_id(key) for key in Channels.model_fields}
        stage.policy = make_policy(channels=Channels(**numbers))
        stage.slack.faults.add("auth.test", error("internal_error"), count=FOREVER)
        await stage.start()
        await stage.webhook("cloud-monitoring", monitoring())
        await stage.advance(minutes=1)
        stage.slack.add_account("visitor", team="T0FOREIGN")
        card, before = stage.card("incidents"), await kept(stage)
        await stage.slack.press("visitor", card.channel, card.ts, "Acknowledge")
        await typed("/incident ack INC-1")(stage, "visitor")
        assert await kept(stage) == before
        await stage.slack.press("dan", card.channel, card.ts, "Acknowledge")
        await stage.settle()
        assert True in await _acknowledged(stage)


async def test_13_1_ten_foreign_clicks_at_once_change_nothing(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    stage.slack.add_account("visitor", team="T0FOREIGN", email="kenji@bondpoint.example")
    before, card = await kept(stage), stage.card("alerts")
    clicks = [stage.slack.press("visitor", card.channel, card.ts, "Acknowledge") for _ in range(10)]
    assert all(one.ok for one in await asyncio.gather(*clicks))
    await stage.settle()
    assert await kept(stage) == before
