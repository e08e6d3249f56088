"""The two ways in which work ends early: told to a person, or tried again."""

from typing import Any


class Refused(Exception):
    """What was asked is not done; the person is told why and what to do.

    Carries the key of a text (see ``notify/texts``) and its parameters, never prose.
    """

    def __init__(self, key: str, **params: Any) -> None:
        super().__init__(key)
        self.key = key
        self.params = params


class Outage(Exception):
    """A part of the world did not answer; the work stays due and is tried again.

    ``retry_after`` is in seconds where the other side named one. ``unknown`` means that the
    request may have taken effect all the same.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.unknown = unknown


class Undeliverable(Exception):
    """The other side refused for good: sending the same again cannot succeed.

    ``reason`` is the provider's own code. ``gone`` says that the message itself no longer exists,
    ``homeless`` that the conversation cannot be written to, ``threadless`` that it takes no reply in this
    thread, ``unthreaded`` that it takes none in any, ``malformed`` that the message itself is at fault.
    ``mendable`` is the exception to "for good": it can succeed once people have changed a permission or a
    setting.
    """

    def __init__(
        self,
        reason: str,
        *,
        gone: bool = False,
        homeless: bool = False,
        threadless: bool = False,
        unthreaded: bool = False,
        malformed: bool = False,
        mendable: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.gone = gone
        self.homeless = homeless
        self.threadless = threadless
        self.unthreaded = unthreaded
        self.malformed = malformed
        self.mendable = mendable


class Unreadable(Exception):
    """The body cannot be understood. ``reason`` is a few English words for the ops channel."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
