"""What a kept delivery means: the table from its kind to its effect, used by the drain."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

from domain import authority
from domain.approvals import Account
from domain.effects import Answer, By, Note, Subject, SubjectKind, Text
from domain.errors import Refused
from domain.findings import Verdict
from domain.inbox import SAME_BODY_WITHIN, Delivery
from domain.outbox import OPS
from domain.policy import Service, Severity
from domain.ports import Tx
from domain.rollouts import Kind
from handlers import refusals
from handlers.acts import KEPT
from handlers.requests import KIND, DeployRequest, Request
from handlers.webhooks import SENDERS, Sender
from handlers.webhooks.reading import Large
from notify.slack import actions
from operations import backups, deploys, drills, findings, heard_tests, incidents, quiet, signals
from operations.inbox import Interpreter, Interpreters
from operations.world import World

Act = Callable[[Tx, World, Request, datetime], Awaitable[Text]]

_TYPED = {actions.INCIDENT_ACKNOWLEDGE: "ack", actions.RESOLVE_FORM: "resolve"}
"""The verbs of ``/incident`` that may be typed without a number."""


def interpreters() -> Interpreters:
    """Every kind that may stand in the inbox."""
    table: dict[str, Interpreter] = {name: _webhook(sender) for name, sender in SENDERS.items()}
    table[KIND] = _people
    table[refusals.KIND] = _refusals
    return table


async def _refusals(tx: Tx, world: World, deliveries: list[Delivery], at: datetime) -> None:
    heard = [(refusals.signal(delivery), delivery.received_at) for delivery in deliveries]
    await signals.receive(tx, world.policy, heard, at)


def _webhook(sender: Sender) -> Interpreter:
    async def interpret(tx: Tx, world: World, deliveries: list[Delivery], at: datetime) -> None:
        heard = []
        notes: list[Note] = []
        for delivery in deliveries:
            reading = sender.interpret(delivery.body, world.policy)
            heard += [(signal, delivery.received_at) for signal in reading.signals]
            if reading.large is not None:
                notes.append(_large(sender, reading.large, delivery.received_at))
            said = [
                ("ops.test_received", what)
                for what in reading.tests
                if await heard_tests.is_first(tx, sender.name, what, delivery.received_at)
            ]
            if reading.others and not await tx.came_before(delivery, delivery.received_at - SAME_BODY_WITHIN):
                said += [("ops.not_an_alert", what) for what in reading.others]
            for number, (key, what) in enumerate(said):
                text = Text(key=key, params={"source": sender.name, "what": what})
                notes.append(Note(key=f"heard:{delivery.id}:{number}", place=OPS, text=text))
        await signals.receive(tx, world.policy, heard, at)
        await tx.say(notes, at)

    return interpret


def _large(sender: Sender, large: Large, at: datetime) -> Note:
    """Told once an hour for each sender: how much came, and which setting of the sender limits it."""
    params = {
        "source": sender.name,
        "alerts": large.alerts,
        "taken": large.taken,
        "size": refusals.mebibytes(large.size) if large.size else "",
    }
    text = Text(key="ops.large_delivery" if large.size else "ops.many_alerts", params=params)
    return Note(key=f"large:{sender.name}:{int(at.timestamp()) // 3600}", place=OPS, text=text)


async def _people(tx: Tx, world: World, deliveries: list[Delivery], at: datetime) -> None:
    for delivery in deliveries:
        request = Request.model_validate_json(delivery.body)
        try:
            text = await _carried_out(tx, world, request, at)
        except Refused as refusal:
            text, silent = Text(key=refusal.key, params=refusal.params), False
        else:
            silent = request.silent
        if not silent:
            answer = Answer(
                key=f"answer:{delivery.id}",
                to=request.user_id,
                channel=request.channel_id or request.user_id,
                text=text,
                response_url=request.response_url,
            )
            await tx.say([answer], at)


async def _carried_out(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    """Asks the one rule, by the account of the moment of the click, and does it. Raises ``Refused``."""
    act, carry_out = KEPT.get(request.act), ACTS.get(request.act)
    if act is None or carry_out is None:
        raise Refused("refused.unknown_action")
    authority.demand(world.policy, act, request.asker)
    unverified = authority.is_unverified(world.policy, act, request.asker)
    return await carry_out(tx, world, request.model_copy(update={"unverified": unverified}), at)


async def _subject(tx: Tx, request: Request) -> Subject:
    """What the button or the command named; of a command without a number, the only open incident."""
    if not request.value and request.act in _TYPED:
        return (await incidents.the_only_open(tx, _TYPED[request.act])).subject
    try:
        return Subject.parse(request.value)
    except ValueError:
        raise Refused("refused.unknown_action") from None


async def _acknowledge(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    return await incidents.acknowledge(tx, await _subject(tx, request), request.by, at)


async def _resolve(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    subject = await _subject(tx, request)
    return await incidents.resolve_incident(tx, subject.id, request.text, request.by, at)


async def _resolve_alert(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    return await incidents.resolve_alert(tx, (await _subject(tx, request)).id, request.by, at)


async def _declare(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    subject = await _subject(tx, request) if request.value else None
    group_id = subject.id if subject is not None and subject.kind is SubjectKind.ALERT else None
    severity = Severity(request.severity or "P2")
    return await incidents.declare(tx, world.policy, request.text, severity, group_id, request.by, at)


def _verdict(verdict: Verdict) -> Act:
    async def act(tx: Tx, world: World, request: Request, at: datetime) -> Text:
        return await findings.judge(tx, await _subject(tx, request), verdict, request.by, at)

    return act


async def _mute(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    return await findings.mute(tx, await _subject(tx, request), request.by, at)


async def _silence(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    service, _, hours = request.text.rpartition(" ")
    return await findings.silence(tx, service, int(hours), request.by, at)


async def _unsilence(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    return await findings.unsilence(tx, request.text, request.by, at)


def _service(world: World, request: Request) -> tuple[Service, DeployRequest]:
    if request.deploy is None:
        raise Refused("refused.unknown_action")
    return deploys.service_named(world.policy, request.deploy.service), request.deploy


def _ask(kind: Kind) -> Act:
    """The act that was kept says what was asked for, never what is missing from the request."""

    async def act(tx: Tx, world: World, request: Request, at: datetime) -> Text:
        service, asked = _service(world, request)
        rule = world.policy.deploys.rule(service.name)
        return await deploys.request(
            tx,
            world,
            service,
            request.asker,
            request.by,
            at,
            kind=kind,
            image=asked.image if kind is Kind.DEPLOY else "",
            to_revision=asked.revision if kind is Kind.ROLLBACK else None,
            course=deploys.course_of(rule, asked.steps, asked.bake),
            emergency=asked.emergency,
        )

    return act


async def _approve(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    """The text of the click is the fingerprint of what its card showed."""
    act = partial(deploys.approve, shown=request.text)
    return await _rollout(act)(tx, world, request, at)


async def _reject(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    act = partial(deploys.reject, reason=request.text)
    return await _rollout(act)(tx, world, request, at)


async def _lock(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    service, _ = _service(world, request)
    return await deploys.lock(tx, world, service, request.text, request.asker, request.by, at)


async def _unlock(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    service, _ = _service(world, request)
    return await deploys.unlock(tx, world, service, request.asker, request.by, at)


async def _abort(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    """The button says no reason; the command may."""
    act = partial(deploys.abort, reason=request.text)
    return await _rollout(act)(tx, world, request, at)


def _rollout(act: Callable[[Tx, World, int, Account, By, datetime], Awaitable[Text]]) -> Act:
    """What is done to a deploy that there is already."""

    async def done(tx: Tx, world: World, request: Request, at: datetime) -> Text:
        subject = await _subject(tx, request)
        if subject.kind is not SubjectKind.ROLLOUT:
            raise Refused("refused.unknown_action")
        return await act(tx, world, subject.id, request.asker, request.by, at)

    return done


async def _run_backup(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    """By the plan's name, or once more as the backup whose button was pressed."""
    name = request.text
    if request.value:
        backup = await tx.backup((await _subject(tx, request)).id)
        name = backup.plan if backup is not None else ""
    return await backups.run_now(tx, world, name, request.asker, request.by, at)


async def _accept_backup(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    subject = await _subject(tx, request)
    if subject.kind is not SubjectKind.BACKUP:
        raise Refused("refused.unknown_action")
    return await backups.accept(tx, world, subject.id, request.asker, request.by, at)


async def _ask_drill(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    return await drills.request(tx, world, request.text, request.asker, request.by, at)


def _drill(act: Callable[[Tx, World, int, Account, By, datetime], Awaitable[Text]]) -> Act:
    """The answer to a drill that somebody asked for."""

    async def done(tx: Tx, world: World, request: Request, at: datetime) -> Text:
        subject = await _subject(tx, request)
        if subject.kind is not SubjectKind.DRILL:
            raise Refused("refused.unknown_action")
        return await act(tx, world, subject.id, request.asker, request.by, at)

    return done


async def _end_quiet(tx: Tx, world: World, request: Request, at: datetime) -> Text:
    return await quiet.end(tx, world, request.asker, request.by, at)


ACTS: dict[str, Act] = {
    actions.ALERT_ACKNOWLEDGE: _acknowledge,
    actions.INCIDENT_ACKNOWLEDGE: _acknowledge,
    actions.PAGE_ACKNOWLEDGE: _acknowledge,
    actions.ALERT_RESOLVE: _resolve_alert,
    actions.RESOLVE_FORM: _resolve,
    actions.DECLARE_FORM: _declare,
    actions.FINDING_USEFUL: _verdict(Verdict.USEFUL),
    actions.FINDING_NOT_USEFUL: _verdict(Verdict.NOT_USEFUL),
    actions.FINDING_EXPECTED: _verdict(Verdict.EXPECTED),
    actions.FINDING_MUTE: _mute,
    actions.DETECTOR_MUTE: _silence,
    actions.DETECTOR_UNMUTE: _unsilence,
    actions.DEPLOY_REQUEST: _ask(Kind.DEPLOY),
    actions.DEPLOY_ROLLBACK: _ask(Kind.ROLLBACK),
    actions.DEPLOY_LOCK: _lock,
    actions.DEPLOY_UNLOCK: _unlock,
    actions.ROLLOUT_APPROVE: _approve,
    actions.ROLLOUT_REJECT: _reject,  # Kept by an older version, whose button asked for no reason.
    actions.REJECT_FORM: _reject,
    actions.ROLLOUT_PAUSE: _rollout(deploys.pause),
    actions.ROLLOUT_RESUME: _rollout(deploys.resume),
    actions.ROLLOUT_PROMOTE: _rollout(deploys.promote),
    actions.ROLLOUT_WAIT: _rollout(deploys.wait),
    actions.ROLLOUT_ABORT: _abort,
    actions.ROLLOUT_BACK: _rollout(deploys.back),
    actions.BACKUP_RUN: _run_backup,
    actions.BACKUP_ACCEPT: _accept_backup,
    actions.DRILL_REQUEST: _ask_drill,
    actions.DRILL_APPROVE: _drill(drills.approve),
    actions.DRILL_DECLINE: _drill(drills.decline),
    actions.DRILL_RELEASE: _drill(drills.release),
    actions.QUIET_END: _end_quiet,
}
