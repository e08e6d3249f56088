"""The form that asks for a deploy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from notify.slack import actions
from notify.slack.blocks import Block, context, select, text_input
from notify.slack.cards.rollout_plan import code
from notify.slack.escape import plain
from notify.texts import Voice

IMAGE_LIMIT = 512
"""Characters of an image's name."""

OPTIONS = 100
"""Services in one menu: Slack takes no more."""

DESCRIBED = 8
"""Services of which the form says what they serve; of more nobody would read it."""

IMAGES = 3
"""Images of one service that are named."""


@dataclass(frozen=True, slots=True)
class DeployChoice:
    """A service that can be deployed, and the images that were deployed to it last.

    ``revision`` serves ``percent`` of its traffic, as far as Toban knows without asking Google.
    """

    service: str
    recent_images: tuple[str, ...] = ()
    revision: str | None = None
    percent: int | None = None


def deploy_form(voice: Voice, choices: Sequence[DeployChoice]) -> dict[str, Any]:
    """Service and image; steps and bake where they should differ from the policy's.

    An image is filled in only where there is one service: beside another it would be that one's code.
    """
    only = choices[0].recent_images[:1] if len(choices) == 1 else ()
    options = [(one.service, one.service) for one in choices][:OPTIONS]
    now = [line for one in choices[:DESCRIBED] if (line := _now(voice, one))]
    blocks: list[Block] = [
        select("service", voice.plain("form.service"), options, options[0][0]),
        *([context(*now)] if now else []),
        text_input(
            "image",
            voice.plain("form.image"),
            initial=only[0] if only else None,
            hint=voice.plain("form.image_hint"),
            max_length=IMAGE_LIMIT,
        ),
        text_input(
            "steps",
            voice.plain("form.steps"),
            hint=voice.plain("form.steps_hint"),
            max_length=40,
            optional=True,
        ),
        text_input(
            "bake", voice.plain("form.bake"), hint=voice.plain("form.bake_hint"), max_length=10, optional=True
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
