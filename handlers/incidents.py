"""``/incident``, the incident card's buttons, and the forms."""

from typing import TYPE_CHECKING, Any

from domain import incidents as rules
from domain.approvals import Account
from domain.effects import TOBAN, Subject, SubjectKind
from domain.errors import Outage, Refused, Undeliverable
from domain.policy import Severity
from domain.views import IncidentView
from handlers import declared
from handlers.commands import INCIDENT, Typed, next_verb, read
from handlers.declared import Declared
from handlers.numbers import named_in, take_number
from handlers.slack import Body, Desk, subject_of
from handlers.typed import Line, said
from notify.slack import actions
from notify.slack.cards.incidents import incident_card, open_now
from notify.slack.links import Links
from notify.slack.views.incidents import declare_form, resolve_form
from operations.incidents import the_only_open

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

_OF_ONE = ("show", "ack", "resolve")
"""Verbs about one incident, whose number people also write first."""


def register(app: "AsyncApp", desk: Desk) -> None:
    """Commands, buttons and forms of incidents."""
    taken = _Incidents(desk)
    app.command("/incident")(desk.command(read_incident, taken.command))
    for act in (actions.INCIDENT_ACKNOWLEDGE, actions.PAGE_ACKNOWLEDGE):
        app.action(act)(desk.button(act, taken.press(act)))
    app.action(actions.INCIDENT_RESOLVE)(desk.button(actions.INCIDENT_RESOLVE, taken.open_resolve))
    app.action(actions.INCIDENT_DECLARE)(desk.button(actions.INCIDENT_DECLARE, taken.open_declare))
    app.view(actions.DECLARE_FORM)(desk.form(actions.DECLARE_FORM, taken.declared, "title"))
    app.view(actions.RESOLVE_FORM)(desk.form(actions.RESOLVE_FORM, taken.resolved, "summary"))


class _Incidents:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def command(self, ack: "AsyncAck", body: Body, account: Account, typed: Typed) -> None:
        """``/incident VERB …``: reading verbs are answered here, the others are kept first."""
        line = typed.line
        match typed.verb:
            case "" | "list":
                await self._list(ack, body)
            case "help":
                await ack(text=self.desk.voice(body)("help.incident"))
            case "show":
                await self._show(ack, body, typed.subject or _number(line))
            case "declare":
                await self._declare(body, account, declared.read(line))
                await ack()
            case "ack":
                subject = typed.subject or _number(line)
                _demand_one(line, subject)
                await self._keep(body, account, actions.INCIDENT_ACKNOWLEDGE, _key(subject))
                await ack()
            case "resolve":
                subject, named = typed.subject or take_number(line, SubjectKind.INCIDENT), line.left
                if subject is None and (other := named_in(named, SubjectKind.INCIDENT)) is not None:
                    raise Refused("refused.number_behind", given=other)
                await self._keep(body, account, actions.RESOLVE_FORM, _key(subject), text=line.rest())
                await ack()
            case _:
                raise _unknown(typed)

    async def _list(self, ack: "AsyncAck", body: Body) -> None:
        async with self.desk.world.store.read() as tx:
            view = await tx.open_now(self.desk.world.clock.now())
        shown = open_now(self.desk.voice(body), view)
        await ack(text=shown.text, blocks=shown.blocks)

    async def _show(self, ack: "AsyncAck", body: Body, named: Subject | None) -> None:
        async with self.desk.world.store.read() as tx:
            subject = named or (await the_only_open(tx, "show")).subject
            view = await tx.view(subject)
        if not isinstance(view, IncidentView):
            raise Refused("refused.unknown_incident", number=f"INC-{subject.id}")
        shown = incident_card(self.desk.voice(body), view, Links(self.desk.chat.directory.team_url))
        await ack(text=shown.text, blocks=shown.blocks)

    async def _declare(self, body: Body, account: Account, asked: Declared) -> None:
        severity = asked.severity or Severity.P2
        if not asked.title:
            await self._form(
                body, declare_form(self.desk.voice(body), self.desk.world.policy, severity=severity)
            )
            return
        rules.declare(asked.title, severity, None, TOBAN, self.desk.world.clock.now())
        await self._keep(body, account, actions.DECLARE_FORM, "", text=asked.title, severity=severity.value)

    async def _keep(self, body: Body, account: Account, act: str, value: str, **fields: Any) -> None:
        await self.desk.keep(body, self.desk.request(body, act, account, value=value, **fields))

    def press(self, act: str) -> Any:
        """A button whose value names its subject."""

        async def handle(ack: "AsyncAck", body: Body, account: Account) -> None:
            value = subject_of(body).key
            await self._keep(body, account, act, value, silent=True)
            await ack()

        return handle

    async def open_resolve(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The Resolve button of an incident asks for a summary first."""
        subject = subject_of(body)
        async with self.desk.world.store.read() as tx:
            view = await tx.view(subject)
        if not isinstance(view, IncidentView):
            raise Refused("refused.unknown_incident", number=f"INC-{subject.id}")
        rules.resolve(view.incident, "", TOBAN, self.desk.world.clock.now())
        firing = sum(one.firing + one.omitted for one in view.groups if one.is_open)
        await self._form(body, resolve_form(self.desk.voice(body), view.incident, firing))
        await ack()

    async def open_declare(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The Declare button below a list."""
        await self._form(body, declare_form(self.desk.voice(body), self.desk.world.policy))
        await ack()

    async def _form(self, body: Body, view: dict[str, Any]) -> None:
        try:
            await self.desk.open_form(body, view)
        except (Outage, Undeliverable) as error:
            raise Refused("refused.form", reason=str(error)) from error

    async def declared(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The declare form was submitted."""
        values = body["view"]["state"]["values"]
        title = str(values["title"]["value"].get("value") or "")
        severity = str((values["severity"]["value"].get("selected_option") or {}).get("value") or "P2")
        rules.declare(title, Severity(severity), None, TOBAN, self.desk.world.clock.now())
        metadata = str(body["view"].get("private_metadata") or "")
        await self._keep(body, account, actions.DECLARE_FORM, metadata, text=title, severity=severity)
        await ack()

    async def resolved(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The resolve form was submitted."""
        summary = str(body["view"]["state"]["values"]["summary"]["value"].get("value") or "")
        subject = str(body["view"].get("private_metadata") or "")
        if not subject:
            raise Refused("refused.unknown_action")
        await self._keep(body, account, actions.RESOLVE_FORM, subject, text=summary, silent=True)
        await ack()


def read_incident(text: str) -> Typed:
    """``/incident TEXT``. A number may stand in front of its verb, and alone it is shown."""
    typed = read(INCIDENT, text)
    if typed.verb is not None:
        return typed
    line = Line(said(text))
    subject = take_number(line, SubjectKind.INCIDENT)
    verb = "show" if line.is_over else next_verb(line, INCIDENT)
    if subject is None or verb not in _OF_ONE:
        return typed
    return Typed(INCIDENT, verb, INCIDENT.verbs[verb].act, line, subject)


def _number(line: Line) -> Subject | None:
    """The incident that is named; ``None`` where nothing was typed. Refused for anything else."""
    subject = take_number(line, SubjectKind.INCIDENT)
    if subject is None and not line.is_empty:
        raise Refused("refused.not_a_number", given=line.rest()[:50])
    return subject


def _demand_one(line: Line, subject: Subject | None) -> None:
    """Words behind a number are a person's own; a second number is asked back."""
    second = named_in(line.left, SubjectKind.INCIDENT) or take_number(line, SubjectKind.INCIDENT)
    if subject is not None and second is not None:
        raise Refused("refused.one_at_a_time", number=f"INC-{subject.id}")


def _key(subject: Subject | None) -> str:
    return subject.key if subject is not None else ""


def _unknown(typed: Typed) -> Refused:
    """Who typed a severity and a title may have left out a word, unless an incident of now is meant."""
    line = Line(typed.line.text)
    word = line.peek()
    if typed.subject is not None or named_in(line.left, SubjectKind.INCIDENT) is not None:
        return typed.unknown()
    try:
        severity = declared.read(line).severity
    except Refused as unclear:
        return unclear
    if severity is None:
        return typed.unknown()
    meant = f"/incident declare {severity.value} …"
    return Refused(
        "refused.unknown_command_near", given=f"/incident {word}"[:60], meant=meant, command="/incident"
    )
