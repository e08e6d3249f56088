"""What the pretend registry holds: images by tag and digest, and how the program inside each behaves."""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"

LATEST = "latest"
"""The tag that is meant where a reference has none."""

_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a program of this image behaves once it runs. Shares are 0..1."""

    error_share: float = 0.001
    """Of its requests, that answer 5xx."""

    p95_ms: float = 200.0
    hanging_share: float = 0.0
    """Of its requests, that never complete; they are absent from request_count."""

    starts: bool = True
    """False: the container exits, and the revision never gets ready."""

    health_status: int = 200
    """Of GET /health."""

    health_body: str = "ok"
    api_health_body: str = '{"status":"healthy"}'
    """Of GET /api/v1/health."""

    api_health_status: int = 200


HEALTHY = Behaviour()


@dataclass(frozen=True, slots=True)
class _Pushed:
    """An image as it lies in its repository."""

    behaviour: Behaviour
    at: datetime
    manifest: bytes


class Images:
    """Repositories of images. A repository's name holds its host, as in ``…-docker.pkg.dev/p/r/api``."""

    def __init__(self) -> None:
        self._images: dict[tuple[str, str], _Pushed] = {}
        self._tags: dict[str, dict[str, tuple[str, datetime, int]]] = {}
        self._pushes = 0

    def push(self, reference: str, behaviour: Behaviour = HEALTHY, *, at: datetime | None = None) -> str:
        """Lay an image down and point the tag at it; its digest, ``sha256:…``, follows from both alone.

        ``at`` is when, for whoever lists tags by age; without it each push is a second later than the one
        before. The digest that the tag had stays reachable. Raises ``ValueError`` for a digest: it cannot
        be chosen.
        """
        repository, tag, digest = _split(reference)
        if digest is not None:
            raise ValueError(f"{reference}: an image is pushed by tag")
        tag = tag or LATEST
        self._pushes += 1
        at = at or datetime.fromtimestamp(_LONG_AGO.timestamp() + self._pushes, UTC)
        manifest = _manifest(f"{repository}:{tag}\n{sorted(asdict(behaviour).items())}")
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self._images[repository, digest] = _Pushed(behaviour, at, manifest)
        self._tags.setdefault(repository, {})[tag] = (digest, at, self._pushes)
        return digest

    def digest(self, reference: str) -> str | None:
        """What a tag points to, or the digest itself where there is such an image; else ``None``."""
        repository, tag, digest = _split(reference)
        if digest is not None:
            return digest if (repository, digest) in self._images else None
        found = self._tags.get(repository, {}).get(tag or LATEST)
        return found[0] if found is not None else None

    def behaviour(self, reference: str) -> Behaviour | None:
        """How the program in it behaves; ``None`` where there is no such image."""
        digest = self.digest(reference)
        return self._images[_split(reference)[0], digest].behaviour if digest is not None else None

    def manifest(self, reference: str) -> bytes | None:
        """The bytes that hash to its digest; ``None`` where there is no such image."""
        digest = self.digest(reference)
        return self._images[_split(reference)[0], digest].manifest if digest is not None else None

    def pushed_at(self, reference: str) -> datetime | None:
        """When it was pushed; ``None`` where there is no such image."""
        digest = self.digest(reference)
        return self._images[_split(reference)[0], digest].at if digest is not None else None

    def tags(self, repository: str) -> list[tuple[str, str]]:
        """(tag, digest) of a repository, the newest first."""
        found = sorted(self._tags.get(repository, {}).items(), key=lambda one: one[1][1:], reverse=True)
        return [(tag, digest) for tag, (digest, _, _) in found]

    def repositories(self) -> list[str]:
        """All repositories, in the order of their names."""
        return sorted(self._tags)


def _manifest(content: str) -> bytes:
    """An image's manifest in Docker's second format; the content stands for its configuration."""
    raw = content.encode()
    config = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": len(raw),
        "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}",
    }
    return json.dumps({"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": config, "layers": []}).encode()


def _split(reference: str) -> tuple[str, str | None, str | None]:
    """Repository with its host, tag, digest. The colon of a port is before the last slash."""
    name, at, digest = reference.partition("@")
    slash = name.rfind("/")
    colon = name.find(":", slash + 1)
    repository, tag = (name, None) if colon < 0 else (name[:colon], name[colon + 1 :])
    return repository, tag, digest if at else None
