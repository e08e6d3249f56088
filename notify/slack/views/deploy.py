"""The form that asks for a deploy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from notify.slack import actions
from notify.slack.blocks import Block, context, select, text_input
from notify.slack.escape import plain
from notify.texts import Voice

IMAGE_LIMIT = 512
"""Characters of an image's name."""


@dataclass(frozen=True, slots=True)
class DeployChoice:
    """A service that can be deployed, and the images that were deployed to it last."""

    service: str
    recent_images: tuple[str, ...] = ()


def deploy_form(voice: Voice, choices: Sequence[DeployChoice]) -> dict[str, Any]:
    """Service and image; steps and bake where they should differ from the policy's."""
    recent = list(dict.fromkeys(image for one in choices for image in one.recent_images))
    options = [(one.service, one.service) for one in choices][:100]
    blocks: list[Block] = [
        select("service", voice.plain("form.service"), options, options[0][0]),
        text_input(
            "image",
            voice.plain("form.image"),
            initial=recent[0] if recent else None,
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


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": plain(text, 24)}
