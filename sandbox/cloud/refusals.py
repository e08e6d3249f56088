"""Why a call to the pretend Cloud Run is refused, in Google's codes and as near as can be in its words."""

import grpc


class Refusal(Exception):
    """Ends a call with a code and a text."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def invalid(field: str, detail: str) -> Refusal:
    """A field of the request is wrong."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"Violation in {field}: {detail}")


def missing(kind: str, name: str) -> Refusal:
    """There is no such thing. ``name`` is a full name: projects/P/locations/L/services/S, for example."""
    parts = name.split("/")
    place = f" in region '{parts[3]}' in project '{parts[1]}'" if len(parts) > 3 else ""
    return Refusal(
        grpc.StatusCode.NOT_FOUND, f"Resource '{parts[-1]}' of kind '{kind}'{place} does not exist."
    )


def taken(service: str) -> Refusal:
    """A service of that name is there already."""
    return Refusal(grpc.StatusCode.ALREADY_EXISTS, f"Resource '{service}' already exists.")


def conflict(service: str, given: str, now: str) -> Refusal:
    """Somebody has changed the service since its etag was read (AIP-154: ABORTED)."""
    return Refusal(
        grpc.StatusCode.ABORTED,
        f"Conflict for resource '{service}': version '{given}' was specified but current version is '{now}'.",
    )


def other_configuration(revision: str) -> Refusal:
    """A revision's name cannot be used for another configuration, ever."""
    return Refusal(
        grpc.StatusCode.ALREADY_EXISTS,
        f"Revision named '{revision}' with different configuration already exists.",
    )


def denied(permission: str, resource: str) -> Refusal:
    """The caller may not."""
    return Refusal(
        grpc.StatusCode.PERMISSION_DENIED,
        f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist).",
    )


def exhausted() -> Refusal:
    """Too many calls in a minute."""
    return Refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute per region'.",
    )


def unavailable() -> Refusal:
    """Nobody can say whether the call did anything."""
    return Refusal(grpc.StatusCode.UNAVAILABLE, "The service is currently unavailable.")
