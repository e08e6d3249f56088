"""The form that asks for a deploy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from domain.rollouts import REASON_LIMIT, Kind, Rollout
from notify.slack import actions
from notify.slack.blocks import Block, context, section, select, suggested, text_input
from notify.slack.cards.rollout_plan import code, shown_image
from notify.slack.escape import clamp, plain
from notify.texts import Voice

IMAGE_LIMIT = 512
"""Characters of an image's name."""

OPTIONS = 100
"""Services in one menu: Slack takes no more."""

CHOICES = 100
"""Tags in the menu, of all services together."""

VALUE_LIMIT = 150
"""Characters of a choice's value: Slack takes no more."""

DESCRIBED = 8
"""Services of which the form says what they serve; of more nobody would read it."""

IMAGES = 3
"""Images of one service that are named."""


@dataclass(frozen=True, slots=True)
class DeployChoice:
    """A service that can be deployed, and the images that were deployed to it last.

    ``revision`` serves ``percent`` of its traffic, as far as Toban knows without asking Google. ``steps``
    and ``bake`` are the policy's.
    """

    service: str
    recent_images: tuple[str, ...] = ()
    revision: str | None = None
    percent: int | None = None
    steps: tuple[int, ...] = (100,)
    bake: timedelta = timedelta()


def deploy_form(voice: Voice, choices: Sequence[DeployChoice]) -> dict[str, Any]:
    """Service and image, picked by tag or written out; steps and bake where they should differ from the
    policy's.
    """
    options = [(one.service, one.service) for one in choices][:OPTIONS]
    now = [line for one in choices[:DESCRIBED] if (line := _now(voice, one))]
    blocks: list[Block] = [
        select("service", voice.plain("form.service"), options, options[0][0]),
        *([context(*now)] if now else []),
        suggested(
            "tag",
            voice.plain("form.tag"),
            actions.DEPLOY_TAG,
            hint=voice.plain("form.tag_hint"),
            optional=True,
        ),
        text_input(
            "image",
            voice.plain("form.image"),
            hint=voice.plain("form.image_hint"),
            max_length=IMAGE_LIMIT,
            optional=True,
        ),
        text_input(
            "steps",
            voice.plain("form.steps"),
            hint=voice.plain("form.steps_hint", defaults=_defaults(choices, _steps)),
            max_length=40,
            optional=True,
        ),
        text_input(
            "bake",
            voice.plain("form.bake"),
            hint=voice.plain("form.bake_hint", defaults=_defaults(choices, _bake)),
            max_length=10,
            optional=True,
        ),
        context(voice("form.deploy_notice")),
    ]
    return {
        "type": "modal",
        "callback_id": actions.DEPLOY_FORM,
        "title": _plain(voice.plain("form.deploy_title")),
        "submit": _plain(voice.plain("form.deploy_submit")),
        "close": _plain(voice.plain("button.cancel")),
        "blocks": blocks,
    }


def _defaults(choices: Sequence[DeployChoice], shown: Callable[[DeployChoice], str]) -> str:
    """What an empty field stands for: once where it is the same for all services, else for each of them."""
    same = {shown(one) for one in choices}
    if len(same) == 1:
        return same.pop()
    return ", ".join(f"{one.service} {shown(one)}" for one in choices[:DESCRIBED])


def _steps(choice: DeployChoice) -> str:
    return ",".join(map(str, choice.steps))


def _bake(choice: DeployChoice) -> str:
    minutes, seconds = divmod(int(choice.bake.total_seconds()), 60)
    return f"{minutes}m" if not seconds else f"{int(choice.bake.total_seconds())}s"


def reject_form(voice: Voice, rollout: Rollout) -> dict[str, Any]:
    """Why a deploy is rejected, in a few words; whoever asked for it reads them."""
    key = "confirm.reject" if rollout.kind is Kind.DEPLOY else "confirm.reject_rollback"
    baseline = rollout.plan.baseline if rollout.plan is not None else "—"
    image = clamp(shown_image(rollout), 80) if rollout.image else "—"
    what = voice(key, service=rollout.service, image=image, baseline=baseline)
    return {
        "type": "modal",
        "callback_id": actions.REJECT_FORM,
        "private_metadata": rollout.subject.key,
        "title": _plain(voice.plain("form.reject_title", number=rollout.number)),
        "submit": _plain(voice.plain("button.reject")),
        "close": _plain(voice.plain("button.cancel")),
        "blocks": [
            section(what),
            text_input(
                "reason",
                voice.plain("form.reject_reason"),
                multiline=True,
                hint=voice.plain("form.reject_hint", who=rollout.requester),
                max_length=REASON_LIMIT,
                optional=True,
            ),
        ],
    }


def tag_menu(found: Mapping[str, Sequence[tuple[str, str, datetime | None]]], zone: str) -> dict[str, Any]:
    """The choices of the menu of tags: of each service (image, tag, when it came), newest first.

    The value names the service too, since it may be chosen anew afterwards. A name too long for a menu
    has to be written out.
    """
    each = max(1, CHOICES // max(1, len(found)))
    groups = []
    for service, tags in found.items():
        made = [
            {"text": _shown(tag, came, zone), "value": f"{service} {image}"}
            for image, tag, came in tags
            if len(f"{service} {image}") <= VALUE_LIMIT
        ]
        if made:
            label = {"type": "plain_text", "text": plain(service, 75)}
            groups.append({"label": label, "options": made[:each]})
    return {"option_groups": groups[:OPTIONS]} if groups else {"options": []}


def picked(value: str) -> tuple[str, str]:
    """Service and image of a choice."""
    service, _, image = value.rpartition(" ")
    return service, image


def _shown(tag: str, came: datetime | None, zone: str) -> dict[str, Any]:
    when = f" · {came.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" if came is not None else ""
    return {"type": "plain_text", "text": plain(tag, 75 - len(when)) + when}


def _now(voice: Voice, choice: DeployChoice) -> str:
    """What a service serves, and its last images; empty where Toban knows neither."""
    parts = []
    if choice.revision is not None:
        percent = choice.percent if choice.percent is not None else 100
        parts.append(voice("form.serves", revision=code(choice.revision), percent=percent))
    if choice.recent_images:
        # In full, since this is what may be typed below.
        images = [code(image, 200) for image in choice.recent_images[:IMAGES]]
        parts.append(voice("form.recent_images", images=", ".join(images)))
    return voice("form.service_now", service=choice.service, now=" · ".join(parts)) if parts else ""


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": plain(text, 24)}
