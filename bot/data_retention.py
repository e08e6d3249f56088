"""Reads the policy's section ``retention``: how long what is over is remembered."""

from datetime import timedelta

from yaml import Node

from bot.sheet import Sheet
from domain.data_retention import ALERTS_AT_LEAST, BODIES_AT_LEAST, DataRetention

SECTION = "retention"

LONGEST = timedelta(days=36_500)
"""A hundred years; dates further back than that do not exist everywhere."""


def read_retention(node: Node | None, sheet: Sheet) -> DataRetention:
    """The section, with its defaults where it is silent."""
    parts = sheet.fields(node, SECTION, ("bodies", "alerts"))
    usual = DataRetention()
    bodies = _length(parts.get("bodies"), f"{SECTION}.bodies", BODIES_AT_LEAST, "1h", sheet)
    alerts = _length(parts.get("alerts"), f"{SECTION}.alerts", ALERTS_AT_LEAST, "7d", sheet)
    found = DataRetention(bodies=bodies or usual.bodies, alerts=alerts or usual.alerts)
    if found.bodies > found.alerts:
        at = parts.get("bodies") or parts.get("alerts")
        sheet.wrong(
            at,
            "retention.bodies must not be longer than retention.alerts (7d and 90d where left out):"
            " a body is of no use without its alert",
        )
    return found


def _length(node: Node | None, where: str, least: timedelta, shown: str, sheet: Sheet) -> timedelta | None:
    length = sheet.duration(node, where)
    if length is None or node is None:
        return None
    if length < least:
        sheet.wrong(node, f"{where} must be at least {shown}")
        return None
    if length > LONGEST:
        sheet.wrong(node, f"{where} must be at most 36500d")
        return None
    return length
