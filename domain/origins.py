"""Where an image comes from: whether that is elsewhere than what serves, and whether the policy allows it."""

import re
from collections.abc import Iterable

from domain.images import Reference
from domain.levels import Value


class Origin(Value):
    """The parts of an image's name that decide whose it is. ``project`` is the first part of the path."""

    host: str
    project: str
    repository: str


def name_of(image: str) -> str:
    """Host and path of an image's name, without tag and digest; of any text, since Google's is not ours."""
    name = image.partition("@")[0]
    host, slash, path = name.partition("/")
    colon = path.find(":", path.rfind("/") + 1)
    return f"{host.lower()}{slash}{path if colon < 0 else path[:colon]}"


def origin(image: str) -> Origin:
    """The parts of an image's name."""
    host, _, path = name_of(image).partition("/")
    project, slash, repository = path.partition("/")
    return Origin(host=host, project=project, repository=repository if slash else project)


def is_elsewhere(before: str, after: str) -> bool:
    """Whether host, project or repository differ; a registry with a port is another one."""
    return name_of(before) != name_of(after)


def telling(text: str, other: str, limit: int) -> str:
    """At most ``limit`` characters of a name, among them the first in which it differs from another."""
    if len(text) <= limit:
        return text
    same = next(
        (i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other))
    )
    if same < limit - 1:
        return f"{text[: limit - 1]}…"
    head = limit // 3
    room = limit - head - 2
    begin = max(head, min(same - room // 3, len(text) - room))
    tail = text[begin : begin + room]
    return f"{text[:head]}…{tail}{'…' if begin + room < len(text) else ''}"


_HOST = re.compile(
    r"(?:\*-)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+(?::[0-9]{1,5})?"
)
_PART = re.compile(r"[a-z0-9*](?:[a-z0-9._*-]*[a-z0-9*])?")


def is_pattern(text: str) -> bool:
    """Whether it is a pattern of ``deploys.images``: a host and at least a project, such as ``gcr.io/mine``.

    ``*`` stands for a part of one place between slashes; in a host only in front: ``*-docker.pkg.dev``.
    """
    host, *parts = text.split("/")
    return bool(parts) and _HOST.fullmatch(host) is not None and all(_PART.fullmatch(part) for part in parts)


def is_allowed(reference: Reference, patterns: Iterable[str]) -> bool:
    """Whether a pattern fits the beginning of the name, whole places only; without patterns all fit."""
    patterns = tuple(patterns)
    host, *parts = reference.name.split("/")
    return not patterns or any(_fits(pattern, host, parts) for pattern in patterns)


def _fits(pattern: str, host: str, parts: list[str]) -> bool:
    first, *rest = pattern.split("/")
    if len(rest) > len(parts) or not _part_fits(first, host, "[a-z0-9-]+"):
        return False
    return all(_part_fits(one, part, "[^/]*") for one, part in zip(rest, parts, strict=False))


def _part_fits(pattern: str, part: str, star: str) -> bool:
    written = star.join(re.escape(piece) for piece in pattern.split("*"))
    return re.fullmatch(written, part) is not None
