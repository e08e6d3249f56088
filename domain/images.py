"""Names of container images: what may be deployed by them, and what a registry says about them."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import Field

from domain.levels import Value

LATEST = "latest"
"""The tag that is meant where a name has neither a tag nor a digest."""

NAME_LIMIT = 255
"""Characters of host and repository together."""

TEXT_LIMIT = 512
"""More than the longest name with its tag (128) and its digest (71)."""

# The grammar is that of github.com/distribution/reference, without its short names (``nginx``), which mean
# Docker Hub by habit only, and with the one digest algorithm that registries use.
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_PART}(?:/{_PART})*"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"

ARTIFACT_REGISTRY = ".pkg.dev"
"""How the hosts of Artifact Registry end, such as ``asia-northeast1-docker.pkg.dev``."""

_CONTAINER_REGISTRY = frozenset({"gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io"})


class ReferenceFault(StrEnum):
    """Why a text is no name of an image."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    CHARACTERS = "characters"
    """Blanks, control characters or others that no name has; a scheme such as ``https://`` too."""
    NO_HOST = "no_host"
    HOST = "host"
    UPPERCASE = "uppercase"
    REPOSITORY = "repository"
    TAG = "tag"
    DIGEST = "digest"


class BadReference(ValueError):
    """The text is no name of an image. ``str()`` is the fault's value: the key of what a person is told."""

    def __init__(self, fault: ReferenceFault, text: str) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.text = text[:TEXT_LIMIT]


class Reference(Value):
    """The name of an image: ``host/repository[:tag][@digest]``. The host is in small letters.

    ``digest`` is ``sha256:`` and 64 hex digits. Where there are both, the digest decides and the tag is
    a remark, as everywhere with Docker.
    """

    host: str = Field(pattern=rf"^{_HOST}$")
    repository: str = Field(pattern=rf"^{_REPOSITORY}$")
    tag: str | None = Field(default=None, pattern=rf"^{_TAG}$")
    digest: str | None = Field(default=None, pattern=rf"^{_DIGEST}$")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name as people write it; blanks around it do not matter. Raises ``BadReference``."""
        text = text.strip()
        _check_text(text)
        name, at, digest = text.partition("@")
        if at and not re.fullmatch(_DIGEST, digest):
            raise BadReference(ReferenceFault.DIGEST, text)
        host, slash, path = name.partition("/")
        # As Docker tells them apart: a first part without a dot and a port is a repository's.
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            raise BadReference(ReferenceFault.NO_HOST, text)
        if not re.fullmatch(_HOST, host):
            raise BadReference(ReferenceFault.HOST, text)
        repository, colon, tag = path.partition(":")
        if not re.fullmatch(_REPOSITORY, repository):
            is_case = re.fullmatch(_REPOSITORY, repository.lower()) is not None
            raise BadReference(ReferenceFault.UPPERCASE if is_case else ReferenceFault.REPOSITORY, text)
        if colon and not re.fullmatch(_TAG, tag):
            raise BadReference(ReferenceFault.TAG, text)
        if len(host) + 1 + len(repository) > NAME_LIMIT:
            raise BadReference(ReferenceFault.TOO_LONG, text)
        return cls(
            host=host.lower(),
            repository=repository,
            tag=tag if colon else None,
            digest=digest if at else None,
        )

    @classmethod
    def read(cls, text: str, serving: str | None) -> Self:
        """The same, or only what differs from the image that serves: ``v42``, ``api:v42``, ``sha256:…``.

        Raises ``BadReference``, also for a short name where it is not known what serves.
        """
        text = text.strip()
        if "/" in text or serving is None or not is_short(text):
            return cls.parse(text)
        of = cls.parse(serving)
        own = of.repository.rpartition("/")[2]
        named = re.fullmatch(rf"{re.escape(own)}([:@].+)", text)
        if named is not None:
            return cls.parse(of.name + named[1])
        mark = "" if text[0] in ":@" else "@" if is_digest(text) else ":"
        return cls.parse(of.name + mark + text)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest is not None else "")

    @property
    def name(self) -> str:
        """Host and repository, without tag and digest."""
        return f"{self.host}/{self.repository}"

    @property
    def is_latest_unsaid(self) -> bool:
        """True where ``latest`` is meant without being written, which whoever approves must be told."""
        return self.tag is None and self.digest is None

    @property
    def asked(self) -> str:
        """What a registry is asked for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or LATEST

    def pinned(self, digest: str) -> "Reference":
        """The same image by its digest alone. The tag is left out: it may point elsewhere tomorrow.

        Raises ``BadReference`` for what is no digest.
        """
        if not re.fullmatch(_DIGEST, digest):
            raise BadReference(ReferenceFault.DIGEST, digest)
        return Reference(host=self.host, repository=self.repository, digest=digest)


class Tag(Value):
    """A tag of a repository.

    ``digest`` and ``uploaded_at`` (of the image that it points to, aware, in UTC) are ``None`` where the
    registry lists names only.
    """

    name: str
    digest: str | None = None
    uploaded_at: datetime | None = None


class ImageTrouble(StrEnum):
    """Why an image cannot be found out about, for good."""

    NOT_FOUND = "not_found"
    NO_ACCESS = "no_access"
    """Denied. Registries say the same of repositories that do not exist, to those who may not know."""
    NOT_SUPPORTED = "not_supported"
    """Not in Artifact Registry, and not given by digest."""
    SHUT_DOWN = "shut_down"
    """In Container Registry (``gcr.io``), which Google has shut down in favour of Artifact Registry."""


class ImageProblem(Exception):
    """The registry has no such image for us. ``str()`` is ``kind: reference``."""

    def __init__(self, kind: ImageTrouble, reference: Reference) -> None:
        super().__init__(f"{kind.value}: {reference}")
        self.kind = kind
        self.reference = reference


def refusal(reference: Reference) -> ImageTrouble | None:
    """Why a look-up is not even tried; ``None`` for hosts of Artifact Registry, the only ones asked.

    A name by digest needs no look-up, on any host: do not ask then. A port makes it another host, and
    our access token must not travel there.
    """
    if reference.host in _CONTAINER_REGISTRY:
        return ImageTrouble.SHUT_DOWN
    if reference.host.endswith(ARTIFACT_REGISTRY):
        return None
    return ImageTrouble.NOT_SUPPORTED


def is_short(text: str) -> bool:
    """Whether it may be the end of an image's name: a tag or a digest, perhaps behind its last part."""
    return re.fullmatch(rf"(?:{_PART})?:{_TAG}|{_TAG}|(?:(?:{_PART})?@)?{_DIGEST}", text.strip()) is not None


def is_tag(text: str) -> bool:
    """Whether it is well-formed as a tag."""
    return re.fullmatch(_TAG, text) is not None


def is_digest(text: str) -> bool:
    """Whether it is a digest: ``sha256:`` and 64 small hex digits."""
    return re.fullmatch(_DIGEST, text) is not None


def newest_first(tags: list[Tag]) -> list[Tag]:
    """By upload, those without a time last; by name where that does not decide, so that order is stable."""
    dated = [(tag.uploaded_at.timestamp() if tag.uploaded_at else float("-inf"), tag) for tag in tags]
    return [tag for when, tag in sorted(dated, key=lambda one: (-one[0], one[1].name))]


def _check_text(text: str) -> None:
    """Refuse what cannot be a name before it is taken apart, so that the fault named is the plain one."""
    if not text:
        raise BadReference(ReferenceFault.EMPTY, text)
    if len(text) > TEXT_LIMIT:
        raise BadReference(ReferenceFault.TOO_LONG, text)
    if "://" in text or not re.fullmatch(r"[A-Za-z0-9._:/@-]+", text):
        raise BadReference(ReferenceFault.CHARACTERS, text)
