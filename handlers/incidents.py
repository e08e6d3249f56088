"""``/incident``, the incident card's buttons, and the forms."""

import difflib
import re
from typing import TYPE_CHECKING, Any

from domain import incidents as rules
from domain.approvals import Account
from domain.effects import TOBAN, Subject, SubjectKind
from domain.errors import Outage, Refused, Undeliverable
from domain.policy import Severity
from domain.views import IncidentView
from handlers.acts import incident_act
from handlers.slack import Body, Desk, subject_of, typed
from notify.slack import actions
from notify.slack.cards.incidents import incident_card, open_now
from notify.slack.links import Links
from notify.slack.views.incidents import declare_form, resolve_form

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

VERBS = ("declare", "list", "show", "ack", "resolve", "help")

_ID = re.compile(r"(?:INC-)?(\d{1,9})", re.IGNORECASE)
_SEVERITY = re.compile(r"P[0-3]", re.IGNORECASE)


def register(app: "AsyncApp", desk: Desk) -> None:
    """Commands, buttons and forms of incidents."""
    taken = _Incidents(desk)
    app.command("/incident")(desk.command(incident_act, taken.command))
    for act in (actions.INCIDENT_ACKNOWLEDGE, actions.PAGE_ACKNOWLEDGE):
        app.action(act)(desk.button(act, taken.press(act)))
    app.action(actions.INCIDENT_RESOLVE)(desk.button(actions.INCIDENT_RESOLVE, taken.open_resolve))
    app.action(actions.INCIDENT_DECLARE)(desk.button(actions.INCIDENT_DECLARE, taken.open_declare))
    app.view(actions.DECLARE_FORM)(desk.form(actions.DECLARE_FORM, taken.declared, "title"))
    app.view(actions.RESOLVE_FORM)(desk.form(actions.RESOLVE_FORM, taken.resolved, "summary"))


class _Incidents:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def command(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """``/incident VERB …``: reading verbs are answered here, the others are kept first."""
        verb, _, rest = typed(str(body.get("text") or "")).strip().partition(" ")
        rest = rest.strip()
        match verb.casefold():
            case "" | "list":
                await self._list(ack, body)
            case "help":
                await ack(text=self.desk.voice(body)("help.incident"))
            case "show":
                await self._show(ack, body, rest)
            case "declare" if not rest or (_SEVERITY.fullmatch(rest) is not None):
                severity = Severity(rest.upper()) if rest else Severity.P2
                await self._form(body, declare_form(self.desk.voice(body), severity=severity))
                await ack()
            case "declare":
                await self._declare(body, account, rest)
                await ack()
            case "ack":
                await self._keep(body, account, actions.INCIDENT_ACKNOWLEDGE, _subject(rest))
                await ack()
            case "resolve":
                found = _ID.match(rest)
                named, summary = rest.split(maxsplit=1) if " " in rest else (rest, "")
                if found is None or not _ID.fullmatch(named):
                    named, summary = "", rest
                await self._keep(body, account, actions.RESOLVE_FORM, _subject(named), text=summary)
                await ack()
            case other:
                meant = next(iter(difflib.get_close_matches(other, VERBS, 1, 0.3)), "help")
                raise Refused(
                    "refused.unknown_command", given=f"/incident {other}", meant=f"/incident {meant}"
                )

    async def _list(self, ack: "AsyncAck", body: Body) -> None:
        async with self.desk.world.store.read() as tx:
            view = await tx.open_now(self.desk.world.clock.now())
        shown = open_now(self.desk.voice(body), view)
        await ack(text=shown.text, blocks=shown.blocks)

    async def _show(self, ack: "AsyncAck", body: Body, rest: str) -> None:
        async with self.desk.world.store.read() as tx:
            named = _subject(rest)
            if not named:
                found = await tx.open_incidents()
                if len(found) != 1:
                    numbers = ", ".join(one.number for one in found[:10])
                    raise (
                        Refused("refused.which_one", numbers=numbers)
                        if found
                        else Refused("refused.none_open")
                    )
                named = found[0].subject.key
            view = await tx.view(Subject.parse(named))
        if not isinstance(view, IncidentView):
            raise Refused("refused.unknown_incident", number=f"INC-{Subject.parse(named).id}")
        shown = incident_card(self.desk.voice(body), view, Links(self.desk.chat.directory.team_url))
        await ack(text=shown.text, blocks=shown.blocks)

    async def _declare(self, body: Body, account: Account, rest: str) -> None:
        first, _, title = rest.partition(" ")
        severity = first.upper() if _SEVERITY.fullmatch(first) else Severity.P2.value
        said = title.strip() if _SEVERITY.fullmatch(first) else rest
        rules.declare(said, Severity(severity), None, TOBAN, self.desk.world.clock.now())
        await self._keep(body, account, actions.DECLARE_FORM, "", text=said, severity=severity)

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
        await self._form(body, resolve_form(self.desk.voice(body), view.incident))
        await ack()

    async def open_declare(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The Declare button below a list."""
        await self._form(body, declare_form(self.desk.voice(body)))
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
        await self._keep(
            body, account, actions.DECLARE_FORM, metadata, text=title, severity=severity, silent=True
        )
        await ack()

    async def resolved(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The resolve form was submitted."""
        summary = str(body["view"]["state"]["values"]["summary"]["value"].get("value") or "")
        subject = str(body["view"].get("private_metadata") or "")
        await self._keep(body, account, actions.RESOLVE_FORM, subject, text=summary, silent=True)
        await ack()


def _subject(given: str) -> str:
    """``incident:12`` for ``INC-12`` or ``12``; empty where none was named. Refused for anything else."""
    if not given:
        return ""
    found = _ID.fullmatch(given.strip())
    if found is None:
        raise Refused("refused.not_a_number", given=given[:50])
    return Subject(kind=SubjectKind.INCIDENT, id=int(found[1])).key
