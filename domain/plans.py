"""What a deploy would change, how risky that is, and the fingerprint to which its approval is bound."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Self

from pydantic import Field as Mapped

from domain.cloudrun import REVISION_LIMIT, TAG_LIMIT, Row, ServiceSeen, Template
from domain.levels import Value
from domain.origins import is_elsewhere


class Field(StrEnum):
    """What of a template a person has to know of."""

    IMAGE = "image"
    ENV = "env"
    SECRET = "secret"  # noqa: S105
    SERVICE_ACCOUNT = "service_account"
    CPU = "cpu"
    MEMORY = "memory"
    CONCURRENCY = "concurrency"
    MIN_INSTANCES = "min_instances"
    MAX_INSTANCES = "max_instances"
    TIMEOUT = "timeout"
    AFFINITY = "affinity"
    SIDECAR = "sidecar"
    OTHER = "other"


class Change(Value):
    """One difference. ``name``: which variable or secret. ``None`` before or after: it was not, or is not.

    Values of variables and of other settings are never here: ``before`` and ``after`` are then hashes.
    """

    field: Field
    name: str = ""
    before: str | None = None
    after: str | None = None


class Risk(StrEnum):
    """Why a second approver is asked for."""

    ENV_REMOVED = "env_removed"
    SECRET_REMOVED = "secret_removed"  # noqa: S105
    SECRET_LATEST = "secret_latest"  # noqa: S105
    SECRET_ELSEWHERE = "secret_elsewhere"  # noqa: S105
    LIMITS_LOWERED = "limits_lowered"
    MIN_INSTANCES_LOWERED = "min_instances_lowered"
    CONCURRENCY_LOWERED = "concurrency_lowered"
    SERVICE_ACCOUNT_CHANGED = "service_account_changed"
    OTHER_CHANGED = "other_changed"
    IMAGE_ORIGIN = "image_origin"
    NEVER_SERVED = "never_served"
    MANY_CHANGES = "many_changes"


class Warn(StrEnum):
    """What an approver has to know, though it asks for no second one."""

    WAS_ON_LATEST = "was_on_latest"
    INTERNAL_INGRESS = "internal_ingress"
    SESSION_AFFINITY = "session_affinity"
    NO_TRAFFIC = "no_traffic"
    STALE_SPLIT = "stale_split"
    MUTABLE_TAG = "mutable_tag"
    TAG_NOT_VERIFIED = "tag_not_verified"
    TAG_MOVED = "tag_moved"
    NO_TAG = "no_tag"
    FEW_REQUESTS = "few_requests"
    STABLE_IS_SICK = "stable_is_sick"


class Plan(Value):
    """What an approver sees, and all of it that counts.

    ``image`` is pinned to its digest. ``baseline`` is the revision that serves everything; ``rows`` the
    whole split before. ``etag`` and ``generation`` are the service's when the plan was made, ``template`` is
    the digest of its whole template under the plan's ``salt``; older plans have neither of the two.
    ``sidecars``: the images of the other containers, by digest where that is known. ``named``: the tag that
    was typed, while it is known to be this digest; else only the digest is shown.
    """

    image: str
    digest: str | None
    revision: str
    tag: str | None
    baseline: str
    rows: tuple[Row, ...]
    on_latest: bool
    etag: str
    generation: int
    changes: tuple[Change, ...] = ()
    risks: tuple[Risk, ...] = ()
    warnings: tuple[Warn, ...] = ()
    uri: str = ""
    salt: str = ""
    template: str | None = None
    named: str | None = None
    sidecars: dict[str, str] = Mapped(default_factory=dict)

    @property
    def elsewhere(self) -> str | None:
        """The image that serves, where the new one comes from another host, project or repository."""
        for change in self.changes:
            if change.field is Field.IMAGE and change.before is not None:
                return change.before if is_elsewhere(change.before, self.image) else None
        return None

    def without_tag(self, why: Warn) -> Self:
        """The same plan, whose tag turned out to be no name of its image: only the digest is shown."""
        kept = tuple(one for one in self.warnings if one is not Warn.MUTABLE_TAG)
        return self.model_copy(update={"named": None, "warnings": (*kept, why)})

    @property
    def fingerprint(self) -> str:
        """Of everything that the approval is for, in hexadecimal digits of SHA-256.

        What older plans do not have is left out, so that approvals given before an update stay valid.
        """
        newer = {name for name in NEWER if not getattr(self, name)}
        parts = self.model_dump(mode="json", exclude={"warnings", "named"} | newer)
        digits = 12 if self.template is None else 32
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:digits]


NEWER = ("salt", "template", "sidecars")
"""Fields that plans of earlier versions do not have."""


UNKNOWN = "unknown to this version"
"""What the card calls settings of a template that this version of Google's client does not know."""

MANY = 40
"""More differences are themselves a risk: a card may have to count some of them, and nobody reads so many."""


def compare(before: Template, after: Template) -> tuple[Change, ...]:
    """Every difference between two templates, in the order in which it is shown."""
    found = [Change(field=Field.IMAGE, before=before.image, after=after.image)]
    for field, old, new in (
        (Field.SIDECAR, before.sidecars, after.sidecars),
        (Field.OTHER, before.rest, after.rest),
        (Field.ENV, before.env, after.env),
        (Field.SECRET, before.secrets, after.secrets),
    ):
        found += [
            Change(field=field, name=name, before=old.get(name), after=new.get(name))
            for name in sorted(old.keys() | new.keys())
        ]
    plain = (
        (Field.SERVICE_ACCOUNT, before.service_account, after.service_account),
        (Field.CPU, before.cpu, after.cpu),
        (Field.MEMORY, before.memory, after.memory),
        (Field.CONCURRENCY, before.concurrency, after.concurrency),
        (Field.MIN_INSTANCES, before.min_instances, after.min_instances),
        (Field.MAX_INSTANCES, before.max_instances, after.max_instances),
        (Field.TIMEOUT, before.timeout, after.timeout),
        (Field.AFFINITY, before.affinity, after.affinity),
    )
    found += [Change(field=field, before=str(old), after=str(new)) for field, old, new in plain]
    found += _odds(before, after)
    return tuple(change for change in found if change.before != change.after)


def _odds(before: Template, after: Template) -> Iterator[Change]:
    """What cannot be compared value by value: an order, and a name that Google may have given by itself."""
    both = set(before.order) & set(after.order)
    old, new = ([name for name in one.order if name in both] for one in (before, after))
    if old != new:
        yield Change(field=Field.OTHER, name="order of variables", before=_hash(old), after=_hash(new))
    # A revision tells of its settings under other numbers than the template, and of its state besides:
    # what the template alone holds is new or changed.
    known = Counter(before.unknown_kept) + Counter(before.unknown_wanted)
    unseen = sorted((Counter(after.unknown_wanted) - known).elements())
    if unseen:
        yield Change(field=Field.OTHER, name=UNKNOWN, after=_hash(unseen))
    if before.called and after.called:
        yield Change(field=Field.OTHER, name="container name", before=before.called, after=after.called)


def _hash(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]


def risks(before: Template, after: Template) -> tuple[Risk, ...]:
    """What makes a change risky. A secret that follows ``latest`` may change under a running revision."""
    changes = compare(before, after)
    found = {
        Risk.ENV_REMOVED: before.env.keys() - after.env.keys(),
        Risk.SECRET_REMOVED: before.secrets.keys() - after.secrets.keys(),
        Risk.SECRET_ELSEWHERE: any(
            _source(after.secrets[name]) != _source(before.secrets[name])
            for name in before.secrets.keys() & after.secrets.keys()
        ),
        Risk.MANY_CHANGES: len(changes) > MANY,
        Risk.SECRET_LATEST: any(version.endswith("@latest") for version in after.secrets.values()),
        Risk.LIMITS_LOWERED: any(
            _is_less(new, old) or (not new and bool(old))  # Without a limit Cloud Run's own holds.
            for new, old in ((after.cpu, before.cpu), (after.memory, before.memory))
        ),
        Risk.MIN_INSTANCES_LOWERED: after.min_instances < before.min_instances,
        Risk.CONCURRENCY_LOWERED: 0 < after.concurrency < before.concurrency,
        Risk.SERVICE_ACCOUNT_CHANGED: after.service_account != before.service_account,
        Risk.IMAGE_ORIGIN: is_elsewhere(before.image, after.image)
        or any(_is_sidecar_elsewhere(name, before, after) for name in after.sidecars),
        Risk.OTHER_CHANGED: after.sidecars != before.sidecars
        or any(change.field is Field.OTHER for change in changes),
    }
    return tuple(risk for risk, there in found.items() if there)


def _source(secret: str) -> str:
    """Which secret it is, whatever its version."""
    return secret.rpartition("@")[0]


def _is_sidecar_elsewhere(name: str, before: Template, after: Template) -> bool:
    """Whether another container's image has a name that none had in its place, or anywhere if it is new."""
    known = [before.sidecars[name]] if name in before.sidecars else [before.image, *before.sidecars.values()]
    return all(is_elsewhere(one, after.sidecars[name]) for one in known)


def warnings(seen: ServiceSeen, *, moves_tag: bool) -> tuple[Warn, ...]:
    """What is out of the ordinary about the service itself."""
    found = {
        Warn.WAS_ON_LATEST: any(row.revision is None and row.percent for row in seen.serving),
        Warn.INTERNAL_INGRESS: seen.ingress != "all",
        Warn.SESSION_AFFINITY: seen.template.affinity,
        Warn.STALE_SPLIT: _wanted(seen.rows, seen) != _wanted(seen.serving, seen),
        Warn.MUTABLE_TAG: moves_tag,
    }
    return tuple(warning for warning, there in found.items() if there)


def drift(plan: Plan, seen: ServiceSeen, serving: str | None) -> str | None:
    """What changed since the plan was made, as the key of a text's part; ``None`` where nothing did."""
    if serving != plan.baseline:
        return "baseline"
    if seen.generation != plan.generation:
        return "generation"
    if plan.template is not None and seen.template.digest != plan.template:
        return "template"
    return "etag" if seen.etag != plan.etag else None


def revision_name(service: str, number: int, mark: str) -> str:
    """A name that no revision bears yet: Toban's number of the rollout, and a mark of the moment.

    Names can never be used again with another configuration. ``mark`` is a few lower-case characters.
    """
    name = f"{service}-t{number}-{mark}"  # The service's name has to stand there whole.
    return name[:REVISION_LIMIT].rstrip("-")


def tag_name(service: str, number: int) -> str | None:
    """The tag of a rollout's revision: with the service's name 46 characters at most, else none."""
    tag = f"t{number:03d}"
    return tag if len(tag) + len(service) <= TAG_LIMIT else None


def foreign(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows without the tags that earlier deploys of ours left: nobody asks at those any more."""
    return tuple(
        row
        for row in rows
        if not (row.tag and _TAG.fullmatch(row.tag) and row.revision and _REVISION.search(row.revision))
    )


_TAG = re.compile(r"t\d{3,}")
_REVISION = re.compile(r"-t\d+(-[0-9a-f]{1,7})?$")


def _wanted(rows: tuple[Row, ...], seen: ServiceSeen) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        name = row.revision or seen.latest_ready or "LATEST"
        if row.percent:
            found[name] = found.get(name, 0) + row.percent
    return found


_UNITS = {"m": 1e-3, "k": 1e3, "Ki": 2.0**10, "M": 1e6, "Mi": 2.0**20, "G": 1e9, "Gi": 2.0**30}


def amount(limit: str) -> float | None:
    """A limit as a number: ``1000m`` and ``1`` are one CPU, ``512Mi`` is in bytes; ``None`` where unset."""
    for unit in sorted(_UNITS, key=len, reverse=True):
        if limit.endswith(unit):
            number, factor = limit[: -len(unit)], _UNITS[unit]
            break
    else:
        number, factor = limit, 1.0
    try:
        return float(number) * factor
    except ValueError:
        return None


def _is_less(after: str, before: str) -> bool:
    new, old = amount(after), amount(before)
    return new is not None and old is not None and new < old
