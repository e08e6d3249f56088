"""The answer to ``/toban capacity``: growth, forecast and advice for one service."""

from domain.effects import Text
from domain.outbox import Rendered
from notify.slack.blocks import Block, section
from notify.slack.lists import listed
from notify.texts import Voice


def capacity_card(voice: Voice, service: str, lines: list[Text]) -> Rendered:
    """``lines`` as the report has them, without the service's own."""
    if not lines:
        text = voice("capacity.nothing", service=service)
        return Rendered(text=text, blocks=[section(text)])
    head = voice("capacity.head", service=service)
    return Rendered(text=head, blocks=[section(f"*{head}*"), *in_sections(voice, lines)])


def in_sections(voice: Voice, lines: list[Text] | tuple[Text, ...]) -> list[Block]:
    """Lines of text in blocks; what does not fit a message is counted."""
    return listed(voice, (voice.say(line) for line in lines))
