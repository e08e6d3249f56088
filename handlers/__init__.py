"""Something happened: a person clicked or a machine called."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from handlers.interpret import interpreters
from handlers.slack import Desk

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

__all__ = ["Desk", "interpreters", "register"]


def register(app: "AsyncApp", desk: Desk) -> None:
    """The table of contents: every command, button and form, and what takes the rest."""
    from handlers import alerts, backups, deploys, home, incidents, incoming, people, slack, toban

    incoming.register(app)
    tables: list[Callable[[AsyncApp, Desk], None]] = [
        incidents.register,
        alerts.register,
        toban.register,
        deploys.register,
        backups.register,
        home.register,
        people.register,
        slack.register,
    ]
    for table in tables:
        table(app, desk)
