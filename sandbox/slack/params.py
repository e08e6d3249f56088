"""The arguments of one API call, wherever the client put them: query string, form or JSON body."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from sandbox.slack.errors import ApiError, invalid_arguments


async def read_params(request: web.Request) -> dict[str, Any]:
    """Return all arguments of a call; raise ApiError for a body that is not what it says it is.

    Slack takes them from any place; slack_sdk uses the query string with an empty form body for many.
    """
    params: dict[str, Any] = dict(request.query)
    if not request.can_read_body:
        return params
    kind = request.content_type
    if kind == "application/json":
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise ApiError("invalid_json") from None
        if not isinstance(body, dict):
            raise ApiError("json_not_object")
        params.update(body)
    elif kind in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        params.update({key: value for key, value in (await request.post()).items() if isinstance(value, str)})
    elif await request.read():
        raise ApiError("invalid_post_type")
    return params


class Params:
    """Typed reading of arguments that arrive as JSON values or as strings."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = {key: value for key, value in values.items() if value is not None}

    def has(self, key: str) -> bool:
        """Say whether the argument was given, even as an empty string."""
        return key in self.values

    def text(self, key: str, default: str = "") -> str:
        """Return an argument as a string."""
        value = self.values.get(key, default)
        return value if isinstance(value, str) else str(value)

    def needed(self, key: str) -> str:
        """Return an argument that may not be missing or empty; raise invalid_arguments otherwise."""
        value = self.text(key)
        if not value:
            raise invalid_arguments(f"missing required field: {key}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """Return a boolean; "1" and "true" count as true."""
        value = self.values.get(key, default)
        return value if isinstance(value, bool) else str(value).lower() in {"1", "true"}

    def number(self, key: str, default: int, most: int, code: str = "invalid_limit") -> int:
        """Return a whole number from 1 to ``most``; larger is cut, anything else raises ApiError(code)."""
        raw = self.values.get(key, default)
        try:
            value = int(raw)
        except (TypeError, ValueError):
            raise ApiError(code) from None
        if value < 0:
            raise ApiError(code)
        return min(value or default, most)

    def words(self, key: str) -> list[str]:
        """Return a comma-joined list or a JSON array as strings."""
        value = self.values.get(key, "")
        if isinstance(value, list):
            return [str(word) for word in value]
        return [word.strip() for word in str(value).split(",") if word.strip()]

    def json(self, key: str, code: str) -> Any:
        """Return a JSON argument, decoded where it came as a string; raise ApiError(code) if it cannot be."""
        value = self.values.get(key)
        if not isinstance(value, str):
            return value
        if not value:
            return None
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ApiError(code) from None
