"""Cloud Run as we see it: a service, its revisions, how traffic is split, and what an update changes."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from domain.levels import Value

TAG_LIMIT = 46
"""Characters of a tag and its service's name together."""

REVISION_LIMIT = 63
"""Characters of a revision's name, which begins with the service's name and a hyphen."""


class Target(Value):
    """One Cloud Run service by its place."""

    project: str
    region: str
    service: str

    @property
    def path(self) -> str:
        """The service's full name, as Google has it."""
        return f"projects/{self.project}/locations/{self.region}/services/{self.service}"


class Row(Value):
    """One line of a traffic split. ``revision`` is the short name, ``None`` stands for LATEST.

    ``uri`` is the tag's own address, and known only where Google says what it does serve.
    """

    revision: str | None
    percent: int = 0
    tag: str | None = None
    uri: str | None = None


class Template(Value):
    """What the next revision is made of: what a person knows by name, and hashes of all the rest.

    Never a secret's value. ``image``: as it stands in the service, by tag or digest. ``sidecars``: the images
    of the other containers, by name; ``called``: the name of the one that gets the requests. ``env``: the
    plain variables, each as a salted hash of its value, since values may be secrets that somebody typed.
    ``order``: the names of all variables as they follow each other, since one may refer to those before it.
    ``rest``: salted hashes of every other setting, by its name; ``opaque`` of what this version of Google's
    client does not know: ``unknown_wanted`` of each such setting of a template, ``unknown_kept`` of a
    revision, whatever their numbers. ``secrets``: what is read from Secret Manager, by variable or mount
    path, as ``name@version``. ``cpu`` and ``memory`` are limits as Google writes them (``1000m``, ``512Mi``);
    ``timeout`` in seconds.
    """

    image: str
    env: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, str] = Field(default_factory=dict)
    service_account: str = ""
    cpu: str = ""
    memory: str = ""
    concurrency: int = 0
    min_instances: int = 0
    max_instances: int = 0
    timeout: int | float = 0
    affinity: bool = False
    order: tuple[str, ...] = ()
    called: str = ""
    sidecars: dict[str, str] = Field(default_factory=dict)
    rest: dict[str, str] = Field(default_factory=dict)
    opaque: str = ""
    unknown_wanted: tuple[str, ...] = ()
    unknown_kept: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Of all of it: 32 hexadecimal digits. Comparable only under the same salt."""
        said_in_opaque = {"unknown_wanted", "unknown_kept"}
        written = json.dumps(self.model_dump(mode="json", exclude=said_in_opaque), sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:32]


class ServiceSeen(Value):
    """A service as it was read just now.

    ``rows`` is the split that is wanted, ``serving`` the one that is true; they differ while an update is
    on its way and after one that failed. ``ready`` is ``None`` while it is not known. ``problem`` is
    Google's reason where the last update failed. ``latest_ready`` and ``latest_created`` are short names.
    """

    uri: str = ""
    etag: str
    generation: int
    observed_generation: int
    reconciling: bool = False
    ready: bool | None = None
    problem: str | None = None
    rows: tuple[Row, ...] = ()
    serving: tuple[Row, ...] = ()
    latest_ready: str | None = None
    latest_created: str | None = None
    last_modifier: str = ""
    ingress: str = "all"
    template: Template

    @property
    def is_settled(self) -> bool:
        """True where nothing is on its way any more."""
        return not self.reconciling and self.observed_generation == self.generation


class RevisionSeen(Value):
    """A revision. ``ready`` is ``None`` while it starts; ``problem`` says why it does not.

    ``digest`` is the image's as it runs: ``sha256:…``; ``None`` while it is not resolved.
    """

    name: str
    ready: bool | None = None
    problem: str | None = None
    digest: str | None = None
    image: str = ""
    created_at: datetime | None = None
    creator: str = ""
    log_uri: str = ""
    template: Template | None = None


class OperationSeen(Value):
    """An operation of Google's. ``error`` is set where it is done and failed."""

    name: str
    done: bool
    error: str | None = None


class RunTrouble(StrEnum):
    """Why Cloud Run did not do what we asked, for good."""

    NOT_FOUND = "not_found"
    DENIED = "denied"
    CONFLICT = "conflict"
    INVALID = "invalid"


class RunRefused(Exception):
    """Google refused. The same again cannot succeed, but for a conflict: then read anew and decide.

    ``detail`` is Google's own text.
    """

    def __init__(self, trouble: RunTrouble, detail: str) -> None:
        super().__init__(f"{trouble.value}: {detail}")
        self.trouble = trouble
        self.detail = detail


def is_revision(text: str) -> bool:
    """Whether it is well-formed as a revision's short name."""
    return len(text) <= REVISION_LIMIT and re.fullmatch(r"[a-z](?:[a-z0-9-]*[a-z0-9])?", text) is not None


def split(rows: Iterable[Row], latest: str | None = None) -> dict[str, int]:
    """Percent by revision, each once, without those that have none. LATEST counts as ``latest``.

    A revision may stand in several rows: one with its percent and one for each tag.
    """
    found: dict[str, int] = {}
    for row in rows:
        name = row.revision or latest
        if name is not None and row.percent:
            found[name] = found.get(name, 0) + row.percent
    return found


def baseline(seen: ServiceSeen) -> str | None:
    """The one revision that serves everything; ``None`` where there is no such one.

    Read from what is true, never from what is wanted, and never from the first row: rows of tags come
    without traffic, and after a failed update the two differ.
    """
    serving = split(seen.serving, seen.latest_ready)
    return next((name for name, percent in serving.items() if percent == 100), None)


def rows_for(
    wanted: Mapping[str, int], tags: Mapping[str, str], kept: Iterable[Row] = (), latest: str | None = None
) -> tuple[Row, ...]:
    """Every row of a split: one per revision with its percent, and one per tag without any.

    ``tags`` are ours (tag -> revision). ``kept`` are the present rows, whose other tags stay where they are;
    a tag on LATEST is pinned to ``latest``. Raises ``ValueError`` where the percents do not sum to 100.
    """
    if sum(wanted.values()) != 100:
        raise ValueError(f"percents sum to {sum(wanted.values())}, not 100")
    rows = [Row(revision=name, percent=percent) for name, percent in sorted(wanted.items()) if percent]
    all_tags = {row.tag: row.revision or latest for row in kept if row.tag is not None} | dict(tags)
    rows += [Row(revision=name, tag=tag) for tag, name in sorted(all_tags.items()) if name is not None]
    return tuple(rows)


def tag_uri(seen: ServiceSeen, tag: str) -> str | None:
    """The address of a tag, as Google says it; it is read, never built."""
    return next((row.uri for row in seen.serving if row.tag == tag and row.uri), None)


def same_split(rows: Iterable[Row], wanted: Mapping[str, int], latest: str | None = None) -> bool:
    """Whether these rows mean that split."""
    return split(rows, latest) == {name: percent for name, percent in wanted.items() if percent}
