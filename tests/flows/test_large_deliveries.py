"""13.10: a body over the limit is never silence."""

import gzip
import io
import json
import secrets
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from domain.alerts import AlertGroup
from sandbox.stage import PASSWORD, USER, Stage
from storage.alerts import ALERT
from storage.deliveries import INBOX
from tests.conftest import make_policy, open_stage
from tests.flows.looking import rows
from tests.payloads import alertmanager

HUGE = 3000
"""Alerts of two kilobytes each: six mebibytes."""


def body(count: int, *, worst: int | None = None, text: int = 2000, **more: Any) -> bytes:
    """A group of warnings, one of which may be critical."""
    sent = alertmanager(*(f"10.0.{n >> 8}.{n & 255}" for n in range(count)), **more)
    for number, alert in enumerate(sent["alerts"]):
        alert["annotations"]["description"] = "x" * text
        if number == worst:
            alert["labels"]["severity"] = "critical"
    return json.dumps(sent).encode()


@pytest.fixture
async def one_kind(sqlite_only: str) -> AsyncIterator[Stage]:
    """For what the door and the readers do, which no database changes."""
    async with open_stage(sqlite_only, make_policy()) as stage:
        yield stage


async def group(stage: Stage) -> AlertGroup:
    async with stage.bot.store.read() as tx:
        (found,) = (await tx.groups([1])).values()
    return found


@pytest.mark.parametrize("size", ["many small ones", "over four mebibytes"])
async def test_13_10_all_are_counted_and_the_worst_pages(stage: Stage, size: str) -> None:
    text = 10 if size == "many small ones" else 2000
    sent = body(HUGE, worst=HUGE - 1, text=text)
    assert (len(sent) > 4 * 1024 * 1024) is (text == 2000)
    assert await stage.webhook("alertmanager", sent) == 200
    found = await group(stage)
    assert found.firing + found.omitted == HUGE
    assert "P1" in stage.card("#incidents").plain, "the critical one was the last of all"
    assert len(stage.dms("kenji")) == 1
    (line,) = [one.plain for one in stage.channel("#ops")]
    assert "max_alerts" in line
    assert f"{HUGE}" in line.replace(",", "")

    await stage.advance(minutes=5)
    assert await stage.webhook("alertmanager", sent) == 200
    assert len(stage.channel("#ops")) == 1, "told once an hour"

    await stage.advance(minutes=5)
    over = body(HUGE, worst=HUGE - 1, text=text, status="resolved", ended="2026-11-22T03:00:00Z")
    assert await stage.webhook("alertmanager", over) == 200
    assert not (await group(stage)).is_open
    assert "Recovered" in stage.card("#alerts").plain
    assert await rows(stage, sa.select(ALERT.c.id).where(ALERT.c.firing)) == []


async def test_the_end_of_a_large_group_ends_what_its_last_body_left_out(stage: Stage) -> None:
    """In the last body the alerts stand in another order, so that others are beyond those that are kept."""
    await stage.webhook("alertmanager", body(HUGE, text=10))
    await stage.advance(minutes=5)
    over = json.loads(body(HUGE, text=10, status="resolved", ended="2026-11-22T03:00:00Z"))
    over["alerts"].reverse()
    await stage.webhook("alertmanager", over)
    assert not (await group(stage)).is_open
    assert await rows(stage, sa.select(ALERT.c.id).where(ALERT.c.firing)) == []


async def test_what_the_sender_left_out_itself_keeps_the_group_open(stage: Stage) -> None:
    await stage.webhook("alertmanager", body(HUGE, text=10))
    await stage.advance(minutes=5)
    over = json.loads(body(HUGE, text=10, status="resolved", ended="2026-11-22T03:00:00Z"))
    await stage.webhook("alertmanager", over | {"truncatedAlerts": 5})
    assert (await group(stage)).is_open


@pytest.fixture
async def narrow(database_url: str) -> AsyncIterator[Stage]:
    """A bot that takes no more than five mebibytes."""
    async with open_stage(database_url, make_policy(), TOBAN_WEBHOOK_LIMIT_MIB="5") as stage:
        yield stage


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]


@pytest.mark.parametrize("how", ["announced", "chunked", "compressed"])
async def test_13_10_beyond_the_limit_the_refusal_pages_once(narrow: Stage, how: str) -> None:
    sent = body(HUGE)
    packed = gzip.compress(sent) if how == "compressed" else sent
    headers = {"Content-Encoding": "gzip"} if how == "compressed" else {}
    auth = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}
    for _ in range(3):
        async with aiohttp.ClientSession(headers=auth) as http:
            url = f"{narrow.url}/webhooks/alertmanager"
            data = _pieces(sent) if how == "chunked" else io.BytesIO(packed)
            async with http.post(url, data=data, headers=headers) as answer:
                assert answer.status == 413
        await narrow.settle()
    card = narrow.card("#alerts").plain
    assert "A delivery from alertmanager was refused unread" in card
    assert "more than 5 MiB" in card
    assert "TOBAN_WEBHOOK_LIMIT_MIB" in card
    assert len(narrow.channel("#alerts")) == 1
    assert len(narrow.dms("kenji")) == 1

    await narrow.press("kenji", narrow.card("#alerts"), "Acknowledge")
    await narrow.advance(hours=2)
    async with aiohttp.ClientSession(headers=auth) as http, http.post(url, data=io.BytesIO(sent)) as answer:
        assert answer.status == 413
    await narrow.settle()
    assert len(narrow.dms("kenji")) == 2, "after hours it is news again"


async def test_another_sender_has_no_use_for_so_much(narrow: Stage) -> None:
    assert await narrow.webhook("cloud-monitoring", b'{"incident": "' + b"x" * 4_300_000 + b'"}') == 413
    assert "A delivery from cloud-monitoring was refused unread" in narrow.card("#alerts").plain
    assert "TOBAN_WEBHOOK_LIMIT_MIB" not in narrow.card("#alerts").plain


@pytest.mark.parametrize("spoilt", ["cut", "no list", "no object", "deep"])
async def test_a_large_body_that_cannot_be_read_pages_as_well(narrow: Stage, spoilt: str) -> None:
    sent = {
        "cut": body(2200)[:-40],
        "no list": b'{"alerts": {"x": 1}, "pad": "' + b"x" * 4_300_000 + b'"}',
        "no object": b"[" + b"1," * 2_300_000 + b"1]",
        "deep": b'{"alerts": [' + b"[" * 200_000 + b"]" * 200_000 + b"]}",
    }[spoilt]
    assert await narrow.webhook("alertmanager", sent) == 400
    assert "was refused unread" in narrow.card("#alerts").plain
    assert len(narrow.dms("kenji")) == 1


async def test_strangers_page_nobody(narrow: Stage) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.post(
            f"{narrow.url}/webhooks/alertmanager", data=io.BytesIO(b"x" * 6_000_000)
        ) as answer:
            assert answer.status == 401
    await narrow.settle()
    assert await rows(narrow, sa.select(INBOX.c.id)) == []


async def test_13_10_brackets_within_texts_cost_nothing(stage: Stage) -> None:
    """Nine hundred critical alerts whose descriptions hold more brackets than a body may have objects."""
    sent = json.loads(body(900, severity="critical"))
    for alert in sent["alerts"]:
        alert["annotations"]["description"] = "[{a: 1}] some text " * 60
    assert await stage.webhook("alertmanager", sent) == 200
    found = await group(stage)
    assert (found.firing, found.omitted) == (900, 0)
    assert len(stage.dms("kenji")) == 1


@pytest.mark.parametrize("spoilt", ["one value", "many values", "no objects"])
async def test_13_10_an_absurd_body_is_refused_quickly_and_pages(stage: Stage, spoilt: str) -> None:
    inside = {
        "one value": json.dumps({"labels": {}, "annotations": {"description": "x" * 9_000_000}}),
        "many values": '{"labels": {}, "x": [' + "[]," * 1_500_000 + "[]]}",
        "no objects": ",".join(["[{}]"] * 110_000),
    }[spoilt]
    sent = f'{{"groupKey": "g", "status": "firing", "alerts": [{inside}]}}'.encode()
    assert await stage.webhook("alertmanager", sent) == 400
    assert "was refused unread" in stage.card("#alerts").plain
    assert len(stage.dms("kenji")) == 1


async def test_13_10_the_worst_level_pages_whatever_words_stand_before_it(stage: Stage) -> None:
    sent = json.loads(body(1100, text=10))
    for number, alert in enumerate(sent["alerts"]):
        alert["labels"]["level"] = f"word {number % 60}"
    sent["alerts"][-1]["labels"] |= {"level": "emergency"}
    await stage.webhook("alertmanager", sent)
    assert "P0" in stage.card("#incidents").plain


async def test_13_10_what_was_left_out_ends_with_the_group(stage: Stage) -> None:
    """Alertmanager's own limit cut an alert off, and later its end as well."""
    both = alertmanager("a", "b", severity="critical")
    await stage.webhook("alertmanager", alertmanager("b", "c", severity="critical"))
    await stage.webhook("alertmanager", both | {"truncatedAlerts": 1})
    await stage.advance(minutes=5)
    ended = {"status": "resolved", "ended": "2026-11-22T01:04:00Z"}
    await stage.webhook("alertmanager", alertmanager("a", "b", severity="critical", **ended))
    assert not (await group(stage)).is_open


async def test_13_12_a_large_end_that_is_overtaken_leaves_what_fires(stage: Stage) -> None:
    """Its request began first; an emergency of the same group is drained before it."""
    await stage.webhook("alertmanager", body(1001, text=10))
    await stage.advance(minutes=5)
    over = body(1001, text=10, status="resolved", ended="2026-11-22T01:04:00Z")
    await stage.webhook("alertmanager", over, settle=False)
    stage.clock.push(timedelta(seconds=5))
    worse = alertmanager("new", severity="emergency", started="2026-11-22T01:05:00Z")
    await stage.webhook("alertmanager", worse, settle=False)
    await stage.settle()
    found = await group(stage)
    assert found.is_open
    assert found.firing == 1
    assert "P0" in stage.card("#incidents").plain


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "gzip, gzip", "a piece of gzip"])
async def test_13_10_a_body_in_a_broken_or_unknown_encoding_is_no_silence(
    one_kind: Stage, encoding: str, size: str
) -> None:
    stage = one_kind
    sent = b"this is not packed" * (1 if size == "small" else 500_000)
    if encoding == "a piece of gzip":
        sent, encoding = gzip.compress(secrets.token_bytes(len(sent)))[:-9], "gzip"
    headers = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD), "Content-Encoding": encoding}
    url = f"{stage.url}/webhooks/alertmanager"
    async with aiohttp.ClientSession(headers=headers) as session:
        for _ in range(2):
            # The rest of it is not read, so that the sender may not hear the answer.
            with suppress(aiohttp.ClientError):
                async with session.post(url, data=io.BytesIO(sent)) as answer:
                    assert answer.status == 400
    await stage.settle()
    assert "was refused unread" in stage.card("#alerts").plain
    assert len(stage.dms("kenji")) == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate", "two gzip", "utf-8"])
async def test_a_body_that_can_be_unpacked_is_read_as_it_was_packed(one_kind: Stage, encoding: str) -> None:
    stage = one_kind
    sent = body(HUGE)
    half = len(sent) // 2
    packed = {
        "gzip": gzip.compress(sent),
        "deflate": zlib.compress(sent),
        "raw deflate": zlib.compress(sent, wbits=-15),
        "two gzip": gzip.compress(sent[:half]) + gzip.compress(sent[half:]),
    }.get(encoding, sent)
    auth = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}
    auth["Content-Encoding"] = encoding.rsplit(maxsplit=1)[-1]
    async with aiohttp.ClientSession(headers=auth) as http:
        url = f"{stage.url}/webhooks/alertmanager"
        async with http.post(url, data=io.BytesIO(packed)) as answer:
            assert answer.status == 200
    await stage.settle()
    found = await group(stage)
    assert found.firing + found.omitted == HUGE


@pytest.mark.parametrize("text", [10, 2000])
async def test_10d_an_alert_without_labels_has_those_that_are_common_to_all(
    one_kind: Stage, text: int
) -> None:
    """Whichever the body is kept as; here the last alert is the only critical one."""
    stage = one_kind
    sent = json.loads(body(HUGE, text=text))
    common = sent.pop("commonLabels", {}) | {"alertname": "Slow", "severity": "critical"}
    del sent["alerts"][-1]["labels"]
    sent |= {"commonLabels": common}  # Behind the alerts.
    assert await stage.webhook("alertmanager", json.dumps(sent).encode()) == 200
    assert "P1" in stage.card("#incidents").plain
    assert len(stage.dms("kenji")) == 1


@pytest.mark.parametrize("size", ["small", "large"])
async def test_10d_odd_json_is_read_the_same_in_a_large_body(one_kind: Stage, size: str) -> None:
    """An empty key, and numbers beyond 64 bits: no sender of ours means anything by them."""
    stage = one_kind
    count = 3 if size == "small" else HUGE
    sent = json.loads(body(count))
    sent["alerts"][1]["annotations"] |= {"": "nothing", "odd": 2**70, "a.b": {"": 1}}
    sent |= {"": {"": [1]}, "alerts.item": 5, "version": 2**64, "least": -(2**63) - 1}
    assert await stage.webhook("alertmanager", json.dumps(sent).encode()) == 200
    found = await group(stage)
    assert found.firing + found.omitted == count


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ('"status":"firing","status":"resolved"', "the key 'status' twice"),
        ('"alerts":[]', "the key 'alerts' twice"),
        ('"deep":{"a":{"b":1,"b":2}}', "the key 'b' twice"),
        ('"big":1e400', "a number that is none (too large)"),
        ('"big":' + "9" * 400, "a number that is none (too large)"),
    ],
)
async def test_10d_what_a_small_body_is_refused_for_a_large_one_is_too(
    one_kind: Stage, odd: str, reason: str, size: str
) -> None:
    stage = one_kind
    sent = body(3 if size == "small" else HUGE)
    said = json.loads(sent)
    said.pop("status")
    sent = json.dumps(said).encode()[:-1] + f",{odd}}}".encode()
    async with aiohttp.ClientSession() as http:
        auth = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}
        url = f"{stage.url}/webhooks/alertmanager"
        async with http.post(url, data=io.BytesIO(sent), headers=auth) as answer:
            assert answer.status == 400
            assert reason in await answer.text()


@pytest.mark.parametrize("count", [1, HUGE])
async def test_10d_of_two_long_keys_each_is_a_group_and_a_pair_is_one_sender(
    one_kind: Stage, count: int
) -> None:
    """The members of a pair differ in one label, in the middle of a key of four thousand characters."""
    stage = one_kind
    for replica, end in (("a", "x"), ("b", "x"), ("a", "y")):
        sent = json.loads(body(count, text=10 if count == 1 else 2000))
        sent["groupKey"] = '{}:{alertname="Slow", replica="' + replica + '", path="' + "p" * 4000 + end + '"}'
        for alert in sent["alerts"]:
            alert.pop("fingerprint", None)
            alert["labels"] |= {"path": end, "seen_by": replica}
        await stage.webhook("alertmanager", json.dumps(sent).encode())
    assert len(stage.channel("#alerts")) == 2


async def test_13_10_a_group_that_is_over_ends_without_a_word_of_each_alert(stage: Stage) -> None:
    """Some senders say it once, for all; the word may stand behind the alerts."""
    await stage.webhook("alertmanager", body(HUGE))
    await stage.advance(minutes=5)
    over = json.loads(body(HUGE, status="resolved", ended="2026-11-22T01:04:00Z"))
    for alert in over["alerts"]:
        del alert["status"]
    said = over.pop("status")
    await stage.webhook("alertmanager", json.dumps(over | {"status": said}).encode())
    assert not (await group(stage)).is_open


async def test_13_10_an_alert_that_is_too_long_ends_with_its_short_word(stage: Stage) -> None:
    """Without a fingerprint it is known by its labels, of which the first body keeps what it can."""
    alike = {"deployment": "d" * 1500}
    sent = json.loads(body(2500))
    short = alertmanager("10.0.0.0", "10.0.0.1")
    for found in (sent["alerts"][0], short["alerts"][0]):
        found["labels"] |= alike
        del found["fingerprint"]
    sent["alerts"][0]["annotations"] |= {f"note_{number}": "x" * 2000 for number in range(20)}
    sent["alerts"] = sent["alerts"][:2] + [one | {"status": "resolved"} for one in sent["alerts"][2:]]
    await stage.webhook("alertmanager", json.dumps(sent).encode())
    assert (await group(stage)).firing == 2
    await stage.advance(minutes=5)
    short["alerts"][0] |= {"status": "resolved", "endsAt": "2026-11-22T01:04:00Z"}
    await stage.webhook("alertmanager", short)
    assert (await group(stage)).firing == 1
