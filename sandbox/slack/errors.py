"""How a Web API method refuses: one exception that becomes Slack's ``{"ok": false, "error": …}``."""

from typing import Any


class ApiError(Exception):
    """A refusal with Slack's error code; ``extra`` adds keys beside ``error`` in the answer."""

    def __init__(self, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.code = code
        self.extra = extra

    def answer(self) -> dict[str, Any]:
        """Return the body that Slack sends, always with HTTP status 200."""
        return {"ok": False, "error": self.code, **self.extra}


def invalid_arguments(*messages: str) -> ApiError:
    """Return the refusal for arguments that are missing or of the wrong shape."""
    return ApiError(
        "invalid_arguments", response_metadata={"messages": [f"[ERROR] {text}" for text in messages]}
    )
