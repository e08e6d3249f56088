"""Plans: every difference is listed, what is risky is named, and any change makes another plan of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.cloudrun import REVISION_LIMIT, TAG_LIMIT, Row, ServiceSeen, Template, rows_for, split
from domain.plans import (
    Change,
    Field,
    Plan,
    Risk,
    Warn,
    amount,
    compare,
    drift,
    foreign,
    revision_name,
    risks,
    tag_name,
    warnings,
)
from tests.domain.rolling_world import Cloud, planned

FULL = Template(
    image="r.pkg.dev/p/i/web@sha256:1",
    env={"MODE": "1f", "URL": "2e"},
    secrets={"KEY": "key@3", "/etc/cert": "cert@7"},
    service_account="web@p.iam",
    cpu="1000m",
    memory="512Mi",
    concurrency=80,
    min_instances=2,
    max_instances=10,
    timeout=300,
    order=("MODE", "URL", "KEY"),
    called="web",
)


def but(**changes: Any) -> Template:
    return FULL.model_copy(update=changes)


# What changes.


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (FULL, ()),
        (but(image="new"), (Change(field=Field.IMAGE, before=FULL.image, after="new"),)),
        (
            but(env={"MODE": "9a", "MORE": "0b"}),
            (
                Change(field=Field.ENV, name="MODE", before="1f", after="9a"),
                Change(field=Field.ENV, name="MORE", after="0b"),
                Change(field=Field.ENV, name="URL", before="2e"),
            ),
        ),
        (
            but(secrets={"KEY": "key@4", "/etc/cert": "cert@7"}),
            (Change(field=Field.SECRET, name="KEY", before="key@3", after="key@4"),),
        ),
        (but(service_account=""), (Change(field=Field.SERVICE_ACCOUNT, before="web@p.iam", after=""),)),
        (but(cpu="2"), (Change(field=Field.CPU, before="1000m", after="2"),)),
        (but(memory="1Gi"), (Change(field=Field.MEMORY, before="512Mi", after="1Gi"),)),
        (but(concurrency=1), (Change(field=Field.CONCURRENCY, before="80", after="1"),)),
        (but(min_instances=0), (Change(field=Field.MIN_INSTANCES, before="2", after="0"),)),
        (but(max_instances=11), (Change(field=Field.MAX_INSTANCES, before="10", after="11"),)),
        (but(timeout=60), (Change(field=Field.TIMEOUT, before="300", after="60"),)),
        (but(affinity=True), (Change(field=Field.AFFINITY, before="False", after="True"),)),
    ],
)
def test_every_difference_is_listed_and_nothing_else(after: Template, changes: tuple[Change, ...]) -> None:
    assert compare(FULL, after) == changes


OTHERWISE: dict[type, Any] = {
    dict: lambda _: {"X": "y@1"},
    tuple: lambda value: tuple(reversed(value)),
    str: lambda value: f"{value}1",
    int: lambda _: 7,
    bool: lambda value: not value,
}
"""Another value of each type."""


def test_no_field_of_a_template_is_forgotten() -> None:
    other: dict[str, Any] = {name: OTHERWISE[type(value)](value) for name, value in FULL.model_dump().items()}
    found = {change.field for change in compare(FULL, Template.model_validate(other | {"affinity": True}))}
    assert found == set(Field)


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (FULL, ()),
        (but(image="r.pkg.dev/p/i/web@sha256:9", max_instances=1, timeout=1, affinity=True), ()),
        (but(env={"MODE": "1f"}), (Risk.ENV_REMOVED,)),
        (but(env={"MODE": "0", "URL": "0", "MORE": "0"}), ()),
        (but(env={"MODE": "1f", "URI": "2e"}), (Risk.ENV_REMOVED,)),
        (but(secrets={"KEY": "key@3"}), (Risk.SECRET_REMOVED,)),
        (but(secrets={"KEY": "key@latest", "/etc/cert": "cert@7"}), (Risk.SECRET_LATEST,)),
        (but(secrets={"KEY": "key@4", "/etc/cert": "cert@7"}), ()),
        (but(secrets={"KEY": "latest@3", "/etc/cert": "cert@7"}), (Risk.SECRET_ELSEWHERE,)),
        (but(cpu="500m"), (Risk.LIMITS_LOWERED,)),
        (but(cpu="1"), ()),
        (but(memory="0.5Gi"), ()),
        (but(memory="511Mi"), (Risk.LIMITS_LOWERED,)),
        (but(memory="512M"), (Risk.LIMITS_LOWERED,)),
        (but(memory="1G"), ()),
        (but(memory=""), (Risk.LIMITS_LOWERED,)),
        (but(cpu=""), (Risk.LIMITS_LOWERED,)),
        (but(min_instances=1), (Risk.MIN_INSTANCES_LOWERED,)),
        (but(min_instances=3), ()),
        (but(concurrency=79), (Risk.CONCURRENCY_LOWERED,)),
        (but(concurrency=81), ()),
        (but(service_account="other@p.iam"), (Risk.SERVICE_ACCOUNT_CHANGED,)),
        (
            Template(image="x"),
            (
                *(Risk.ENV_REMOVED, Risk.SECRET_REMOVED, Risk.LIMITS_LOWERED),
                *(Risk.MIN_INSTANCES_LOWERED, Risk.SERVICE_ACCOUNT_CHANGED, Risk.IMAGE_ORIGIN),
            ),
        ),
    ],
)
def test_what_is_risky_asks_for_a_second_approver_and_nothing_else_does(
    after: Template, found: tuple[Risk, ...]
) -> None:
    assert risks(FULL, after) == found


@pytest.mark.parametrize(
    ("limit", "number"),
    [
        ("1", 1.0),
        ("1000m", 1.0),
        ("0.08", 0.08),
        ("512Mi", 512 * 2.0**20),
        ("1Gi", 2.0**30),
        ("1G", 1e9),
        ("64Ki", 65536.0),
        ("", None),
        ("lots", None),
        ("Mi", None),
    ],
)
def test_limits_are_numbers(limit: str, number: float | None) -> None:
    assert amount(limit) == (pytest.approx(number) if number is not None else None)


# What is out of the ordinary.


def service(**changes: Any) -> ServiceSeen:
    rows = (Row(revision="web-1", percent=100),)
    fields = {"etag": "e", "generation": 3, "observed_generation": 3, "rows": rows, "serving": rows}
    return ServiceSeen.model_validate(fields | {"latest_ready": "web-1", "template": FULL} | changes)


LATEST = (Row(revision=None, percent=100),)


@pytest.mark.parametrize(
    ("seen", "moves_tag", "found"),
    [
        (service(), False, ()),
        (service(), True, (Warn.MUTABLE_TAG,)),
        (service(rows=LATEST, serving=LATEST), False, (Warn.WAS_ON_LATEST,)),
        # The same split in other words is none that is stale.
        (service(rows=LATEST), False, ()),
        (service(rows=LATEST, latest_ready=None), False, (Warn.STALE_SPLIT,)),
        (service(rows=(Row(revision="web-0", percent=100),)), False, (Warn.STALE_SPLIT,)),
        (service(ingress="internal"), False, (Warn.INTERNAL_INGRESS,)),
        (service(template=but(affinity=True)), False, (Warn.SESSION_AFFINITY,)),
    ],
)
def test_what_an_approver_has_to_know_of_the_service_is_said(
    seen: ServiceSeen, moves_tag: bool, found: tuple[Warn, ...]
) -> None:
    assert warnings(seen, moves_tag=moves_tag) == found


# The fingerprint.

PLAN = planned(Cloud(), changes=(Change(field=Field.IMAGE, before="a", after="b"),))
OTHER: dict[str, Any] = {
    "image": "r.pkg.dev/p/i/web@sha256:2",
    "digest": "sha256:2",
    "revision": "web-t8-0123456",
    "tag": "t008",
    "baseline": "web-2",
    "rows": (Row(revision="web-2", percent=100),),
    "on_latest": True,
    "etag": "other",
    "generation": 99,
    "changes": (),
    "risks": (Risk.ENV_REMOVED,),
    "uri": "https://other.example.com",
    "salt": "5a17",
    "template": "f" * 32,
    "sidecars": {"proxy": "r.pkg.dev/p/i/proxy@sha256:1"},
}


def test_anything_else_that_would_be_done_has_another_fingerprint() -> None:
    assert OTHER.keys() | {"warnings", "named"} == Plan.model_fields.keys()
    others = {PLAN.model_copy(update={name: value}).fingerprint for name, value in OTHER.items()}
    assert len(others) == len(OTHER) and PLAN.fingerprint not in others


def test_the_same_plan_has_the_same_fingerprint_through_storage_and_whatever_is_warned_of() -> None:
    again = Plan.model_validate_json(PLAN.model_dump_json())
    assert (
        again.fingerprint
        == PLAN.fingerprint
        == PLAN.model_copy(update={"warnings": (Warn.NO_TRAFFIC,)}).fingerprint
    )
    assert PLAN.fingerprint == "0b52531cf29b", "approvals of a plan stored before 13.6 stay valid"
    assert len(PLAN.model_copy(update={"template": "f" * 32}).fingerprint) == 32
    assert len(PLAN.fingerprint) == 12 and int(PLAN.fingerprint, 16) >= 0


# Drift.


@pytest.mark.parametrize(
    ("changes", "serving", "what"),
    [
        ({}, PLAN.baseline, None),
        ({}, None, "baseline"),
        ({}, "web-2", "baseline"),
        ({"generation": 5}, PLAN.baseline, "generation"),
        ({"generation": 3}, PLAN.baseline, "generation"),
        ({"etag": "other"}, PLAN.baseline, "etag"),
        ({"generation": 5, "etag": "other"}, "web-2", "baseline"),
    ],
)
def test_any_drift_is_named(changes: dict[str, Any], serving: str | None, what: str | None) -> None:
    seen = Cloud().service()
    assert seen is not None
    assert drift(PLAN, seen.model_copy(update=changes), serving) == what


# Names and rows.

SERVICES = st.from_regex(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?", fullmatch=True)
FEW = settings(max_examples=300, deadline=None, database=None, derandomize=True)


@FEW
@given(SERVICES, st.integers(1, 999))
def test_a_revisions_name_begins_with_its_services_and_is_short_enough(service: str, number: int) -> None:
    name = revision_name(service, number, "0123456")
    assert len(name) <= REVISION_LIMIT and name.startswith(f"{service}-")


def test_a_revisions_name_begins_with_the_longest_services_name_whatever_the_number() -> None:
    service = "s" * 49
    assert revision_name(service, 10_000, "0123456").startswith(f"{service}-")


@FEW
@given(SERVICES.filter(lambda name: len(name) <= TAG_LIMIT - 4), st.integers(1, 999))
def test_a_tag_fits_beside_its_services_name_and_is_known_as_ours_later(service: str, number: int) -> None:
    tag = tag_name(service, number)
    assert len(tag) >= 3 and len(service) + len(tag) <= TAG_LIMIT
    row = Row(revision=revision_name(service, number, "0123456"), tag=tag)
    assert foreign([row]) == ()


@pytest.mark.parametrize(
    ("length", "number"),
    [
        pytest.param(
            43,
            12,
        ),
        pytest.param(
            44,
            12,
        ),
        pytest.param(
            42,
            1234,
        ),
    ],
)
def test_a_tag_beside_a_long_name_is_right_or_there_is_none(length: int, number: int) -> None:
    service = "s" * length
    tag, following = tag_name(service, number), tag_name(service, number + 1)
    assert tag is None or (tag != following and len(tag) + length <= TAG_LIMIT)


@pytest.mark.parametrize(
    ("row", "is_ours"),
    [
        (Row(revision="web-t7-0123abc", tag="t007"), True),
        (Row(revision="web-t1234-0123abc", tag="t1234"), True),
        (Row(revision="web-t7-0123abc", percent=100), False),
        (Row(revision="web-t7-0123abc", tag="blue"), False),
        (Row(revision="web-00007-abc", tag="t007"), False),
        (Row(revision="web-t7-0123abcd", tag="t007"), False),
        (Row(revision=None, tag="t007"), False),
    ],
)
def test_only_tags_that_we_left_are_dropped(row: Row, is_ours: bool) -> None:
    assert foreign([row]) == (() if is_ours else (row,))


ROWS = st.lists(
    st.builds(
        Row,
        revision=st.sampled_from(["a", "b", "c", None]),
        percent=st.integers(0, 100),
        tag=st.sampled_from([None, "qa", "blue", "t001"]),
    ),
    max_size=6,
    unique_by=lambda row: row.tag or id(row),  # Google keeps a tag once.
)


@FEW
@given(ROWS, st.integers(0, 100), st.sampled_from(["a", None]))
def test_rows_mean_exactly_the_wanted_split_and_keep_every_tag(
    kept: list[Row], percent: int, latest: str | None
) -> None:
    wanted = {"new": percent, "old": 100 - percent}
    rows = rows_for(wanted, {"mine": "new"}, kept, latest)
    assert sum(row.percent for row in rows) == 100
    assert split(rows, latest) == {name: share for name, share in wanted.items() if share}
    tags = [row.tag for row in rows if row.tag is not None]
    assert len(tags) == len(set(tags)) and "mine" in tags
    assert set(tags) == {row.tag for row in kept if row.tag and (row.revision or latest)} | {"mine"}


@pytest.mark.parametrize("wanted", [{}, {"a": 99}, {"a": 50, "b": 51}])
def test_a_split_that_is_not_whole_is_an_error(wanted: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not 100"):
        rows_for(wanted, {})
