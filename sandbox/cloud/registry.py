"""The pretend Artifact Registry: Docker's protocol, with Google's additions, over what was pushed."""

import base64
import binascii
import re
from datetime import datetime
from typing import Any

from aiohttp import web
from yarl import URL

from sandbox.cloud.images import MEDIA_TYPE, Images
from sandbox.cloud.tokens import Tokens

MOST = 10_000
"""Tags in a page, whatever ``n`` asks for; as many where it asks for nothing."""

_ASKED = re.compile(r"(?P<name>.+)/(?:manifests/(?P<reference>[^/]+)|(?P<list>tags/list))")


class Registry:
    """Answers below ``/{host}/v2/``. Reading only."""

    def __init__(self, images: Images, tokens: Tokens) -> None:
        self._images = images
        self._tokens = tokens

    def answer(self, request: web.Request, host: str, rest: str) -> web.Response:
        """Answer one request; ``rest`` is the path behind ``/v2/``."""
        if rest == "token":
            return self._exchange(request)
        if not self._is_known(request):
            return _challenge(request, host, rest)
        if rest == "":
            return web.json_response({})
        asked = _ASKED.fullmatch(rest)
        if asked is None:
            return problem(404, "NAME_UNKNOWN", "The requested path is not served.")
        name = f"{host}/{asked['name']}"
        if name not in self._images.repositories():
            return problem(404, "NAME_UNKNOWN", f'Repository "{asked["name"]}" not found')
        if asked["list"]:
            return self._list(request, name, asked["name"])
        return self._manifest(request, name, asked["reference"])

    # Manifests.

    def _manifest(self, request: web.Request, name: str, reference: str) -> web.Response:
        sign = "@" if ":" in reference else ":"
        digest = self._images.digest(f"{name}{sign}{reference}")
        accepted = request.headers.get("Accept", "*/*")
        if digest is None:
            return problem(404, "MANIFEST_UNKNOWN", f'Failed to fetch "{reference}"')
        if not any(one in accepted for one in (MEDIA_TYPE, "*/*")):
            return problem(404, "MANIFEST_UNKNOWN", f"Manifest is {MEDIA_TYPE}, which is not accepted")
        body = self._images.manifest(f"{name}@{digest}")
        assert body is not None
        headers = {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Docker-Content-Digest": digest,
            "Docker-Distribution-Api-Version": "registry/2.0",
        }
        return web.Response(body=None if request.method == "HEAD" else body, headers=headers)

    # Tags.

    def _list(self, request: web.Request, name: str, path: str) -> web.Response:
        """Tags by name, from behind ``last``, ``n`` of them; with what Google says of their manifests."""
        try:
            most = min(int(request.query.get("n", MOST)), MOST)
        except ValueError:
            most = 0
        if most < 1:
            return problem(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
        every = sorted(self._images.tags(name))
        left = [(tag, digest) for tag, digest in every if tag > request.query.get("last", "")]
        page = left[:most]
        answer = {
            "child": [],
            "manifest": self._said(name, page),
            "name": path,
            "tags": [tag for tag, _ in page],
        }
        response = web.json_response(answer)
        if len(left) > most:
            following = URL(f"/v2/{path}/tags/list").with_query(n=most, last=page[-1][0])
            response.headers["Link"] = f'<{following}>; rel="next"'
        return response

    def _said(self, name: str, page: list[tuple[str, str]]) -> dict[str, dict[str, Any]]:
        """Google's addition: each manifest by its digest, numbers as strings."""
        found: dict[str, dict[str, Any]] = {}
        for tag, digest in page:
            at = self._images.pushed_at(f"{name}:{tag}")
            one = found.setdefault(
                digest,
                {
                    "imageSizeBytes": "48234496",
                    "layerId": "",
                    "mediaType": MEDIA_TYPE,
                    "tag": [],
                    "timeCreatedMs": _milliseconds(at),
                    "timeUploadedMs": _milliseconds(at),
                },
            )
            one["tag"].append(tag)
        return found

    # Who asks.

    def _is_known(self, request: web.Request) -> bool:
        kind, _, said = request.headers.get("Authorization", "").partition(" ")
        match kind.lower():
            case "bearer":
                return self._tokens.is_access(said.strip())
            case "basic":
                return self._tokens.is_access(_password(said.strip()))
            case _:
                return False

    def _exchange(self, request: web.Request) -> web.Response:
        """What Docker's own clients do first: an account's token for one of the registry; here the same."""
        _, _, said = request.headers.get("Authorization", "").partition(" ")
        token = _password(said.strip())
        if not self._tokens.is_access(token):
            return problem(401, "UNAUTHORIZED", "authentication failed")
        return web.json_response({"token": token, "expires_in": 3600})


def problem(status: int, code: str, message: str) -> web.Response:
    """A registry's own shape of an error."""
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)


def denied(path: str) -> web.Response:
    """Google's 403, which does not say whether the repository exists."""
    project, _, rest = path.partition("/")
    resource = f"projects/{project}/locations/-/repositories/{rest.partition('/')[0]}"
    permission = "artifactregistry.repositories.downloadArtifacts"
    said = f'Permission "{permission}" denied on resource "{resource}" (or it may not exist)'
    return problem(403, "DENIED", said)


def _challenge(request: web.Request, host: str, rest: str) -> web.Response:
    response = problem(401, "UNAUTHORIZED", "authentication failed")
    asked = _ASKED.fullmatch(rest)
    scope = f',scope="repository:{asked["name"]}:pull"' if asked else ""
    realm = f"{request.url.origin()}/{host}/v2/token"
    response.headers["WWW-Authenticate"] = f'Bearer realm="{realm}",service="{host}"{scope}'
    return response


def _password(said: str) -> str:
    """The token of ``oauth2accesstoken:<token>``, as Docker's credential helpers send it."""
    try:
        user, _, password = base64.b64decode(said, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password if user == "oauth2accesstoken" else ""


def _milliseconds(at: datetime | None) -> str:
    return str(int(at.timestamp() * 1000)) if at is not None else "0"


def repository_of(rest: str) -> str:
    """The repository's path in what is asked; empty where none is."""
    asked = _ASKED.fullmatch(rest)
    return asked["name"] if asked else ""
