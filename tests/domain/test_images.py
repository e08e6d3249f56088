"""Which texts name an image, what they mean, and which registries are asked about them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.images import (
    NAME_LIMIT,
    BadReference,
    ImageProblem,
    ImageTrouble,
    Reference,
    ReferenceFault,
    Tag,
    newest_first,
    refusal,
)

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
HOST = "asia-northeast1-docker.pkg.dev"
API = f"{HOST}/bondpoint-prod/apps/api"

READ = {
    "by tag": (f"{API}:v1.4.2", (HOST, "bondpoint-prod/apps/api", "v1.4.2", None)),
    "without anything": (API, (HOST, "bondpoint-prod/apps/api", None, None)),
    "by digest": (f"{API}@{DIGEST}", (HOST, "bondpoint-prod/apps/api", None, DIGEST)),
    "by both": (f"{API}:v1@{DIGEST}", (HOST, "bondpoint-prod/apps/api", "v1", DIGEST)),
    "a domain's project": (f"{HOST}/example.com/p/api:v1", (HOST, "example.com/p/api", "v1", None)),
    "a port": ("localhost:5000/api:v1", ("localhost:5000", "api", "v1", None)),
    "localhost": ("localhost/api", ("localhost", "api", None, None)),
    "separators": ("gcr.io/a__b/c--d/e.f_g", ("gcr.io", "a__b/c--d/e.f_g", None, None)),
    "a tag in capitals": (f"{API}:Release_1.-", (HOST, "bondpoint-prod/apps/api", "Release_1.-", None)),
    "the longest tag": (f"{API}:{'a' * 128}", (HOST, "bondpoint-prod/apps/api", "a" * 128, None)),
}


@pytest.mark.parametrize(("text", "parts"), READ.values(), ids=READ)
def test_a_name_is_read_into_its_parts_and_written_as_it_was(
    text: str, parts: tuple[str, str, str | None, str | None]
) -> None:
    read = Reference.parse(f"  {text}\n")
    assert (read.host, read.repository, read.tag, read.digest) == parts
    assert str(read) == text
    assert Reference.parse(str(read)) == read


def test_the_host_is_the_same_in_capitals_and_the_repository_is_not() -> None:
    assert Reference.parse("Asia-Northeast1-Docker.PKG.dev/p/r/api") == Reference.parse(f"{HOST}/p/r/api")
    with pytest.raises(BadReference, match="uppercase"):
        Reference.parse(f"{HOST}/p/r/API")


REFUSED = {
    "nothing": ("", ReferenceFault.EMPTY),
    "blanks": ("  \n", ReferenceFault.EMPTY),
    "a short name": ("nginx", ReferenceFault.NO_HOST),
    "a short name with a tag": ("nginx:1.27", ReferenceFault.NO_HOST),
    "Docker Hub by habit": ("library/nginx", ReferenceFault.NO_HOST),
    "a host alone": (HOST, ReferenceFault.NO_HOST),
    "a scheme": (f"https://{API}", ReferenceFault.CHARACTERS),
    "a blank inside": (f"{API}: v1", ReferenceFault.CHARACTERS),
    "two lines": (f"{API}\nv1", ReferenceFault.CHARACTERS),
    "a query": (f"{API}?x=1", ReferenceFault.CHARACTERS),
    "Slack's link": (f"<http://{API}|{API}>", ReferenceFault.CHARACTERS),
    "full width": (f"{API}:ｖ１", ReferenceFault.CHARACTERS),
    "Arabic digits": (f"{API}:v١", ReferenceFault.CHARACTERS),
    "a NUL": (f"{API}\0", ReferenceFault.CHARACTERS),
    "no repository": (f"{HOST}/", ReferenceFault.REPOSITORY),
    "an empty part": (f"{HOST}/p//api", ReferenceFault.REPOSITORY),
    "a slash at the end": (f"{API}/", ReferenceFault.REPOSITORY),
    "dots that climb": (f"{HOST}/p/../api", ReferenceFault.REPOSITORY),
    "two dots in a part": (f"{HOST}/p..q/api", ReferenceFault.REPOSITORY),
    "a hyphen first": (f"{HOST}/-p/api", ReferenceFault.REPOSITORY),
    "a host with a hyphen last": ("asia-.pkg.dev/p/api", ReferenceFault.HOST),
    "a host with an empty label": ("asia..pkg.dev/p/api", ReferenceFault.HOST),
    "a host with a dot first": (".pkg.dev/p/api", ReferenceFault.HOST),
    "a host with an underscore": ("asia_x.pkg.dev/p/api", ReferenceFault.HOST),
    "a port that is none": ("pkg.dev:http/p/api", ReferenceFault.HOST),
    "an empty tag": (f"{API}:", ReferenceFault.TAG),
    "two tags": (f"{API}:v1:v2", ReferenceFault.TAG),
    "a tag with a slash": (f"{API}:v1/x", ReferenceFault.TAG),
    "a tag with a dot first": (f"{API}:.v1", ReferenceFault.TAG),
    "a tag too long": (f"{API}:{'a' * 129}", ReferenceFault.TAG),
    "an empty digest": (f"{API}@", ReferenceFault.DIGEST),
    "half a digest": (f"{API}@sha256:0123", ReferenceFault.DIGEST),
    "a digest in capitals": (f"{API}@{DIGEST.upper()}", ReferenceFault.DIGEST),
    "a digest of another kind": (f"{API}@sha512:{'0' * 128}", ReferenceFault.DIGEST),
    "a digest and more": (f"{API}@{DIGEST}0", ReferenceFault.DIGEST),
    "a user": (f"user@{HOST}/p/api", ReferenceFault.DIGEST),
    "a name too long": (f"{HOST}/{'a' * NAME_LIMIT}", ReferenceFault.TOO_LONG),
    "far too long": ("a/" * 100_000, ReferenceFault.TOO_LONG),
}


@pytest.mark.parametrize(("text", "fault"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_name_is_refused_with_the_key_of_what_is_wrong(text: str, fault: ReferenceFault) -> None:
    with pytest.raises(ValueError) as refused:
        Reference.parse(text)
    assert isinstance(refused.value, BadReference)
    assert (refused.value.fault, str(refused.value)) == (fault, fault.value)


def test_the_longest_name_is_one_of_255_characters() -> None:
    longest = f"{HOST}/{'a' * (NAME_LIMIT - len(HOST) - 1)}"
    assert len(Reference.parse(longest).name) == NAME_LIMIT
    with pytest.raises(BadReference, match="too_long"):
        Reference.parse(f"{longest}a")


@pytest.mark.parametrize("shape", ["{}", "{}/", "{}@", "{}:"])
def test_a_hostile_text_is_refused_at_once(shape: str) -> None:
    # 500 characters that a careless pattern would try in every way: a test that never ends.
    with pytest.raises(BadReference):
        Reference.parse(shape.format(f"{HOST}/{'a-' * 110}!"))
    with pytest.raises(BadReference):
        Reference.parse(shape.format(f"{'a.' * 200}_/x"))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aZ09.-_/:@ \n", max_size=40))
def test_whatever_is_read_is_read_again_the_same_and_nothing_else_is_raised(text: str) -> None:
    try:
        read = Reference.parse(text)
    except BadReference:
        return
    assert Reference.parse(str(read)) == read


def test_a_name_cannot_be_put_together_of_parts_that_are_none() -> None:
    for parts in (
        {"host": "evil.example/x", "repository": "api"},
        {"host": HOST, "repository": "../api"},
        {"host": HOST, "repository": "api", "tag": "v1/x"},
        {"host": HOST, "repository": "api", "digest": "latest"},
        {"host": HOST, "repository": "api\n"},
    ):
        with pytest.raises(ValidationError):
            Reference.model_validate(parts)


def test_without_tag_and_digest_latest_is_meant_and_that_can_be_said() -> None:
    assert Reference.parse(API).is_latest_unsaid
    assert Reference.parse(API).asked == "latest"
    written = Reference.parse(f"{API}:latest")
    assert (written.is_latest_unsaid, written.asked) == (False, "latest")


def test_where_there_are_tag_and_digest_the_digest_decides() -> None:
    both = Reference.parse(f"{API}:v1@{DIGEST}")
    assert (both.is_latest_unsaid, both.asked) == (False, DIGEST)


def test_a_pinned_name_has_the_digest_and_no_tag_that_could_move() -> None:
    pinned = Reference.parse(f"{API}:v1").pinned(DIGEST)
    assert str(pinned) == f"{API}@{DIGEST}"
    assert pinned.pinned(DIGEST) == pinned
    with pytest.raises(BadReference, match="digest"):
        pinned.pinned("v2")


HOSTS = {
    HOST: None,
    "us-docker.pkg.dev": None,
    "docker.europe-west3.rep.pkg.dev": None,
    "gcr.io": ImageTrouble.SHUT_DOWN,
    "asia.gcr.io": ImageTrouble.SHUT_DOWN,
    "docker.io": ImageTrouble.NOT_SUPPORTED,
    "ghcr.io": ImageTrouble.NOT_SUPPORTED,
    "pkg.dev": ImageTrouble.NOT_SUPPORTED,
    "evilpkg.dev": ImageTrouble.NOT_SUPPORTED,
    "us-docker.pkg.dev.evil.example": ImageTrouble.NOT_SUPPORTED,
    "us-docker.pkg.dev:8443": ImageTrouble.NOT_SUPPORTED,
    "notgcr.io": ImageTrouble.NOT_SUPPORTED,
    "169.254.169.254": ImageTrouble.NOT_SUPPORTED,
}


@pytest.mark.parametrize(("host", "refused"), HOSTS.items(), ids=HOSTS)
def test_only_artifact_registry_is_asked_and_container_registry_has_a_refusal_of_its_own(
    host: str, refused: ImageTrouble | None
) -> None:
    assert refusal(Reference.parse(f"{host}/p/r/api:v1")) is refused


def test_a_problem_says_its_kind_and_the_image() -> None:
    problem = ImageProblem(ImageTrouble.NOT_FOUND, Reference.parse(f"{API}:v9"))
    assert str(problem) == f"not_found: {API}:v9"


def test_tags_are_in_the_order_of_their_upload_and_those_without_a_time_come_last() -> None:
    def tag(name: str, hour: int | None) -> Tag:
        at = datetime(2026, 11, 22, hour, tzinfo=UTC) if hour is not None else None
        return Tag(name=name, uploaded_at=at)

    tags = [tag("z", None), tag("b", 3), tag("old", 1), tag("a", 3), tag("new", 9), tag("c", None)]
    assert [one.name for one in newest_first(tags)] == ["new", "a", "b", "old", "c", "z"]
