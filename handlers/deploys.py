"""``/deploy``, the buttons of a deploy's card, and the form."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from domain import approvals, origins
from domain import rollouts as rules
from domain.approvals import Account
from domain.authority import Act
from domain.cloudrun import RunRefused
from domain.effects import Subject, SubjectKind, Text
from domain.errors import Outage, Refused
from domain.outbox import Rendered
from domain.policy import Service
from domain.rollouts import Kind, Rollout, Stage
from domain.text import has_name
from handlers import deploy_words
from handlers.commands import DEPLOY, Typed, nearest, read
from handlers.deploy_words import Asked
from handlers.numbers import named_in, take_number
from handlers.requests import DeployRequest
from handlers.slack import Body, Desk, subject_of
from handlers.typed import Line
from notify.slack import actions
from notify.slack.cards.rollouts import frozen_card, history_card, plan_card, rollouts_card
from notify.slack.views.deploy import DeployChoice, deploy_form, picked, reject_form, tag_menu
from notify.texts import Voice
from operations import deploys, planning
from operations.tags import Catalogue

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncAck, AsyncApp

log = structlog.get_logger(__name__)

ACTS = {
    "pause": actions.ROLLOUT_PAUSE,
    "resume": actions.ROLLOUT_RESUME,
    "promote": actions.ROLLOUT_PROMOTE,
    "abort": actions.ROLLOUT_ABORT,
}

BUTTONS = (
    actions.ROLLOUT_APPROVE,
    actions.ROLLOUT_PAUSE,
    actions.ROLLOUT_RESUME,
    actions.ROLLOUT_PROMOTE,
    actions.ROLLOUT_WAIT,
    actions.ROLLOUT_ABORT,
    actions.ROLLOUT_BACK,
)

PAST = 10
"""Deploys in one history."""


def register(app: "AsyncApp", desk: Desk) -> None:
    """Command, buttons and form of deploys."""
    taken = _Deploys(desk)
    app.command("/deploy")(desk.command(read_deploy, taken.command))
    for act in BUTTONS:
        app.action(act)(desk.button(act, taken.press(act)))
    app.action(actions.ROLLOUT_REJECT)(desk.button(actions.ROLLOUT_REJECT, taken.open_reject))
    app.view(actions.REJECT_FORM)(desk.form(actions.REJECT_FORM, taken.rejected, "reason"))
    app.options(actions.DEPLOY_TAG)(desk.menu(actions.DEPLOY_TAG, taken.tags))
    app.view(actions.DEPLOY_FORM)(desk.form(actions.DEPLOY_FORM, taken.submitted, "image"))


def _deployed_image(rollout: Rollout) -> str | None:
    """What became the serving image; by its tag only where that was verified to be its digest."""
    plan = rollout.plan
    if rollout.stage is not Stage.DONE or rollout.kind is not Kind.DEPLOY or plan is None:
        return None
    return f"{origins.name_of(plan.image)}:{plan.named}" if plan.named else plan.image


class _Deploys:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.catalogue = Catalogue(desk.world, desk.later)

    async def command(self, ack: "AsyncAck", body: Body, account: Account, typed: Typed) -> None:
        """``/deploy …``: what only reads is answered here, what changes anything is kept first."""
        line = typed.line
        match typed.verb:
            case "":
                await self._open_form(body)
                await ack()
            case "help":
                await ack(text=self.desk.voice(body)("help.deploy"))
            case "status":
                await self._status(ack, body, line.word())
            case "freeze":
                await self._frozen(ack, body, line)
            case "history":
                await self._history(ack, body, self._service(line.word()))
            case "diff":
                self._dry_run(body, self._in_order(deploy_words.read(line)))
                await ack()
            case "pause" | "resume" | "promote" | "abort" as what:
                await self._act(ack, body, account, ACTS[what], typed)
            case "rollback":
                await self._rollback(ack, body, account, line)
            case "lock" | "unlock":
                await self._lock(ack, body, account, typed)
            case _:
                await self._deploy(ack, body, account, typed)

    async def _deploy(self, ack: "AsyncAck", body: Body, account: Account, typed: Typed) -> None:
        """What begins with no verb: a service and an image, or a slip of the pen."""
        first = typed.line.peek()
        if not self._is_service(first) and (harm := deploy_words.meant(typed.line)) is not None:
            raise harm
        if not self._is_service(first) and (_is_slip(first) or len(typed.line.left.split()) < 2):
            raise typed.unknown()
        asked = self._in_order(deploy_words.read(typed.line))
        service = self._service(asked.service)
        if asked.image.casefold() in DEPLOY.verbs:
            raise Refused("refused.deploy_usage", given=f"{asked.service} {asked.image}"[:100])
        if asked.dry_run:
            await ack()
            self._dry_run(body, asked)
            return
        await self.catalogue.demand(service, asked.image)
        deploy = DeployRequest(
            service=service.name,
            image=asked.image,
            steps=asked.steps,
            bake=int(asked.bake.total_seconds()) if asked.bake is not None else None,
            emergency=asked.emergency,
        )
        await self._keep(body, account, actions.DEPLOY_REQUEST, deploy=deploy)
        await ack()

    def _in_order(self, asked: Asked) -> Asked:
        """The service first, where somebody wrote the image before it."""
        if self._is_service(asked.image) and not self._is_service(asked.service):
            return replace(asked, service=asked.image, image=asked.service)
        return asked

    async def _rollback(self, ack: "AsyncAck", body: Body, account: Account, line: Line) -> None:
        words: list[str] = []
        emergency = None
        while not line.is_done:  # What cannot be seen is no revision, and not none either.
            match deploy_words.take_option(line):
                case "":
                    words.append(line.word())
                case "emergency":
                    emergency = deploy_words.reason(line)
                case _:
                    raise Refused("refused.rollback_usage")
        named, *more = words or [""]
        if len(more) > 1 or not all(has_name(one) for one in more) or (named and not has_name(named)):
            raise Refused("refused.rollback_usage")
        service, revision = self._service(named), more[0] if more else None
        await self._demand_rollback(service, revision)
        deploy = DeployRequest(service=service.name, revision=revision, emergency=emergency)
        await self._keep(body, account, actions.DEPLOY_ROLLBACK, deploy=deploy)
        await ack()

    async def _demand_rollback(self, service: Service, revision: str | None) -> None:
        """Behind another rollout it is planned later, on what serves then."""
        if revision is not None:
            deploys.demand_revision(revision)
        world = self.desk.world
        async with world.store.read() as tx:
            if await tx.live_rollout(service.name) is not None:
                return
        now = world.clock.now()
        rollout = deploys.imagined(
            world.policy, service, "", None, None, now, kind=Kind.ROLLBACK, to_revision=revision
        )
        await planning.demand(world, rollout)

    async def _lock(self, ack: "AsyncAck", body: Body, account: Account, typed: Typed) -> None:
        deploy = DeployRequest(service=self._service(typed.line.word()).name)
        if typed.verb == "unlock":
            typed.demand_end()
            await self._keep(body, account, actions.DEPLOY_UNLOCK, deploy=deploy)
        else:
            reason = deploy_words.reason(typed.line)
            if not reason:
                raise Refused("refused.no_lock_reason")
            await self._keep(body, account, actions.DEPLOY_LOCK, deploy=deploy, text=reason)
        await ack()

    async def _act(self, ack: "AsyncAck", body: Body, account: Account, act: str, typed: Typed) -> None:
        """Who aborts may say why; words behind another verb could ask for more than it does."""
        line = typed.line
        subject = take_number(line, SubjectKind.ROLLOUT)
        named = "" if subject is not None else line.word()
        if typed.verb != "abort" or named_in(line.left, SubjectKind.ROLLOUT) is not None:
            typed.demand_end()
        value = subject.key if subject is not None else await self._meant(named)
        reason = deploy_words.reason(line) if typed.verb == "abort" and not line.is_empty else ""
        await self._keep(body, account, act, value=value, text=reason)
        await ack()

    async def _meant(self, named: str) -> str:
        """The deploy that is meant: of the service, or the only one that is on its way."""
        async with self.desk.world.store.read() as tx:
            if named:
                return (await deploys.live(tx, self._service(named))).subject.key
            running = await tx.open_rollouts()
        if not running:
            raise Refused("refused.none_live")
        if len(running) > 1:
            raise Refused("refused.which_deploy", numbers=[one.number for one in running])
        return running[0].subject.key

    async def _frozen(self, ack: "AsyncAck", body: Body, line: Line) -> None:
        """``freeze`` only shows. Whoever asks for a freeze reads that nothing was frozen, and what would."""
        if not line.is_empty:
            first = line.peek()
            service = first if self._is_service(first) else "SERVICE"
            raise Refused("refused.freeze_only_shows", service=service)
        frozen = deploys.frozen_now(self.desk.world.policy, self.desk.world.clock.now())
        async with self.desk.world.store.read() as tx:
            locks = await tx.locks()
        shown = frozen_card(self.desk.voice(body), locks, frozen)
        await ack(text=shown.text, blocks=shown.blocks)

    async def _status(self, ack: "AsyncAck", body: Body, named: str) -> None:
        service = self._service(named) if named else None
        policy, now = self.desk.world.policy, self.desk.world.clock.now()
        async with self.desk.world.store.read() as tx:
            running = [
                one for one in await tx.open_rollouts() if service is None or service == self._known(one)
            ]
            locks = await tx.locks()
        frozen = deploys.frozen_now(policy, now)
        shown = rollouts_card(self.desk.voice(body), running, locks, frozen)
        await ack(text=shown.text, blocks=shown.blocks)

    def _known(self, rollout: Rollout) -> Service | None:
        services = deploys.deployable(self.desk.world.policy)
        return next((one for one in services if one.name == rollout.service), None)

    async def _history(self, ack: "AsyncAck", body: Body, service: Service) -> None:
        async with self.desk.world.store.read() as tx:
            past = await tx.rollouts_of(service.name, PAST)
        shown = history_card(self.desk.voice(body), service.name, past)
        await ack(text=shown.text, blocks=shown.blocks)

    def _is_service(self, named: str) -> bool:
        services = deploys.deployable(self.desk.world.policy)
        return named.casefold() in {service.name.casefold() for service in services}

    def _service(self, named: str) -> Service:
        if not deploys.deployable(self.desk.world.policy):
            raise Refused("refused.no_deployable")
        return deploys.service_named(self.desk.world.policy, named)

    # The dry run: looked at, told to the one who asked, and forgotten.

    def _dry_run(self, body: Body, asked: Asked) -> None:
        service = self._service(asked.service)

        async def look(voice: Voice) -> Rendered:
            world = self.desk.world
            rollout = deploys.imagined(
                world.policy, service, asked.image, asked.steps, asked.bake, world.clock.now()
            )
            planned = await planning.plan(world, rollout)
            return plan_card(voice, rollout.model_copy(update={"plan": planned.plan, **planned.more}))

        self.desk.later(self._told(body, look))

    async def _told(self, body: Body, look: Callable[[Voice], Awaitable[Rendered]]) -> None:
        try:
            shown = await look(self.desk.voice(body))
        except Refused as refusal:
            await self.desk.answer(body, Text(key=refusal.key, params=refusal.params))
        except planning.CannotPlan as cannot:
            await self.desk.answer(body, cannot.text)
        except RunRefused as refused:
            await self.desk.answer(body, Text(key="refused.not_read", params={"why": refused.detail[:300]}))
        except Outage as outage:
            await self.desk.answer(body, Text(key="refused.not_read", params={"why": outage.reason}))
        except Exception:
            log.exception("deploy.dry_run_failed")
            await self.desk.answer(body, Text(key="refused.not_read", params={"why": "internal error"}))
        else:
            await self.desk.tell(body, shown)

    # Buttons and the form.

    def press(self, act: str) -> Any:
        """A button of a card: its value names the deploy, and for an approval what was shown."""

        async def handle(ack: "AsyncAck", body: Body, account: Account) -> None:
            value = str(body["actions"][0].get("value") or "")
            subject, _, shown = value.partition("/")
            try:
                Subject.parse(subject)
            except ValueError:
                raise Refused("refused.unknown_action") from None
            await self._keep(body, account, act, value=subject, text=shown, silent=True)
            await ack()

        return handle

    async def open_reject(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The Reject button asks why first: whoever asked for the deploy is told."""
        self.desk.demand(Act.DEPLOY_REJECT, account)  # Nothing is kept here that would be judged later.
        subject = subject_of(body)
        async with self.desk.world.store.read() as tx:
            rollout = await tx.rollout(subject.id) if subject.kind is SubjectKind.ROLLOUT else None
        if rollout is None:
            raise Refused("refused.unknown_action")
        person = approvals.person_behind(self.desk.world.policy.people, account)
        rule = self.desk.world.policy.deploys.rule(rollout.service)
        rules.may_reject(rollout, rule, person, self.desk.world.clock.now(), self.desk.world.policy.people)
        await self.desk.open_form(body, reject_form(self.desk.voice(body), rollout))
        await ack()

    async def rejected(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The form of the Reject button was submitted."""
        reason = _values(body).get("reason", "").strip()
        if len(reason) > rules.REASON_LIMIT:
            raise Refused("refused.long_reason", limit=rules.REASON_LIMIT)
        subject = str(body["view"].get("private_metadata") or "")
        await self._keep(body, account, actions.REJECT_FORM, value=subject, text=reason, silent=True)
        await ack()

    async def _open_form(self, body: Body) -> None:
        policy = self.desk.world.policy
        found = deploys.deployable(policy)
        if not found:
            raise Refused("refused.no_deployable")
        async with self.desk.world.store.read() as tx:
            choices = []
            for service in found:
                past = await tx.rollouts_of(service.name, PAST)
                images = tuple(dict.fromkeys(filter(None, map(_deployed_image, past))))
                serving = next(
                    (one.plan.revision for one in past if one.stage is Stage.DONE and one.plan), None
                )
                rule = policy.deploys.rule(service.name)
                choice = DeployChoice(
                    service=service.name,
                    recent_images=images,
                    revision=serving,
                    steps=rule.steps,
                    bake=rule.bake,
                )
                choices.append(choice)
        await self.desk.open_form(body, deploy_form(self.desk.voice(body), choices))

    async def tags(self, body: Body) -> dict[str, Any]:
        """The tags that a person may pick from, of the service that is chosen in the form just now."""
        policy, chosen = self.desk.world.policy, _values(body).get("service")
        services = [one for one in deploys.deployable(policy) if chosen in {None, "", one.name}]
        found = await self.catalogue.find(services, str(body.get("value") or ""))
        shown = {
            service: [(str(image), tag.name, tag.uploaded_at) for image, tag in tags]
            for service, tags in found.items()
        }
        return tag_menu(shown, policy.rules.zone)

    async def submitted(self, ack: "AsyncAck", body: Body, account: Account) -> None:
        """The form is checked here, so that what was typed stays where something is wrong."""
        values = _values(body)
        steps = deploy_words.steps_of(values["steps"]) if values.get("steps") else None
        bake = deploy_words.bake_of(values["bake"]) if values.get("bake") else None
        service = self._service(values.get("service", ""))
        image = _image(service, values)
        await self.catalogue.demand(service, image)
        deploy = DeployRequest(
            service=service.name,
            image=image,
            steps=steps,
            bake=int(bake.total_seconds()) if bake is not None else None,
        )
        await self._keep(body, account, actions.DEPLOY_REQUEST, deploy=deploy)
        await ack()

    async def _keep(self, body: Body, account: Account, act: str, **fields: Any) -> None:
        await self.desk.keep(body, self.desk.request(body, act, account, **fields))


def read_deploy(text: str) -> Typed:
    """``/deploy TEXT``: what begins with no verb asks for a deploy, or for its plan alone."""
    typed = read(DEPLOY, text)
    if typed.verb is not None:
        return typed
    if deploy_words.is_dry_run(typed.line):
        return replace(typed, act=Act.DEPLOY_PLAN)
    return replace(typed, act=Act.DEPLOY_REQUEST if len(typed.line.left.split()) > 1 else Act.READ_HELP)


def _is_slip(word: str) -> bool:
    return nearest(word.casefold(), DEPLOY.among("")) is not None


def _image(service: Service, values: dict[str, str]) -> str:
    """The image that was picked or written out. Refused for neither, both, and another service's."""
    line = Line(values.get("image", ""))
    word = line.word()
    written = word if line.is_over else line.text.strip()
    of, image = picked(values.get("tag", ""))
    if not image and not has_name(written):
        raise Refused("refused.no_image")
    if not image:
        return written
    if written not in {"", image}:
        raise Refused("refused.two_images")
    if of != service.name:
        raise Refused("refused.tag_of_another", other=of, service=service.name)
    return image


def _values(body: Body) -> dict[str, str]:
    """What stands in a form, by block."""
    found: dict[str, str] = {}
    for block, inputs in ((body.get("view") or {}).get("state") or {}).get("values", {}).items():
        for element in inputs.values():
            chosen = element.get("selected_option") or {}
            found[block] = str(element.get("value") or chosen.get("value") or "")
    return found
