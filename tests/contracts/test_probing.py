"""Health probes against real servers: what was seen, what went wrong, and what is never reached."""

import asyncio
import datetime as dt
import gzip
import ipaddress
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from domain.ports import Prober
from gcp.guarded import MOST_BODY, ForbiddenAddress, PublicResolver, is_public
from gcp.probing import AGENT, HttpProber

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Names(AbstractResolver):
    """A name server of the test's own: each question takes the next answer, the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A web server on a free port of this machine."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[int]:
    """A server that says what it likes, byte by byte."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except OSError:  # The prober has gone away.
            return
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def inside(port: int, scheme: str = "http", seconds: float = 5.0) -> tuple[HttpProber, str]:
    """A prober that may reach this machine, and the URL to reach."""
    url = f"{scheme}://127.0.0.1:{port}/health"
    return HttpProber([f"{scheme}://127.0.0.1:{port}"], private=True, seconds=seconds), url


async def test_a_healthy_service_is_seen_with_its_status_its_words_and_the_time_it_took() -> None:
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return web.Response(text="元気 OK", headers={"Set-Cookie": "a=b"})

    async with serving(answer) as port:
        prober, url = inside(port)
        fulfils: Prober = prober
        seen = await fulfils.probe(url)
        await prober.probe(url)
    assert (seen.url, seen.status, seen.problem, seen.body) == (url, 200, None, "元気 OK")
    assert 0 < seen.seconds < 5
    assert asked[0].headers["User-Agent"] == AGENT
    assert {"Cookie", "Authorization", "Metadata-Flavor"}.isdisjoint(asked[1].headers)


async def test_a_failing_service_is_no_problem_of_the_probe() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, text="database is away\0")

    async with serving(answer) as port:
        prober, url = inside(port)
        seen = await prober.probe(url)
    assert (seen.status, seen.problem, seen.body) == (503, None, "database is away")


async def test_a_redirect_is_what_was_seen_and_is_not_followed() -> None:
    paths = []

    async def answer(request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        raise web.HTTPFound("http://169.254.169.254/computeMetadata/v1/")

    async with serving(answer) as port:
        prober, url = inside(port)
        seen = await prober.probe(url)
    assert (seen.status, seen.problem) == (302, None)
    assert paths == ["/health"]


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="directly")

    async with serving(answer) as port:
        prober, url = inside(port)
        assert (await prober.probe(url)).body == "directly"


async def test_only_the_beginning_of_a_huge_body_is_read() -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(15_000):
            writer.write("あ".encode() * 21_845)
            await writer.drain()
            sent += 65_535

    async with talking(talk) as port:
        prober, url = inside(port)
        seen = await prober.probe(url)
    assert (seen.status, seen.problem) == (200, None)
    assert seen.body == "あ" * (MOST_BODY // 3)
    assert sent < 50_000_000


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)], ids=["gzip", "deflate"]
)
async def test_a_decompression_bomb_stays_packed_but_for_its_beginning(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    bomb = pack(b"0" * 100_000_000)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": encoding})

    async with serving(answer) as port:
        prober, url = inside(port)
        seen = await prober.probe(url)
    assert (seen.status, seen.problem, seen.body) == (200, None, "0" * MOST_BODY)


@pytest.mark.parametrize("encoding", ["gzip", "br", "nonsense"])
async def test_a_body_that_cannot_be_unpacked_is_left_out(encoding: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"not packed at all", headers={"Content-Encoding": encoding})

    async with serving(answer) as port:
        prober, url = inside(port)
        seen = await prober.probe(url)
    assert (seen.status, seen.problem, seen.body) == (200, None, "")


async def test_a_service_that_does_not_answer_in_time_is_a_timeout() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3)

    async with talking(talk) as port:
        prober, url = inside(port, seconds=0.2)
        seen = await prober.probe(url)
    assert (seen.status, seen.problem) == (None, "timeout")
    assert 0.2 <= seen.seconds < 2


async def test_a_service_that_drips_its_body_is_a_timeout_with_the_status_it_gave() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(30):
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with talking(talk) as port:
        prober, url = inside(port, seconds=0.35)
        seen = await prober.probe(url)
    assert (seen.status, seen.problem) == (200, "timeout")
    assert seen.body.startswith("..")
    assert seen.seconds < 2


async def test_a_name_server_that_does_not_answer_is_a_timeout_too() -> None:
    class Silent(Names):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            await asyncio.sleep(3)
            return []

    prober = HttpProber(["https://api.example"], seconds=0.2, resolver=Silent())
    assert (await prober.probe("https://api.example/health")).problem == "timeout"


async def test_a_closed_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound, but nobody listens.
        prober, url = inside(taken.getsockname()[1])
        seen = await prober.probe(url)
    assert (seen.status, seen.problem) == (None, "refused")


@pytest.mark.parametrize(
    ("said", "status", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", 200, "broken answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", 200, "broken answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Ty", None, "broken answer"),
        (b"", None, "broken answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", None, "broken answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", None, "broken answer"),
    ],
    ids=["length", "chunked", "header", "nothing", "not http", "long header"],
)
async def test_half_an_answer_is_told_with_what_came(said: bytes, status: int | None, problem: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with talking(talk) as port:
        prober, url = inside(port)
        seen = await prober.probe(url)
    assert (seen.status, seen.problem) == (status, problem)
    assert seen.body == ("half" if status else "")


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate that nobody has vouched for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=36500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_a_tls_problem(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text="never seen")

    async with serving(answer, self_signed(tmp_path)) as port:
        prober, url = inside(port, "https")
        seen = await prober.probe(url)
    assert (seen.status, seen.problem, seen.body) == (None, "tls", "")


async def test_a_server_without_tls_behind_https_is_a_tls_problem() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0)

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        prober, url = inside(server.sockets[0].getsockname()[1], "https")
        assert (await prober.probe(url)).problem == "tls"


async def test_a_name_that_does_not_exist_is_a_dns_problem() -> None:
    prober = HttpProber(["https://api.invalid"], resolver=Names([]))
    assert (await prober.probe("https://api.invalid/")).problem == "dns"
    long = f"https://{'a' * 64}.example"
    assert (await HttpProber([long], seconds=2).probe(long)).problem == "dns"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example/health",
        "https://api.example:444/health",
        "https://api.example.evil.example/",
        "https://api.example@evil.example/",
        "https://user:word@api.example/",
        "https://evil.example/https://api.example",
        "ftp://api.example/",
        "file:///etc/passwd",
        "//api.example/",
        "api.example",
        "https://",
        "https://api.example:99999/",
        "https://[::1",
        "",
    ],
)
async def test_a_url_of_another_origin_is_never_asked(url: str) -> None:
    names = Names(["127.0.0.1"])
    prober = HttpProber(["https://api.example", "not a url"], private=True, resolver=names)
    seen = await prober.probe(url)
    assert (seen.url, seen.status, seen.problem, seen.body) == (url, None, "forbidden address", "")
    assert names.asked == 0


async def test_an_origin_is_the_same_however_it_is_written() -> None:
    names = Names([])
    prober = HttpProber(["HTTPS://Api.Example:443/ignored"], resolver=names)
    for url in ("https://api.example/health", "https://API.example.:443/other?x=1"):
        assert (await prober.probe(url)).problem == "dns"
    assert names.asked == 2


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.254",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:100.64.0.1",
        "::7f00:1",
        "::ffff:0:7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::10.0.0.1",
        "64:ff9b::6440:1",
        "64:ff9b:1::808:808",
        "2002:a9fe:a9fe::1",
        "2002:7f00:1::",
        "2002:6440:1::",
        "localhost",
        "not an address",
        "",
    ],
)
def test_an_address_that_is_not_of_the_open_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "2606:4700::1111",
        "2404:6800:4004::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_an_address_of_the_open_internet_is_public(address: str) -> None:
    assert is_public(address)


async def test_of_several_addresses_the_forbidden_ones_are_left_out() -> None:
    names = Names(["169.254.169.254", "8.8.8.8", "::ffff:10.0.0.1", "2606:4700::1111", "fd00::1"])
    found = await PublicResolver(names).resolve("api.example", 443)
    assert [one["host"] for one in found] == ["8.8.8.8", "2606:4700::1111"]


async def test_a_name_with_forbidden_addresses_only_is_told_apart_from_one_that_does_not_exist() -> None:
    with pytest.raises(ForbiddenAddress):
        await PublicResolver(Names(["10.0.0.1", "127.0.0.1"])).resolve("api.example")
    with pytest.raises(OSError, match="no api") as none:
        await PublicResolver(Names([])).resolve("api.example")
    assert not isinstance(none.value, ForbiddenAddress)


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["::ffff:127.0.0.1"], ["10.255.255.1", "127.0.0.1"]],
    ids=["loopback", "mapped", "several"],
)
async def test_an_allowed_name_that_leads_inside_is_refused_before_anything_is_sent(
    answers: list[str],
) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with talking(talk) as port:
        origin = f"http://api.example:{port}"
        seen = await HttpProber([origin], resolver=Names(answers)).probe(f"{origin}/health")
        assert (seen.status, seen.problem, connections) == (None, "forbidden address", 0)
        await HttpProber([origin], private=True, resolver=Names(answers[-1:])).probe(origin)
        assert connections == 1
        await HttpProber([origin], resolver=Names(answers[-1:])).probe(origin, private=True)
        assert connections == 2


async def test_a_name_that_changes_its_address_between_two_looks_gains_nothing() -> None:
    asked = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response()

    names = Names([], ["127.0.0.1"])
    async with serving(answer) as port:
        origin = f"http://api.example:{port}"
        prober = HttpProber([origin], resolver=names)
        seen = [(await prober.probe(origin)).problem for _ in range(2)]
    assert (seen, names.asked, asked) == (["dns", "forbidden address"], 2, 0)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::ffff:7f00:1]", "localhost", "127.0.0.1."]
)
async def test_a_literal_address_is_refused_however_it_is_written(host: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response()

    async with serving(answer) as port:
        origin = f"http://{host}:{port}"
        seen = await HttpProber([origin]).probe(f"{origin}/health")
    assert (seen.status, seen.problem) == (None, "forbidden address")
