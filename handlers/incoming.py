"""Cleans what comes from Slack before any listener sees it: the one place for text of people."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from domain.text import without_controls

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp


def register(app: "AsyncApp") -> None:
    """Runs before every listener. The body is changed in place, since listeners share it."""

    async def clean(body: dict[str, Any], next: Callable[[], Awaitable[None]]) -> None:  # noqa: A002
        body.update(cleaned(body))
        await next()

    app.middleware(clean)


def cleaned(value: Any) -> Any:
    """The same JSON without control characters and lone surrogates in its texts; keys stay as they are."""
    match value:
        case str():
            return without_controls(value)
        case dict():
            return {key: cleaned(inner) for key, inner in value.items()}
        case list():
            return [cleaned(inner) for inner in value]
        case _:
            return value
