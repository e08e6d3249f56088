"""Smoke tests against the pretend cloud's services: what was seen, and who never learns our token."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from domain.deploys import DEFAULT_CHECKS
from domain.errors import Outage
from domain.ports import Smoke as SmokePort
from domain.probes import Seen
from gcp.guarded import MOST_BODY
from gcp.identity import Identity
from gcp.smoke import AGENT, Smoke
from sandbox.clock import StandingClock
from sandbox.cloud.faults import Faults, permission, quota, slow, unavailable
from sandbox.cloud.images import Behaviour, Images
from sandbox.cloud.journal import Journal
from sandbox.cloud.web import Web
from tests.contracts.test_probing import Names, serving

SERVICE = "https://api-abc123-an.a.run.app"
TAGGED = "https://green---api-abc123-an.a.run.app"


@dataclass(frozen=True)
class Expect:
    status: int = 200
    text: str | None = None
    pointer: str | None = None
    value: Any = None


OK = Expect()


@dataclass
class Pretend:
    """The pretend cloud with its services, and the real smoke test."""

    web: Web
    journal: Journal
    faults: Faults
    session: aiohttp.ClientSession
    clock: StandingClock
    running: dict[tuple[str, str | None], Behaviour] = field(default_factory=dict)
    public: set[str] = field(default_factory=set)
    internal: set[str] = field(default_factory=set)

    def uri(self, service: str = "api", tag: str | None = None) -> str:
        return f"{self.web.base}/run/{service}" + (f"/{tag}" if tag else "")

    @property
    def identity(self) -> Identity:
        return Identity(self.web.base, self.session, self.clock)

    @property
    def smoke(self) -> Smoke:
        return Smoke(self.identity, http_endpoint=self.web.base)

    async def check(
        self, path: str, expect: Expect = OK, service: str = "api", tag: str | None = None, token: bool = True
    ) -> Seen:
        audience = self.uri(service) if token else None
        return await self.smoke.check(self.uri(service, tag), path, audience=audience, expect=expect)


@pytest.fixture
async def cloud() -> AsyncIterator[Pretend]:
    clock, faults, journal = StandingClock(), Faults(), Journal()
    async with aiohttp.ClientSession() as session:
        found: Pretend
        served = Web(
            Images(),
            clock,
            journal,
            faults,
            audience=lambda name: None if name in found.public else found.uri(name),
            behaviour=lambda name, tag: found.running.get((name, tag)),
            is_internal=lambda name: name in found.internal,
        )
        found = Pretend(served, journal, faults, session, clock)
        found.running["api", None] = Behaviour()
        await served.start()
        yield found
        await served.stop()


async def test_a_healthy_service_that_demands_our_token_is_seen_with_its_answer(cloud: Pretend) -> None:
    seen = await cloud.check("/health")
    assert (seen.url, seen.status, seen.problem, seen.body) == (f"{cloud.uri()}/health", 200, None, "ok")
    assert 0 < seen.seconds < 5


async def test_a_tag_is_asked_with_the_token_of_its_service(cloud: Pretend) -> None:
    cloud.running["api", "green"] = Behaviour(health_status=503, health_body="no database")
    seen = await cloud.check("/health", tag="green")
    assert (seen.status, seen.problem, seen.body) == (503, "HTTP 503", "no database")
    assert (await cloud.check("/health")).problem is None


async def test_the_checks_of_every_service_pass_on_a_healthy_one_and_not_on_a_sick_one(
    cloud: Pretend,
) -> None:
    fulfils: SmokePort = cloud.smoke
    cloud.running["api", "green"] = Behaviour(health_status=500, api_health_body='{"status":"degraded"}')

    async def problems(uri: str) -> list[str | None]:
        asked = [fulfils.check(uri, one.path, audience=cloud.uri(), expect=one) for one in DEFAULT_CHECKS]
        return [seen.problem for seen in await asyncio.gather(*asked)]

    assert await problems(cloud.uri()) == [None, None]
    assert await problems(cloud.uri(tag="green")) == ["HTTP 500", "unexpected value"]


@pytest.mark.parametrize("expected", [403, 401])
async def test_without_a_token_or_with_a_strangers_the_service_refuses(cloud: Pretend, expected: int) -> None:
    cloud.running["other", None] = Behaviour()
    if expected == 403:
        seen = await cloud.check("/health", token=False)
        assert "does not have permission" in seen.body
    else:
        token = await cloud.identity.id_token(cloud.uri("other"))
        headers = {"Authorization": f"Bearer {token}"}
        async with cloud.session.get(f"{cloud.uri()}/health", headers=headers) as response:
            assert response.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
            seen = Seen(url="", status=response.status, seconds=0)
    assert seen.status == expected


async def test_a_public_service_is_asked_without_a_token(cloud: Pretend) -> None:
    cloud.public.add("api")
    assert (await cloud.check("/health", token=False)).problem is None
    assert cloud.journal.count("Token") == 0


EXPECTATIONS = {
    "a status": (Expect(status=418), "HTTP 200"),
    "the text": (Expect(text="healthy"), None),
    "another text": (Expect(text="sick"), "unexpected text"),
    "a value": (Expect(pointer="/status", value="healthy"), None),
    "another value": (Expect(pointer="/status", value="sick"), "unexpected value"),
    "a value deep inside": (Expect(pointer="/checks/1/a~1b~0", value=True), None),
    "true is not 1": (Expect(pointer="/checks/1/a~1b~0", value=1), "unexpected value"),
    "a number": (Expect(pointer="/n", value=1.0), None),
    "null": (Expect(pointer="/nothing"), None),
    "null is not missing": (Expect(pointer="/missing"), "unexpected value"),
    "a list's end": (Expect(pointer="/checks/2", value=None), "unexpected value"),
    "a list's last": (Expect(pointer="/checks/-", value=None), "unexpected value"),
    "a leading zero": (Expect(pointer="/checks/01", value={"a/b~": True}), "unexpected value"),
    "inside a text": (Expect(pointer="/status/0", value="h"), "unexpected value"),
    "the whole": (Expect(pointer="", value={}), "unexpected value"),
    "no pointer": (Expect(pointer="status", value="healthy"), "unexpected value"),
}
HEALTH = json.dumps({"status": "healthy", "n": 1, "nothing": None, "checks": [{}, {"a/b~": True}]})


@pytest.mark.parametrize(("expect", "problem"), EXPECTATIONS.values(), ids=EXPECTATIONS)
async def test_what_is_expected_is_looked_for_in_the_answer(
    cloud: Pretend, expect: Expect, problem: str | None
) -> None:
    cloud.running["api", None] = Behaviour(api_health_body=HEALTH)
    seen = await cloud.check("/api/v1/health", expect)
    assert (seen.status, seen.problem) == (200, problem)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<html>", "not json"),
        ("", "not json"),
        ('{"status": NaN}', "not json"),
        ("[" * 4000, "not json"),
        (json.dumps({"status": "healthy", "more": "x" * MOST_BODY}), "too long"),
        (json.dumps({"status": "healthy"}).ljust(MOST_BODY), None),
    ],
    ids=["html", "nothing", "nan", "deep", "long", "just"],
)
async def test_an_answer_that_cannot_be_read_as_json_is_no_good_one(
    cloud: Pretend, body: str, problem: str | None
) -> None:
    cloud.running["api", None] = Behaviour(api_health_body=body)
    seen = await cloud.check("/api/v1/health", Expect(pointer="/status", value="healthy"))
    assert (seen.status, seen.problem, seen.body) == (200, problem, body[:MOST_BODY])


async def test_a_token_that_a_service_sends_back_is_blacked_out(cloud: Pretend) -> None:
    got: list[dict[str, str]] = []

    async def echo(request: web.Request) -> web.StreamResponse:
        got.append(dict(request.headers))
        fill = "x" * int(request.query.get("fill", 0))
        return web.Response(text=f"{fill}you sent {request.headers.get('Authorization')}")

    async with serving(echo) as port:
        base = f"http://127.0.0.1:{port}"
        smoke = Smoke(cloud.identity, http_endpoint=base)
        for fill in (0, MOST_BODY - 40):
            seen = await smoke.check(f"{base}/x", f"/?fill={fill}", audience=f"{base}/x", expect=OK)
            assert seen.problem is None
            assert "eyJ" not in seen.body
            assert seen.body.endswith("Bearer [token]")
    assert got[0]["Authorization"].startswith("Bearer eyJ")
    assert got[0]["User-Agent"] == AGENT
    assert "Metadata-Flavor" not in got[0]


async def test_a_redirect_is_what_was_seen_and_the_token_does_not_go_along(cloud: Pretend) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with serving(answer) as port:
        base = f"http://127.0.0.1:{port}"
        smoke = Smoke(cloud.identity, http_endpoint=base)
        seen = await smoke.check(base, "/health", audience=base, expect=OK)
    assert (seen.status, seen.problem, asked) == (302, "HTTP 302", ["/health"])


async def test_a_service_that_hangs_is_a_timeout(cloud: Pretend) -> None:
    cloud.running["api", None] = Behaviour(hanging_share=1)
    smoke = Smoke(cloud.identity, http_endpoint=cloud.web.base, seconds=0.2)
    seen = await smoke.check(cloud.uri(), "/orders", audience=cloud.uri(), expect=OK)
    assert (seen.status, seen.problem, seen.body) == (None, "timeout", "")
    assert 0.2 <= seen.seconds < 2


async def test_a_cloud_that_is_not_there_is_a_problem_and_without_a_token_an_outage(cloud: Pretend) -> None:
    await cloud.web.stop()
    assert (await cloud.check("/health", token=False)).problem == "refused"
    with pytest.raises(Outage, match="unavailable: token server"):
        await cloud.check("/health")


# Who may be asked, and who learns a token.

ADDRESSES = {
    "the service": (SERVICE, SERVICE, "dns"),
    "its tag": (TAGGED, SERVICE, "dns"),
    "without a token": (SERVICE, None, "dns"),
    "the port that is meant anyway": (f"{SERVICE}:443", SERVICE, "dns"),
    "a slash at the end": (f"{SERVICE}/", f"{SERVICE}/", "dns"),
    "an origin of the policy": ("https://api.example.com", SERVICE, "dns"),
    "plain HTTP of the policy, without a token": ("http://plain.example.com", None, "dns"),
    "plain HTTP of the policy": ("http://plain.example.com", SERVICE, "forbidden address"),
    "another service": ("https://web-abc123-an.a.run.app", SERVICE, "forbidden address"),
    "the service with a tag's token": (SERVICE, TAGGED, "forbidden address"),
    "a host that ends alike": ("https://evil-api-abc123-an.a.run.app", SERVICE, "forbidden address"),
    "a host below": ("https://x.api-abc123-an.a.run.app", SERVICE, "forbidden address"),
    "plain HTTP": (SERVICE.replace("https", "http"), SERVICE, "forbidden address"),
    "another port": (f"{SERVICE}:8443", SERVICE, "forbidden address"),
    "another host": ("https://evil.example", SERVICE, "forbidden address"),
    "another host, without a token": ("https://evil.example", None, "forbidden address"),
    "run.app in the middle": ("https://api.run.app.evil.example", SERVICE, "forbidden address"),
    "no dot before": ("https://evilrun.app", None, "forbidden address"),
    "a password": ("https://user:word@api-abc123-an.a.run.app", SERVICE, "forbidden address"),
    "a user that looks like a host": (f"{SERVICE}@evil.example", SERVICE, "forbidden address"),
    "a query": (f"{SERVICE}/?x=", SERVICE, "forbidden address"),
    "the metadata server": ("http://169.254.169.254", None, "forbidden address"),
    "this machine": ("http://127.0.0.1:1", None, "forbidden address"),
    "no host": ("https://", None, "forbidden address"),
    "a file": ("file:///etc", None, "forbidden address"),
    "nothing": ("", None, "forbidden address"),
    "half an address": ("https://[::1", None, "forbidden address"),
}


@pytest.mark.parametrize(("uri", "audience", "problem"), ADDRESSES.values(), ids=ADDRESSES)
async def test_only_the_services_own_hosts_and_those_of_the_policy_are_asked(
    cloud: Pretend, uri: str, audience: str | None, problem: str
) -> None:
    # No name has an address here: a host that would be asked is one that is not found.
    names = Names([])
    origins = ["https://api.example.com", "http://plain.example.com"]
    smoke = Smoke(cloud.identity, origins, http_endpoint=cloud.web.base, resolver=names)
    seen = await smoke.check(uri, "/health", audience=audience, expect=OK)
    assert (seen.status, seen.problem) == (None, problem)
    asked = problem == "dns"
    assert (names.asked > 0, cloud.journal.count("Token")) == (asked, int(asked and audience is not None))


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "64:ff9b::a9fe:a9fe"])
async def test_a_service_whose_name_leads_inside_is_never_reached(cloud: Pretend, address: str) -> None:
    smoke = Smoke(cloud.identity, http_endpoint=cloud.web.base, resolver=Names([address]))
    seen = await smoke.check(SERVICE, "/health", audience=SERVICE, expect=OK)
    assert (seen.status, seen.problem) == (None, "forbidden address")


async def test_without_a_pretend_cloud_nothing_on_this_machine_is_asked(cloud: Pretend) -> None:
    port = cloud.web.base.rpartition(":")[2]
    for uri in (cloud.uri(), f"http://localhost:{port}/run/api", f"http://127.1:{port}/run/api"):
        for origins in ([], [cloud.web.base, f"http://localhost:{port}"]):
            seen = await Smoke(cloud.identity, origins).check(uri, "/health", audience=None, expect=OK)
            assert (seen.status, seen.problem) == (None, "forbidden address")
    assert cloud.journal.count("Visit") == 0


@pytest.mark.parametrize(
    "path",
    [
        "health",
        "",
        "@evil.example/",
        "/../web/health",
        "/x/../../web/health",
        "/%2e%2e/web/health",
        "/..%2fweb/health",
        "/..%5Cweb/health",
        "/\\..\\web",
        "/../../computeMetadata/v1/",
    ],
)
async def test_a_path_does_not_lead_to_another_service(cloud: Pretend, path: str) -> None:
    cloud.running["web", None] = Behaviour()
    seen = await cloud.check(path)
    assert (seen.status, seen.problem) == (None, "forbidden address")
    assert cloud.journal.calls == []


async def test_the_token_of_another_service_is_not_given_away_in_the_pretend_cloud_either(
    cloud: Pretend,
) -> None:
    for other in (cloud.uri("ap"), cloud.uri("web"), SERVICE):
        seen = await cloud.smoke.check(cloud.uri(), "/health", audience=other, expect=OK)
        assert seen.problem == "forbidden address"
    assert cloud.journal.calls == []


# The pretend services themselves.


async def test_a_service_or_tag_that_is_not_there_is_the_platforms_404(cloud: Pretend) -> None:
    cloud.running["api", "green"] = Behaviour()
    assert (await cloud.check("/health", tag="green")).status == 200
    del cloud.running["api", "green"]
    for seen in (
        await cloud.check("/health", tag="green"),
        await cloud.check("/anything", tag="green"),
        await cloud.check("/health", tag="blue"),
        await cloud.check("/health", service="nothing"),
    ):
        assert seen.status == 404
        assert "<h1>Error: Page not found</h1>" in seen.body


async def test_an_internal_service_is_a_404_from_outside_even_with_a_token(cloud: Pretend) -> None:
    cloud.internal.add("api")
    seen = await cloud.check("/health")
    assert (seen.status, "Page not found" in seen.body) == (404, True)


async def test_of_ordinary_requests_just_as_many_fail_as_the_image_has_it(cloud: Pretend) -> None:
    cloud.public.add("api")
    cloud.running["api", None] = Behaviour(error_share=0.1)
    cloud.running["api", "green"] = Behaviour(error_share=0.7)

    async def failed(tag: str | None) -> int:
        seen = [await cloud.check("/orders/5", tag=tag, token=False) for _ in range(30)]
        return sum(one.status == 500 for one in seen)

    assert (await failed(None), await failed("green")) == (3, 21)
    assert (await cloud.check("/health", token=False)).status == 200


async def test_an_image_that_does_not_start_answers_nothing_of_its_own(cloud: Pretend) -> None:
    cloud.running["api", None] = Behaviour(starts=False)
    seen = await cloud.check("/health")
    assert (seen.status, seen.body) == (503, "Service Unavailable")


async def test_faults_of_the_platform_are_seen(cloud: Pretend) -> None:
    for action, status in ((quota(), 429), (unavailable(), 503), (permission(), 403), (slow(0.01), 200)):
        cloud.faults.add(action, method="Visit", metric="api")
        assert (await cloud.check("/health")).status == status
    outcomes = [call.outcome for call in cloud.journal.of("Visit", "api")]
    assert outcomes == ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "PERMISSION_DENIED", "OK"]


async def test_a_token_that_is_no_longer_accepted_is_seen_and_the_next_look_has_another(
    cloud: Pretend,
) -> None:
    smoke = cloud.smoke
    seen = []
    for _ in range(3):
        seen.append((await smoke.check(cloud.uri(), "/health", audience=cloud.uri(), expect=OK)).status)
        if len(seen) == 1:
            cloud.web.tokens.revoke()
    assert seen == [200, 401, 200]
    assert cloud.journal.count("Token") == 2
