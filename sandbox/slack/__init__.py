"""A strict pretend Slack workspace over real HTTP and Socket Mode, with a web page, for demo and tests."""

from sandbox.slack.delivery import Delivery
from sandbox.slack.reading import Message
from sandbox.slack.roster import BONDPOINT, Channel, Group, Person, Roster
from sandbox.slack.workspace import Workspace
from sandbox.slack.world import WorldButton

__all__ = [
    "BONDPOINT",
    "Channel",
    "Delivery",
    "Group",
    "Message",
    "Person",
    "Roster",
    "Workspace",
    "WorldButton",
]
