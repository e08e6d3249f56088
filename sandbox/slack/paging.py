"""Cursors and time windows: how lists and histories are cut into pages."""

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TypeVar

from sandbox.slack.errors import ApiError
from sandbox.slack.ids import micros_of, ts_of
from sandbox.slack.params import Params

T = TypeVar("T")


def cursor_of(kind: str, value: str) -> str:
    """Return an opaque cursor; Slack's are base64 of ``kind:value`` too."""
    return base64.b64encode(f"{kind}:{value}".encode()).decode()


def read_cursor(params: Params, kind: str) -> str:
    """Return the value of the cursor argument, empty where none was given; raise invalid_cursor."""
    raw = params.text("cursor")
    if not raw:
        return ""
    try:
        found, _, value = base64.b64decode(raw.encode(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise ApiError("invalid_cursor") from None
    if found != kind or not value.isdigit():
        raise ApiError("invalid_cursor")
    return value


def page(params: Params, entries: Sequence[T], default: int = 100, most: int = 1000) -> tuple[list[T], str]:
    """Return one page of a list and the cursor of the next, empty at the end."""
    start = int(read_cursor(params, "offset") or "0")
    if start > len(entries):
        raise ApiError("invalid_cursor")
    end = start + params.number("limit", default, most)
    return list(entries[start:end]), cursor_of("offset", str(end)) if end < len(entries) else ""


def _bound(params: Params, key: str, code: str) -> str:
    raw = params.text(key)
    if not raw or raw == "0":
        return ""
    if raw == "now":
        return ""
    try:
        return ts_of(micros_of(raw))
    except ValueError:
        raise ApiError(code) from None


def window(params: Params, line: Sequence[str]) -> tuple[int, int]:
    """Return the half-open index range of a sorted timeline between oldest and latest.

    Raise invalid_ts_oldest or invalid_ts_latest; both ends count only with ``inclusive``.
    """
    oldest = _bound(params, "oldest", "invalid_ts_oldest")
    latest = _bound(params, "latest", "invalid_ts_latest")
    inclusive = params.flag("inclusive")
    low = (bisect_left if inclusive else bisect_right)(line, oldest) if oldest else 0
    high = (bisect_right if inclusive else bisect_left)(line, latest) if latest else len(line)
    return low, max(low, high)
