"""Images and tokens over real HTTP: the pretend cloud as real clients see it, and registries that lie."""

import asyncio
import base64
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from bot.clock import SystemClock
from domain.errors import Outage
from domain.images import BadReference, ImageProblem, ImageTrouble, Reference
from domain.ports import Clock
from domain.ports import Images as ImagesPort
from gcp.identity import Identity
from gcp.images import MANIFESTS, MOST_MANIFEST, MOST_PAGES, PAGE, Registry
from sandbox.clock import StandingClock
from sandbox.cloud.faults import FOREVER, Faults, permission, quota, slow, unavailable
from sandbox.cloud.images import Behaviour, Images
from sandbox.cloud.journal import Journal
from sandbox.cloud.web import Web
from tests.contracts.test_probing import serving

HOST = "asia-northeast1-docker.pkg.dev"
PATH = "bondpoint-prod/apps/api"
API = f"{HOST}/{PATH}"
AUDIENCE = "https://api-abc123-an.a.run.app"


@dataclass
class Pretend:
    """The pretend cloud and the real code that talks to it."""

    web: Web
    images: Images
    faults: Faults
    journal: Journal
    clock: StandingClock
    session: aiohttp.ClientSession
    identity: Identity
    registry: Registry

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
        url = f"{self.web.base}{path}"
        async with self.session.request(method, url, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers, await response.read()

    async def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {await self.identity.access_token()}"}


@pytest.fixture
async def cloud() -> AsyncIterator[Pretend]:
    clock, images, faults, journal = StandingClock(), Images(), Faults(), Journal()
    served = Web(images, clock, journal, faults)
    await served.start()
    async with aiohttp.ClientSession() as session:
        identity = Identity(served.base, session, clock)
        registry = Registry(identity, served.base, session, seconds=2)
        yield Pretend(served, images, faults, journal, clock, session, identity, registry)
    await served.stop()


async def outage(call: Awaitable[Any]) -> Outage:
    with pytest.raises(Outage) as raised:
        await call
    return raised.value


async def problem(call: Awaitable[Any]) -> ImageTrouble:
    with pytest.raises(ImageProblem) as raised:
        await call
    return raised.value.kind


# Digests.


async def test_a_tag_is_resolved_to_the_digest_that_was_pushed(cloud: Pretend) -> None:
    old = cloud.images.push(f"{API}:v1")
    new = cloud.images.push(f"{API}:latest", Behaviour(error_share=0.3))
    fulfils: ImagesPort = cloud.registry
    assert await fulfils.digest(Reference.parse(f"{API}:v1")) == old
    assert await fulfils.digest(Reference.parse(API)) == new
    assert old != new


async def test_a_tag_that_moved_means_the_new_image_and_the_old_one_stays_reachable(cloud: Pretend) -> None:
    old = cloud.images.push(f"{API}:v1")
    new = cloud.images.push(f"{API}:v1", Behaviour(error_share=0.3))
    assert await cloud.registry.digest(Reference.parse(f"{API}:v1")) == new
    status, headers, body = await cloud.get(f"/{HOST}/v2/{PATH}/manifests/{old}", **await cloud.bearer())
    assert (status, headers["Docker-Content-Digest"]) == (200, old)
    assert f"sha256:{hashlib.sha256(body).hexdigest()}" == old


async def test_a_name_by_digest_costs_no_call_on_any_host(cloud: Pretend) -> None:
    digest = f"sha256:{'a' * 64}"
    for host in (HOST, "docker.io", "gcr.io"):
        assert await cloud.registry.digest(Reference.parse(f"{host}/p/r/api:v1@{digest}")) == digest
    assert cloud.journal.calls == []


@pytest.mark.parametrize("text", [f"{API}:v9", f"{HOST}/bondpoint-prod/apps/nothing:v1"])
async def test_an_image_that_is_not_there_is_told_as_such(cloud: Pretend, text: str) -> None:
    cloud.images.push(f"{API}:v1")
    assert await problem(cloud.registry.digest(Reference.parse(text))) is ImageTrouble.NOT_FOUND


async def test_a_registry_that_denies_is_told_as_such(cloud: Pretend) -> None:
    cloud.images.push(f"{API}:v1")
    cloud.faults.add(permission(), method="GetManifest", metric=API)
    reference = Reference.parse(f"{API}:v1")
    assert await problem(cloud.registry.digest(reference)) is ImageTrouble.NO_ACCESS
    assert (await cloud.registry.digest(reference)).startswith("sha256:")
    assert [call.outcome for call in cloud.journal.of("GetManifest")] == ["PERMISSION_DENIED", "OK"]


@pytest.mark.parametrize(
    ("host", "trouble"),
    [("gcr.io", ImageTrouble.SHUT_DOWN), ("docker.io", ImageTrouble.NOT_SUPPORTED)],
)
async def test_other_registries_are_refused_without_any_call(
    cloud: Pretend, host: str, trouble: ImageTrouble
) -> None:
    assert await problem(cloud.registry.digest(Reference.parse(f"{host}/p/api:v1"))) is trouble
    assert await problem(cloud.registry.tags(f"{host}/p/api")) is trouble
    assert cloud.journal.calls == []


async def test_a_registry_out_of_reach_is_an_outage_with_its_reason(cloud: Pretend) -> None:
    cloud.images.push(f"{API}:v1")
    reference = Reference.parse(f"{API}:v1")
    for action, reason in (
        (quota(), f"quota: {HOST}: status 429"),
        (unavailable(), f"unavailable: {HOST}: status 503"),
    ):
        cloud.faults.add(action, method="GetManifest")
        assert (await outage(cloud.registry.digest(reference))).reason == reason
    cloud.faults.add(slow(0.5), method="GetManifest")
    hasty = Registry(cloud.identity, cloud.web.base, cloud.session, seconds=0.1)
    assert (await outage(hasty.digest(reference))).reason == f"unavailable: {HOST}: timeout"
    await cloud.web.stop()
    assert (await outage(cloud.registry.digest(reference))).reason.startswith(f"unavailable: {HOST}: ")


async def test_trouble_is_logged_when_it_begins_and_ends_and_not_in_between(cloud: Pretend) -> None:
    cloud.images.push(f"{API}:v1")
    fault = cloud.faults.add(unavailable(), method="GetManifest", count=FOREVER)
    with capture_logs() as logs:
        for _ in range(3):
            await outage(cloud.registry.digest(Reference.parse(f"{API}:v1")))
        cloud.faults.lift(fault)
        for _ in range(2):
            await cloud.registry.digest(Reference.parse(f"{API}:v1"))
    assert [one["event"] for one in logs] == ["google.trouble", "google.recovered"]


async def test_a_token_that_is_no_longer_accepted_is_replaced_once(cloud: Pretend) -> None:
    digest = cloud.images.push(f"{API}:v1")
    await cloud.registry.digest(Reference.parse(f"{API}:v1"))
    cloud.web.tokens.revoke()
    cloud.journal.clear()
    assert await cloud.registry.digest(Reference.parse(f"{API}:v1")) == digest
    assert [(call.method, call.outcome) for call in cloud.journal.calls] == [
        ("GetManifest", "UNAUTHENTICATED"),
        ("Token", "OK"),
        ("GetManifest", "OK"),
    ]


# Tags.


async def test_tags_come_newest_first_over_all_pages(cloud: Pretend) -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    # Pushed in an order that is not that of their names.
    numbers = [(number * 7919) % 2500 for number in range(2500)]
    for minute, number in enumerate(numbers):
        cloud.images.push(f"{API}:v{number:04}", at=start + timedelta(minutes=minute))
    tags = await cloud.registry.tags(API)
    assert [tag.name for tag in tags] == [f"v{number:04}" for number in reversed(numbers)]
    assert tags[0].digest == cloud.images.digest(f"{API}:{tags[0].name}")
    assert tags[0].uploaded_at == start + timedelta(minutes=2499)
    calls = [call.filter.rpartition("?")[2] for call in cloud.journal.of("ListTags")]
    assert calls == [f"n={PAGE}", f"n={PAGE}&last=v0999", f"n={PAGE}&last=v1999"]


async def test_two_tags_of_one_image_have_one_digest(cloud: Pretend) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        uploaded = {"tag": ["v1", "stable"], "timeUploadedMs": "1763780400000", "timeCreatedMs": "0"}
        return web.json_response({"tags": ["stable", "v1"], "manifest": {f"sha256:{'a' * 64}": uploaded}})

    async with lying(cloud, answer) as registry:
        tags = await registry.tags(API)
    at = datetime(2025, 11, 22, 3, 0, tzinfo=UTC)
    assert [(tag.name, tag.digest, tag.uploaded_at) for tag in tags] == [
        ("stable", f"sha256:{'a' * 64}", at),
        ("v1", f"sha256:{'a' * 64}", at),
    ]


async def test_a_repository_without_tags_has_none_and_one_that_is_not_there_is_told(cloud: Pretend) -> None:
    assert await problem(cloud.registry.tags(API)) is ImageTrouble.NOT_FOUND
    with pytest.raises(BadReference):
        await cloud.registry.tags("api")

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"name": PATH, "tags": None})

    async with lying(cloud, answer) as registry:
        assert await registry.tags(API) == []


# Registries that lie.


@asynccontextmanager
async def lying(
    cloud: Pretend, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> AsyncIterator[Registry]:
    """A registry of the test's own, with the pretend cloud's tokens."""
    async with serving(answer) as port:
        yield Registry(cloud.identity, f"http://127.0.0.1:{port}", cloud.session, seconds=2)


async def test_a_digest_is_what_the_bytes_hash_to_and_a_header_that_says_otherwise_is_an_outage(
    cloud: Pretend,
) -> None:
    said: dict[str, str] = {}
    body = b'{"schemaVersion":2}'

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept"] == MANIFESTS
        return web.Response(body=body, headers=said)

    real = f"sha256:{hashlib.sha256(body).hexdigest()}"
    async with lying(cloud, answer) as registry:
        assert await registry.digest(Reference.parse(API)) == real
        said["Docker-Content-Digest"] = real
        assert await registry.digest(Reference.parse(API)) == real
        said["Docker-Content-Digest"] = f"sha256:{'0' * 64}"
        told = await outage(registry.digest(Reference.parse(API)))
    assert told.reason.startswith(f"error: {HOST}: says ")


async def test_a_redirect_is_not_followed_so_that_the_token_stays_here(cloud: Pretend) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async with lying(cloud, answer) as registry:
        told = await outage(registry.digest(Reference.parse(f"{API}:v1")))
        await outage(registry.tags(API))
    assert told.reason == f"error: {HOST}: status 307"
    assert asked == [f"/{HOST}/v2/{PATH}/manifests/v1", f"/{HOST}/v2/{PATH}/tags/list"]


@pytest.mark.parametrize("status", [200, 404])
async def test_a_huge_answer_is_not_read_to_its_end(cloud: Pretend, status: int) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        try:
            for _ in range(1000):
                await response.write(b" " * 1_000_000)
                sent += 1_000_000
        except ConnectionError:
            pass
        return response

    async with lying(cloud, answer) as registry:
        told = await outage(registry.digest(Reference.parse(API)))
    assert told.reason.startswith(f"unavailable: {HOST}: ")
    assert sent < MOST_MANIFEST + 20_000_000


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b'{"tags": "v1"}', b'{"manifest": []}', b"[" * 100_000, b"\xff"]
)
async def test_a_broken_list_is_an_outage(cloud: Pretend, body: bytes) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    async with lying(cloud, answer) as registry:
        assert (await outage(registry.tags(API))).reason == f"error: {HOST}: broken answer"


async def test_a_plain_registry_gives_names_only_and_names_that_are_none_are_left_out(cloud: Pretend) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"tags": ["v1", "<!channel>", "v2", "", "a" * 129]})

    async with lying(cloud, answer) as registry:
        tags = await registry.tags(API)
    assert [(tag.name, tag.digest, tag.uploaded_at) for tag in tags] == [
        ("v1", None, None),
        ("v2", None, None),
    ]


@pytest.mark.parametrize("link", [f"/v2/{PATH}/tags/list?last=v1&n=5", "?last=v1&n=5", None])
async def test_the_next_page_may_be_named_in_every_usual_way(cloud: Pretend, link: str | None) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.query.get("last"):
            return web.json_response({"tags": ["v2"]})
        following = link or f"{request.url.origin()}{request.path}?last=v1&n=5"
        return web.json_response({"tags": ["v1"]}, headers={"Link": f'<{following}>; rel="next"'})

    async with lying(cloud, answer) as registry:
        assert [tag.name for tag in await registry.tags(API)] == ["v1", "v2"]


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v2/tags/list",
        f"https://evil.example/v2/{PATH}/tags/list?last=v1",
        "//evil.example/",
        "/v2/other/tags/list",
        "http://[",
        "/../x",
    ],
)
async def test_a_next_page_elsewhere_is_never_asked(cloud: Pretend, link: str) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({"tags": ["v1"]}, headers={"Link": f"<{link}>; rel=next"})

    async with lying(cloud, answer) as registry:
        assert (await outage(registry.tags(API))).reason.startswith(f"error: {HOST}: ")
    assert len(asked) == 1


async def test_pages_without_an_end_end(cloud: Pretend) -> None:
    pages = 0

    async def same(request: web.Request) -> web.StreamResponse:
        return web.json_response({"tags": []}, headers={"Link": '<?last=v1>; rel="next"'})

    async def ever_new(request: web.Request) -> web.StreamResponse:
        nonlocal pages
        pages += 1
        body = {"tags": [f"v{pages}"]}
        return web.json_response(body, headers={"Link": f'<?last=v{pages}>; rel="next"'})

    async with lying(cloud, same) as registry:
        assert (await outage(registry.tags(API))).reason == f"error: {HOST}: the pages have no end"
    async with lying(cloud, ever_new) as registry:
        with capture_logs() as logs:
            tags = await registry.tags(API)
    assert (len(tags), pages) == (MOST_PAGES, MOST_PAGES)
    assert "registry.tags_cut" in [one["event"] for one in logs]


STATUSES = {
    401: (ImageTrouble.NO_ACCESS, None),
    403: (ImageTrouble.NO_ACCESS, None),
    404: (ImageTrouble.NOT_FOUND, None),
    400: (None, "error"),
    418: (None, "error"),
    429: (None, "quota"),
    500: (None, "unavailable"),
    504: (None, "unavailable"),
}


@pytest.mark.parametrize(("status", "meant"), STATUSES.items(), ids=map(str, STATUSES))
async def test_every_status_means_something(
    cloud: Pretend, status: int, meant: tuple[ImageTrouble | None, str | None]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>", headers={"Retry-After": "7"})

    kind, word = meant
    async with lying(cloud, answer) as registry:
        if kind is not None:
            assert await problem(registry.digest(Reference.parse(API))) is kind
            assert await problem(registry.tags(API)) is kind
            return
        told = await outage(registry.digest(Reference.parse(API)))
    assert told.reason == f"{word}: {HOST}: status {status}"
    assert told.retry_after == (7 if word in {"quota", "unavailable"} else None)


async def test_a_name_that_the_registry_calls_invalid_is_not_there(cloud: Pretend) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"errors": [{"code": "NAME_INVALID"}]}, status=400)

    async with lying(cloud, answer) as registry:
        assert await problem(registry.digest(Reference.parse(API))) is ImageTrouble.NOT_FOUND


# The pretend registry, as Docker's own clients see it.


async def test_without_a_token_the_registry_challenges_and_its_realm_gives_one(cloud: Pretend) -> None:
    digest = cloud.images.push(f"{API}:v1")
    path = f"/{HOST}/v2/{PATH}/manifests/v1"
    for headers in ({}, {"Authorization": "Bearer ya29.made-up"}, {"Authorization": "Basic !!"}):
        status, said, body = await cloud.get(path, **headers)
        assert (status, json.loads(body)["errors"][0]["code"]) == (401, "UNAUTHORIZED")
    challenge = said["WWW-Authenticate"]
    assert challenge.startswith(f'Bearer realm="{cloud.web.base}/{HOST}/v2/token",service="{HOST}"')
    account = f"oauth2accesstoken:{await cloud.identity.access_token()}".encode()
    basic = {"Authorization": f"Basic {base64.b64encode(account).decode()}"}
    status, _, body = await cloud.get(f"/{HOST}/v2/token", **basic)
    token = {"Authorization": f"Bearer {json.loads(body)['token']}"}
    assert status == 200
    assert (await cloud.get(f"/{HOST}/v2/", **token))[0] == 200
    status, said, body = await cloud.get(path, "HEAD", **token)
    assert (status, said["Docker-Content-Digest"], body) == (200, digest, b"")
    assert int(said["Content-Length"]) == len((await cloud.get(path, **token))[2])


async def test_errors_are_in_the_registrys_own_shape(cloud: Pretend) -> None:
    cloud.images.push(f"{API}:v1")
    headers = await cloud.bearer()

    async def code(path: str, **more: str) -> tuple[int, str]:
        status, _, body = await cloud.get(f"/{HOST}/v2/{path}", **headers, **more)
        return status, json.loads(body)["errors"][0]["code"]

    assert await code(f"{PATH}/manifests/v2") == (404, "MANIFEST_UNKNOWN")
    assert await code(f"{PATH}/manifests/sha256:{'0' * 64}") == (404, "MANIFEST_UNKNOWN")
    assert await code("other/manifests/v1") == (404, "NAME_UNKNOWN")
    assert await code(f"{PATH}/tags/list?n=none") == (400, "PAGINATION_NUMBER_INVALID")
    index = "application/vnd.oci.image.index.v1+json"
    assert await code(f"{PATH}/manifests/v1", Accept=index) == (404, "MANIFEST_UNKNOWN")
    cloud.faults.add(permission(), method="ListTags")
    assert await code(f"{PATH}/tags/list") == (403, "DENIED")


# Tokens.


async def test_a_token_is_kept_until_five_minutes_before_its_end(cloud: Pretend) -> None:
    first = await cloud.identity.access_token(), await cloud.identity.id_token(AUDIENCE)
    cloud.clock.push(timedelta(minutes=54))
    assert (await cloud.identity.access_token(), await cloud.identity.id_token(AUDIENCE)) == first
    assert cloud.journal.count("Token") == 2
    cloud.clock.push(timedelta(minutes=1))
    second = await cloud.identity.access_token(), await cloud.identity.id_token(AUDIENCE)
    assert {*first} & {*second} == set()
    assert cloud.journal.count("Token") == 4
    assert cloud.web.tokens.is_access(second[0])
    assert cloud.web.tokens.is_for(second[1], AUDIENCE)
    assert not cloud.web.tokens.is_for(second[1], f"{AUDIENCE}/")


async def test_nobody_accepts_a_token_that_has_ended(cloud: Pretend) -> None:
    cloud.images.push(f"{API}:v1")
    bearer, identity = await cloud.bearer(), await cloud.identity.id_token(AUDIENCE)
    path = f"/{HOST}/v2/{PATH}/manifests/v1"
    for minutes, status in ((59, 200), (2, 401)):
        cloud.clock.push(timedelta(minutes=minutes))
        assert (await cloud.get(path, **bearer))[0] == status
        assert cloud.web.tokens.is_for(identity, AUDIENCE) == (status == 200)


async def test_many_who_ask_at_once_cause_one_call_for_each_kind(cloud: Pretend) -> None:
    cloud.faults.add(slow(0.05), method="Token", count=FOREVER)
    calls = [cloud.identity.access_token() for _ in range(20)]
    calls += [cloud.identity.id_token(audience) for audience in ("https://a", "https://b") * 10]
    assert len(set(await asyncio.gather(*calls))) == 3
    assert cloud.journal.count("Token") == 3


async def test_a_clock_that_was_set_back_makes_no_token_eternal(cloud: Pretend) -> None:
    await cloud.identity.access_token()
    cloud.clock.push(timedelta(days=-30))
    await cloud.identity.access_token()
    assert cloud.journal.count("Token") == 2


async def test_a_token_server_out_of_reach_is_an_outage_and_nothing_is_kept(cloud: Pretend) -> None:
    for action, reason in (
        (unavailable(), "unavailable: token server: status 503"),
        (quota(), "unavailable: token server: status 429"),
        (permission(), "credentials: token server: status 403"),
    ):
        cloud.faults.add(action, method="Token")
        assert (await outage(cloud.identity.id_token(AUDIENCE))).reason == reason
    assert await cloud.identity.id_token(AUDIENCE)
    await cloud.web.stop()
    assert (await outage(cloud.identity.access_token())).reason.startswith("unavailable: token server: ")
    reference = Reference.parse(API)
    assert (await outage(cloud.registry.digest(reference))).reason.startswith("unavailable: token server: ")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "a.b",
        "a.b.c",
        f"a.{base64.urlsafe_b64encode(b'{}').decode()}.c",
        '{"access_token": "", "expires_in": 10}',
        '{"access_token": "secret-one"}',
        '{"access_token": "secret-one", "expires_in": 1e30}',
        '{"access_token": "secret-one", "expires_in": NaN}',
        "é.é.é",
        "x" * 100_000,
    ],
)
async def test_a_broken_answer_of_a_token_server_is_an_outage_that_quotes_no_token(body: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["Metadata-Flavor"] == "Google"
        return web.Response(text=body)

    async with serving(answer) as port, aiohttp.ClientSession() as session:
        identity = Identity(f"http://127.0.0.1:{port}", session, StandingClock())
        for call in (identity.access_token(), identity.id_token(AUDIENCE)):
            told = await outage(call)
            assert told.reason.startswith(("error: ", "unavailable: "))
            assert "secret-one" not in f"{told!r} {told.__cause__!r}"


async def test_the_metadata_server_answers_nobody_who_does_not_name_it(cloud: Pretend) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    assert (await cloud.get(path))[0] == 403
    forwarded = {"Metadata-Flavor": "Google", "X-Forwarded-For": "10.0.0.1"}
    assert (await cloud.get(path, **forwarded))[0] == 403
    status, headers, body = await cloud.get(path, **{"Metadata-Flavor": "Google"})
    assert (status, headers["Metadata-Flavor"]) == (200, "Google")
    assert set(json.loads(body)) == {"access_token", "expires_in", "token_type"}
    nobody = path.replace("default", "nobody")
    assert (await cloud.get(nobody, **{"Metadata-Flavor": "Google"}))[0] == 404


ASK = """
import asyncio, sys, aiohttp
from bot.clock import SystemClock
from domain.errors import Outage
from gcp.identity import Identity

async def main():
    async with aiohttp.ClientSession() as session:
        identity = Identity(None, session, SystemClock())
        try:
            print(await identity.access_token())
            print(await identity.id_token(sys.argv[1]))
            print(await identity.id_token(sys.argv[1]))
        except Outage as outage:
            print(outage.reason)

asyncio.run(main())
"""


async def ask_google(home: Path, **environ: str) -> list[str]:
    """What Google's own library finds in such an environment, in a process of its own."""
    root = Path(__file__).parents[2]
    empty = {"PATH": os.environ["PATH"], "HOME": str(home), "CLOUDSDK_CONFIG": str(home), "NO_PROXY": "*"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ASK,
        AUDIENCE,
        cwd=root,
        env=empty | {"PYTHONPATH": str(root)} | environ,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    return said.decode().split("\n")


async def test_googles_own_library_gets_both_tokens_from_the_pretend_metadata_server(tmp_path: Path) -> None:
    clock: Clock = SystemClock()
    served = Web(Images(), clock, journal := Journal(), Faults())
    await served.start()
    address = served.base.removeprefix("http://")
    access, first, second, _ = await ask_google(
        tmp_path, GCE_METADATA_HOST=address, GCE_METADATA_IP=address, GCE_METADATA_MTLS_MODE="none"
    )
    assert served.tokens.is_access(access)
    assert served.tokens.is_for(first, AUDIENCE)
    assert second == first
    identities = [call for call in journal.of("Token") if call.metric.endswith("/identity")]
    assert [call.outcome for call in identities] == ["OK"]
    await served.stop()


async def test_without_any_credentials_the_outage_says_so(tmp_path: Path) -> None:
    said = await ask_google(tmp_path, NO_GCE_CHECK="true")
    assert [line for line in said if line.startswith("credentials: ")]
