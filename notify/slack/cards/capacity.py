"""The answer to ``/toban capacity``: growth, forecast and advice for one service."""

from domain.effects import Text
from domain.outbox import Rendered
from notify.slack.blocks import Block, section
from notify.texts import Voice

LINES = 12
"""Lines in one block: a block takes 3,000 characters."""


def capacity_card(voice: Voice, service: str, lines: list[Text]) -> Rendered:
    """``lines`` as the report has them, without the service's own."""
    if not lines:
        text = voice("capacity.nothing", service=service)
        return Rendered(text=text, blocks=[section(text)])
    head = voice("capacity.head", service=service)
    return Rendered(text=head, blocks=[section(f"*{head}*"), *in_sections(voice, lines)])


def in_sections(voice: Voice, lines: list[Text] | tuple[Text, ...]) -> list[Block]:
    """Lines of text, a dozen to a block; what does not fit a message is left out."""
    shown = [voice.say(line) for line in lines]
    parts = [shown[start : start + LINES] for start in range(0, len(shown), LINES)]
    return [section("\n".join(part)) for part in parts[:45]]
