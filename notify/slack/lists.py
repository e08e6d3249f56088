"""Lists of lines in a message: whole ones, as many as Slack takes."""

from collections.abc import Iterable

from notify.slack.blocks import Block, context, section
from notify.texts import Voice

SECTION, ROOM = 2900, 9000
"""Characters in one block of a list, and in all: Slack takes 3,000, and somewhat above 10,000."""


def listed(
    voice: Voice, lines: Iterable[str], *, head: str = "", room: int = ROOM, most: int = 1000
) -> list[Block]:
    """Whole lines in as few blocks as hold them, for of a link or a date that is cut in two the markup shows.

    What is more than ``most`` lines, or than ``room`` characters, is counted.
    """
    parts = [head] if head else []
    total, left = len(head), 0
    for number, one in enumerate(lines):
        total += len(one) + 1
        if number >= most or (total > room and parts):
            left += 1
        elif parts and len(parts[-1]) + len(one) < SECTION:
            parts[-1] += f"\n{one}"
        else:
            parts.append(one)
    blocks = [section(part) for part in parts]
    return [*blocks, context(voice("alert.and_more", count=left))] if left else blocks
