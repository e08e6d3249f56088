"""What flows ask of the stage besides its own words: copies, raw texts, rows, calls."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from sandbox.slack.api import ApiCall
from sandbox.slack.reading import Message
from sandbox.slack.records import Post
from sandbox.slack.state import Change
from sandbox.stage import Stage
from storage.rows import table
from storage.tables import EscalationRow, IncidentRow, OutboxRow, PageRow

OUTBOX, INCIDENT, ESCALATION, PAGE = map(table, (OutboxRow, IncidentRow, EscalationRow, PageRow))

__all__ = [
    "ESCALATION",
    "INCIDENT",
    "OUTBOX",
    "PAGE",
    "Change",
    "bot_posts",
    "copies",
    "notes",
    "posts_to",
    "raw_texts",
    "rows",
    "twice",
    "unsent",
]


def notes(stage: Stage, channel: str, number: int = -1) -> list[str]:
    """The lines in the thread of one message of a channel."""
    return [reply.plain for reply in stage.thread(stage.channel(channel)[number])]


def bot_posts(stage: Stage) -> list[Post]:
    """Everything that the bot has standing in Slack, oldest first; tombstones left out."""
    posts = stage.slack.state.posts.values()
    return sorted((post for post in posts if post.by_app and not post.tombstone), key=lambda post: post.ts)


def copies(stage: Stage) -> Counter[str]:
    """How often each message of the outbox stands in Slack, by its key."""
    return Counter(post.metadata["event_payload"]["key"] for post in bot_posts(stage) if post.metadata)


def twice(stage: Stage) -> dict[str, int]:
    """The messages that stand in Slack more than once; empty where all is well."""
    return {key: count for key, count in copies(stage).items() if count > 1}


def posts_to(stage: Stage, channel: str, method: str = "chat.postMessage") -> list[ApiCall]:
    """The calls of a method that spoke to a channel, refused ones too."""
    wanted = stage.slack.channel_id(channel)
    return [
        call for call in stage.slack.calls if call.method == method and call.params.get("channel") == wanted
    ]


async def rows(stage: Stage, query: sa.Select[Any]) -> list[dict[str, Any]]:
    """Rows of the bot's own database."""
    async with stage.bot.store.read() as tx:
        return [dict(row) for row in await tx.rows(query)]


async def unsent(stage: Stage) -> list[str]:
    """Keys of messages that are still to be sent, or that were given up."""
    waiting = OUTBOX.c.status.in_(["pending", "dead"])
    return [row["key"] for row in await rows(stage, sa.select(OUTBOX.c.key).where(waiting))]


def raw_texts(value: Any) -> Iterator[str]:
    """Every text that Slack reads as markup: fallbacks and ``mrkdwn`` objects, however deep."""
    match value:
        case Post():
            yield value.text
            yield from raw_texts(value.blocks or [])
        case {"type": "mrkdwn", "text": str(text)}:
            yield text
        case dict():
            for inner in value.values():
                yield from raw_texts(inner)
        case list() | tuple():
            for inner in value:
                yield from raw_texts(inner)


def alert_cards(stage: Stage, channel: str = "#alerts") -> list[Message]:
    """The cards of alerts in a channel, without the daily list of what is still open."""
    return [one for one in stage.channel(channel) if not _key(one).startswith("still-open:")]


def pages(stage: Stage, who: str) -> list[Message]:
    """The pages in a person's direct messages; people are written to about other things as well."""
    return [one for one in stage.dms(who) if _key(one).startswith("page:")]


def _key(message: Message) -> str:
    """Of what a message of ours shows; empty for anybody else's."""
    return str(((message.metadata or {}).get("event_payload") or {}).get("key", ""))
