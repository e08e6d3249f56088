"""13.5: patterns of images fit whole places of a name only, and a cut name shows where it differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain.images import Reference
from domain.origins import is_allowed, is_elsewhere, is_pattern, name_of, origin, telling

HOST = "asia-northeast1-docker.pkg.dev"


@pytest.mark.parametrize(
    ("pattern", "image", "fits"),
    [
        (f"{HOST}/mine", f"{HOST}/mine/app/api", True),
        (f"{HOST}/mine/app", f"{HOST}/mine/app/api", True),
        (f"{HOST}/mine/app/api", f"{HOST}/mine/app/api", True),
        (f"{HOST}/mine/app/api", f"{HOST}/mine/app/apis", False),
        (f"{HOST}/mine", f"{HOST}/mine-too/app/api", False),
        (f"{HOST}/mine/app/api/x", f"{HOST}/mine/app/api", False),
        (f"{HOST}/mine-*", f"{HOST}/mine-prod/app/api", True),
        (f"{HOST}/*/app", f"{HOST}/evil/app/api", True),
        (f"{HOST}/mine/*/api", f"{HOST}/mine/a/b/api", False),
        ("*-docker.pkg.dev/mine", f"{HOST}/mine/app/api", True),
        ("*-docker.pkg.dev/mine", "evil.com/x-docker.pkg.dev/mine/app/api", False),
        ("*-docker.pkg.dev/mine", "evil.com-docker.pkg.dev/mine/app/api", False),
        (f"{HOST}/mine", f"{HOST}:443/mine/app/api", False),
        (f"{HOST}/mine", f"{HOST}.evil.com/mine/app/api", False),
        ("gcr.io/mine", "eu.gcr.io/mine/api", False),
        ("gcr.io/a.b", "gcr.io/axb/api", False),
    ],
)
def test_a_pattern_fits_whole_places_13_5(pattern: str, image: str, fits: bool) -> None:
    assert is_pattern(pattern)
    assert is_allowed(Reference.parse(f"{image}:v1"), [pattern]) is fits


NO_PATTERNS = (
    *(
        "",
        "*",
        "*/mine",
        "gcr.io",
        "gcr.io/",
        "gcr.io//x",
        "https://gcr.io/x",
        "gcr.io/x:v1",
        "gcr.io/x@sha256:1",
    ),
    *(
        "GCR.io/x",
        "gcr.io/X",
        "gcr.*/x",
        "*.io/x y",
        "gcr.io/../x",
        "user@gcr.io/x",
        "localhost/x",
        "gcr.io/x/",
    ),
)


@pytest.mark.parametrize("text", NO_PATTERNS)
def test_what_is_no_pattern_13_5(text: str) -> None:
    assert not is_pattern(text)


def test_names_are_compared_without_tag_and_digest_13_5() -> None:
    assert name_of(f"{HOST}:443/p/r/i:v1@sha256:0") == f"{HOST}:443/p/r/i"
    assert not is_elsewhere("GCR.io/p/i:v1", "gcr.io/p/i@sha256:1")
    assert is_elsewhere("gcr.io/p/i:v1", "gcr.io:443/p/i:v1")
    assert origin(f"{HOST}/p/r/i").model_dump() == {"host": HOST, "project": "p", "repository": "r/i"}


@given(some.text("ab/", min_size=1, max_size=300), some.text("ab/", max_size=300), some.integers(12, 80))
def test_a_cut_name_shows_where_it_differs_13_5(text: str, other: str, limit: int) -> None:
    shown = telling(text, other, limit)
    assert len(shown) <= limit
    at = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), None)
    if at is None or len(text) <= limit:
        return
    head, _, rest = shown.partition("…")
    tail = rest.rstrip("…")
    there = at < len(head)
    begin = text.find(tail, len(head)) if tail else -1
    assert there or (tail and text[at] in tail and begin >= 0)
