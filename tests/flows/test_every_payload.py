"""Every sample of what senders send, over HTTP and through the whole bot: its answer, its rows, its cards.

The expectations were written by hand from the samples and the formats' descriptions, not from what the
bot does with them.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from domain.inbox import DeliveryStatus
from handlers.webhooks import SENDERS
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from storage.rows import table
from storage.tables import AlertGroupRow, AlertRow, InboxRow, IncidentRow, OutboxRow, PageRow
from tests.flows.looking import bot_posts, notes, rows

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
SHARED = ROOT.parent / "shared" / "payloads"
OURS = ("gcm_*.json", "alertmanager_*.json", "error_reporting_*.json", "grafana_*.json")
"""The shared samples whose sender we understand; the others come through Pub/Sub."""

GOOGLE, PROMETHEUS, GRAFANA = "cloud-monitoring", "alertmanager", "grafana"
INBOX, ALERT, GROUP, INCIDENT = map(table, (InboxRow, AlertRow, AlertGroupRow, IncidentRow))
STATE = {"warning": "Warning", "critical": "Critical", "info": "Info"}


@dataclass(frozen=True)
class One:
    """An alert's row. The moments are in UTC, to the millisecond."""

    title: str
    level: str
    started: str | None
    ended: str | None = None


@dataclass(frozen=True)
class Group:
    """A group's row and its card. ``shows`` are lines of the card besides its header."""

    title: str
    level: str
    service: str | None = None
    firing: int = 1
    raw: str | None = None
    runbook: str | None = None
    omitted: int = 0
    shows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A file, its sender, and what stands afterwards in the database and in Slack.

    ``alerts`` that ended make no group by themselves. ``test`` is the name of a test notification.
    """

    file: str
    sender: str
    alerts: tuple[One, ...] = ()
    group: Group | None = None
    test: str | None = None

    @property
    def body(self) -> bytes:
        """Skips the test where the file is not on this machine; our own are everywhere."""
        if (GOLDEN / f"{self.file}.json").exists():
            return (GOLDEN / f"{self.file}.json").read_bytes()
        path = SHARED / f"{self.file}.json"
        if not path.exists():
            pytest.skip(f"the shared payloads are not on this machine ({SHARED})")
        return path.read_bytes()


NOC = "api - noc - users: Uptime Health Check on api-noc-users"
CPU = "Monitor-Project-Cluster: VM Instance - CPU utilization [MAX]"
PACKETS = "Test-incident-canary: VM Instance - Sent packets"
ORDERS = "Orders errors: Error rate above 1 %"
SHOP = "shop - uptime: Uptime Health Check on shop"
NOC_OPEN, NOC_CLOSED = "2020-01-20T22:30:44.000", "2020-01-20T22:32:32.000"
CPU_OPEN, CPU_CLOSED = "2020-01-01T01:01:01.000", "2020-01-01T11:11:11.000"
ORDERS_OPEN, ORDERS_CLOSED = "2024-05-01T08:00:00.000", "2024-05-01T08:15:00.000"
DOWN_OPEN, DOWN_CLOSED = "2024-05-01T08:24:38.326", "2024-05-01T08:34:38.326"
FIRST, SECOND = "Instance 10.0.0.1:8080 down", "Instance 10.0.0.2:8080 down"
DOWN = Group(
    FIRST,
    "critical",
    firing=2,
    raw="page",
    runbook="https://runbooks.example/instance-down",
    shows=("Critical (page)", "2 of 2 still firing", f"• {FIRST}", f"• {SECOND}"),
)
"""The word "page" is an operator's for what wakes people."""

SAMPLES = {
    one.file: one
    for one in (
        # The console's button: state OPEN, times 0, documentation a string. Nobody may be paged for it.
        Sample("gcm_test_connection", GOOGLE, test="Test Incident (project 12345)"),
        Sample("cloud_monitoring_test", GOOGLE, test="Test Incident (project 12345)"),
        # Before there were severities: one that says nothing is a warning. No project, metric or service.
        Sample(
            "gcm_v1_2_capture_2020_uptime_open",
            GOOGLE,
            alerts=(One(NOC, "warning", NOC_OPEN),),
            group=Group(
                NOC,
                "warning",
                shows=("An uptime check on Uptime Check URL labels {host=MYHOST} is failing.",),
            ),
        ),
        # A closing of what never opened here: remembered, and nothing is said.
        Sample(
            "gcm_v1_2_capture_2020_uptime_closed",
            GOOGLE,
            alerts=(One(NOC, "warning", NOC_OPEN, NOC_CLOSED),),
        ),
        # "Error" is the sender's word for a warning, and is shown. A virtual machine is no service of ours.
        Sample(
            "gcm_v1_2_capture_open_error",
            GOOGLE,
            alerts=(One(PACKETS, "warning", "2025-05-02T09:39:54.000"),),
            group=Group(
                PACKETS,
                "warning",
                raw="Error",
                shows=("Warning (Error)", "7679.000 (threshold 2001)"),
            ),
        ),
        Sample("gcm_v1_2_official_closed", GOOGLE, alerts=(One(CPU, "info", CPU_OPEN, CPU_CLOSED),)),
        Sample(
            "gcm_v1_2_official_closed_pre_severity",
            GOOGLE,
            alerts=(One(CPU, "warning", CPU_OPEN, CPU_CLOSED),),
        ),
        Sample(
            "cloud_monitoring_minimal_open",
            GOOGLE,
            alerts=(One(SHOP, "warning", ORDERS_OPEN),),
            group=Group(
                SHOP,
                "warning",
                shows=("An uptime check on Uptime Check URL labels {host=shop.example} is failing.",),
            ),
        ),
        # The policy's user label comes before the sender's field; the values are strings.
        Sample(
            "cloud_monitoring_open",
            GOOGLE,
            alerts=(One(ORDERS, "critical", ORDERS_OPEN),),
            group=Group(
                ORDERS,
                "critical",
                service="orders",
                raw="critical",
                runbook="https://runbooks.example/orders-errors",
                shows=("0.042 (threshold 0.01)", "orders"),
            ),
        ),
        Sample(
            "cloud_monitoring_closed",
            GOOGLE,
            alerts=(One(ORDERS, "critical", ORDERS_OPEN, ORDERS_CLOSED),),
        ),
        Sample(
            "cloud_monitoring_cancelled",
            GOOGLE,
            alerts=(One(ORDERS, "critical", ORDERS_OPEN, ORDERS_CLOSED),),
        ),
        # Error Reporting has another shape and comes through the same channel: routed by shape.
        Sample(
            "error_reporting_webhook",
            GOOGLE,
            alerts=(One("New error in checkout", "warning", None),),
            group=Group(
                "New error in checkout",
                "warning",
                service="checkout",
                shows=("ZeroDivisionError: integer division or modulo by zero", "checkout"),
            ),
        ),
        Sample(
            "error_reporting",
            GOOGLE,
            alerts=(One("New error in orders", "warning", None),),
            group=Group(
                "New error in orders", "warning", service="orders", shows=("KeyError: 'price'", "orders")
            ),
        ),
        Sample(
            "alertmanager_v4_firing",
            PROMETHEUS,
            alerts=(
                One("Instance localhost:8081 down", "critical", "2023-06-12T08:24:38.326"),
                One("Instance localhost:8082 down", "critical", "2023-06-12T08:24:38.326"),
            ),
            group=Group(
                "Instance localhost:8081 down",
                "critical",
                firing=2,
                raw="critical",
                shows=(
                    "2 of 2 still firing",
                    "• Instance localhost:8081 down",
                    "• Instance localhost:8082 down",
                    "localhost:8081 of job node has been down for more than 1 minute.",
                ),
            ),
        ),
        Sample(
            "alertmanager_firing",
            PROMETHEUS,
            alerts=(One(FIRST, "critical", DOWN_OPEN), One(SECOND, "critical", DOWN_OPEN)),
            group=DOWN,
        ),
        # A firing group may hold resolved alerts; three more were left out and may fire or not.
        Sample(
            "alertmanager_partly_resolved",
            PROMETHEUS,
            alerts=(One(FIRST, "critical", DOWN_OPEN, DOWN_CLOSED), One(SECOND, "critical", DOWN_OPEN)),
            group=replace(
                DOWN,
                title=SECOND,
                firing=1,
                omitted=3,
                shows=("Critical (page)", "1 of 1 still firing, and 3 more that are only counted"),
            ),
        ),
        Sample(
            "alertmanager_resolved",
            PROMETHEUS,
            alerts=(
                One(FIRST, "critical", DOWN_OPEN, DOWN_CLOSED),
                One(SECOND, "critical", DOWN_OPEN, DOWN_CLOSED),
            ),
        ),
        # Grafana's body is a superset of Alertmanager's, its times carry offsets. No severity: a warning.
        Sample(
            "grafana_webhook_official",
            GRAFANA,
            alerts=(
                One("This alert was triggered for zone us-1", "warning", "2021-10-12T07:51:03.157"),
                One("This alert was triggered for zone eu-1", "warning", "2021-10-12T07:56:03.157"),
            ),
            group=Group(
                "This alert was triggered for zone us-1",
                "warning",
                firing=2,
                runbook="https://myrunbook.com/runbook/1234",
                shows=(
                    "The system has high memory usage",
                    "2 of 2 still firing",
                    "• This alert was triggered for zone us-1",
                    "• This alert was triggered for zone eu-1",
                ),
            ),
        ),
        Sample(
            "grafana_firing",
            GRAFANA,
            alerts=(One("Memory above 85 %", "warning", "2024-05-01T08:24:38.326"),),
            group=Group("Memory above 85 %", "warning", shows=("B=44.25, C=1",)),
        ),
    )
}
EVERY = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


@pytest.fixture(autouse=True)
def _there(request: pytest.FixtureRequest) -> None:
    """Skips a sample that is not on this machine before a whole world is built for it."""
    named = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    for sample in (*(SAMPLES[file] for file in named.get("files", ())), named.get("sample")):
        if sample is not None:
            assert sample.body


PRIVATE = ("card=", "Traceback", "curl/8", "shop.example/pay", "example.com/pay")
"""Of an error's request and log lines: they can name people, and hold their secrets."""


def test_every_golden_sample_has_an_expectation() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} <= set(SAMPLES)


def test_every_shared_sample_of_a_sender_that_we_understand_has_an_expectation() -> None:
    if not SHARED.exists():
        pytest.skip(f"the shared payloads are not on this machine ({SHARED})")
    found = {path.stem for pattern in OURS for path in SHARED.glob(pattern)}
    golden = {path.stem for path in GOLDEN.iterdir()}
    assert found == set(SAMPLES) - golden


def test_every_sender_has_a_sample() -> None:
    assert {sample.sender for sample in SAMPLES.values()} == set(SENDERS)


@EVERY
async def test_a_sample_is_kept_understood_and_shown_and_changes_nothing_at_once_again_or_later(
    stage: Stage, sample: Sample
) -> None:
    assert await stage.webhook(sample.sender, sample.body) == 200
    await assert_kept(stage, sample, DeliveryStatus.DONE)
    await assert_alerts(stage, sample.alerts)
    await assert_group(stage, sample.group)
    assert_said(stage, sample)
    assert_nothing_private(stage)

    before = await everything(stage, but=("inbox",))
    assert await stage.webhook(sample.sender, sample.body) == 200
    assert await everything(stage, but=("inbox",)) == before

    await stage.advance(minutes=11)  # Now it is no repeated request but the sender who says it again.
    again = ("inbox", "outbox", "slack") if sample.test else ("inbox",)  # Who presses that button is told.
    before, posts = await everything(stage, but=again), len(bot_posts(stage))
    assert await stage.webhook(sample.sender, sample.body) == 200
    assert len(await rows(stage, sa.select(INBOX))) == 3
    assert await everything(stage, but=again) == before
    assert len(bot_posts(stage)) == posts + (sample.test is not None)


@EVERY
async def test_a_sample_at_the_wrong_route_is_kept_aside_and_told_and_alarms_nobody(
    stage: Stage, sample: Sample
) -> None:
    wrong, code = (PROMETHEUS, 400) if sample.sender == GOOGLE else (GOOGLE, 202)
    astray = Sample(sample.file, wrong)
    assert await stage.webhook(wrong, astray.body) == code
    await assert_kept(stage, astray, DeliveryStatus.QUARANTINED)
    await assert_alerts(stage, ())
    await assert_group(stage, None)
    (told,) = stage.channel("ops")
    assert (
        f"A delivery of {wrong} could not be understood, had no effect and is set aside as no. 1: "
        in told.plain
    )
    assert len(bot_posts(stage)) == 1
    assert_nothing_private(stage)

    before = await everything(stage, but=("inbox",))
    assert await stage.webhook(wrong, astray.body) == code
    assert await everything(stage, but=("inbox",)) == before, "kept once more, and told once"


PAIRS = [
    pytest.param(
        ("gcm_v1_2_capture_2020_uptime_open", "gcm_v1_2_capture_2020_uptime_closed"), True, id="uptime"
    ),
    pytest.param(("cloud_monitoring_open", "cloud_monitoring_closed"), True, id="orders"),
    pytest.param(("cloud_monitoring_open", "cloud_monitoring_cancelled"), False, id="orders cancelled"),
    pytest.param(("alertmanager_firing", "alertmanager_resolved"), True, id="instances"),
    pytest.param(
        ("alertmanager_firing", "alertmanager_partly_resolved", "alertmanager_resolved"),
        True,
        id="instances one by one",
    ),
]


@pytest.mark.parametrize(("files", "recovered"), PAIRS)
async def test_what_opened_and_closed_ends_resolved_with_one_card_and_says_whether_it_recovered(
    stage: Stage, files: tuple[str, ...], recovered: bool
) -> None:
    for file in files:
        assert await stage.webhook(SAMPLES[file].sender, SAMPLES[file].body) == 200
        await stage.advance(seconds=20)
    opened, closed = SAMPLES[files[0]], SAMPLES[files[-1]]
    await assert_alerts(stage, closed.alerts)
    await assert_resolved(stage, opened, recovered=recovered)
    said = "The sender reports recovery" if recovered else "That is not a recovery"
    assert [said in line for line in notes(stage, "alerts")].count(True) == 1

    before = await everything(stage, but=("inbox",))
    assert await stage.webhook(closed.sender, closed.body) == 200
    assert await everything(stage, but=("inbox",)) == before


@pytest.mark.parametrize(("files", "recovered"), PAIRS[:4])
async def test_a_closing_that_overtook_its_opening_leaves_a_card_that_is_over_and_pages_nobody(
    stage: Stage, files: tuple[str, ...], recovered: bool
) -> None:
    for file in reversed(files):
        assert await stage.webhook(SAMPLES[file].sender, SAMPLES[file].body) == 200
    (group,) = await rows(stage, sa.select(GROUP))
    assert (group["status"], group["firing"]) == ("resolved", 0)
    (card,) = stage.channel("alerts")
    assert "Resolved · " in heading(card)
    assert card.buttons == ()
    assert paged(stage) == set()
    assert await rows(stage, sa.select(INCIDENT)) == []


async def test_an_opening_of_google_that_is_repeated_long_after_its_closing_stays_over(stage: Stage) -> None:
    opened, closed = SAMPLES["cloud_monitoring_open"], SAMPLES["cloud_monitoring_closed"]
    await stage.webhook(GOOGLE, opened.body)
    await stage.webhook(GOOGLE, closed.body)
    await stage.advance(minutes=3)
    await stage.webhook(GOOGLE, opened.body)
    await assert_alerts(stage, closed.alerts)
    await assert_resolved(stage, opened, recovered=True)


async def test_a_group_that_is_partly_resolved_still_fires_and_counts_what_was_left_out(stage: Stage) -> None:
    for file in ("alertmanager_firing", "alertmanager_partly_resolved"):
        await stage.webhook(PROMETHEUS, SAMPLES[file].body)
    await assert_alerts(stage, SAMPLES["alertmanager_partly_resolved"].alerts)
    (group,) = await rows(stage, sa.select(GROUP))
    found = [group[name] for name in ("status", "firing", "total", "omitted")]
    assert found == ["firing", 1, 2, 3]
    (card,) = stage.channel("alerts")
    assert f"• {SECOND}" in card.plain.splitlines()
    assert f"• {FIRST}" not in card.plain.splitlines()
    assert "1 of 2 still firing, and 3 more that are only counted" in card.plain


async def test_the_card_of_a_group_that_is_partly_resolved_is_not_headed_by_what_recovered(
    stage: Stage,
) -> None:
    for file in ("alertmanager_firing", "alertmanager_partly_resolved"):
        await stage.webhook(PROMETHEUS, SAMPLES[file].body)
    (card,) = stage.channel("alerts")
    assert FIRST not in heading(card)


# What is looked at.


async def assert_kept(stage: Stage, sample: Sample, status: DeliveryStatus) -> None:
    """One row in the inbox, byte for byte, that nobody has to look at again."""
    (row,) = await rows(stage, sa.select(INBOX))
    assert (row["kind"], row["status"], row["body"]) == (sample.sender, status, sample.body)
    assert row["drained_at"] is not None
    assert (row["error"] is not None) == (status is DeliveryStatus.QUARANTINED)


async def assert_alerts(stage: Stage, expected: tuple[One, ...]) -> None:
    found = await rows(stage, sa.select(ALERT).order_by(ALERT.c.title))
    shown = [(row["title"], row["level"], _written(row["started_at"]), row["firing"]) for row in found]
    ordered = sorted(expected, key=lambda one: one.title)
    assert shown == [(one.title, one.level, one.started, one.ended is None) for one in ordered]
    assert [_written(row["ended_at"]) for row in found] == [one.ended for one in ordered]


async def assert_group(stage: Stage, expected: Group | None) -> None:
    """The row, the card in the alerts channel, and what its level asks for: an incident, a page."""
    found = await rows(stage, sa.select(GROUP))
    incidents = await rows(stage, sa.select(INCIDENT))
    if expected is None:
        assert found == incidents == stage.channel("alerts") == stage.channel("incidents") == []
        assert paged(stage) == set()
        return
    (row,) = found
    names = ("title", "level", "status", "service", "firing", "raw_level", "runbook", "omitted")
    assert {name: row[name] for name in names} == {
        "title": expected.title,
        "level": expected.level,
        "status": "firing",
        "service": expected.service,
        "firing": expected.firing,
        "raw_level": expected.raw,
        "runbook": expected.runbook,
        "omitted": expected.omitted,
    }
    (card,) = stage.channel("alerts")
    assert heading(card).endswith(f"{STATE[expected.level]} · {expected.title}")
    for line in expected.shows:
        assert line in card.plain
    assert "Acknowledge" in card.buttons
    critical = expected.level == "critical"
    assert [(one["title"], one["severity"]) for one in incidents] == [(expected.title, "P1")] * critical
    assert [expected.title in one.plain for one in stage.channel("incidents")] == [True] * critical
    assert paged(stage) == {"kenji" if critical else "mika"}


async def assert_resolved(stage: Stage, opened: Sample, *, recovered: bool) -> None:
    """One group and one card, over; people, not senders, resolve the incident."""
    assert opened.group is not None
    (row,) = await rows(stage, sa.select(GROUP))
    names = ("title", "level", "status", "service", "firing", "omitted", "recovered")
    assert [row[name] for name in names] == [
        opened.group.title,
        opened.group.level,
        "resolved",
        opened.group.service,
        0,
        0,
        recovered,
    ]
    (card,) = stage.channel("alerts")
    assert heading(card).endswith(f"{'Resolved' if recovered else 'Closed'} · {opened.group.title}")
    assert card.buttons == ()
    assert ("without a recovery" in card.plain) is not recovered
    incidents = await rows(stage, sa.select(INCIDENT))
    assert [one["status"] for one in incidents] == ["open"] * (opened.group.level == "critical")


def assert_said(stage: Stage, sample: Sample) -> None:
    """What the ops channel hears; nothing stands anywhere but in cards, pages and there."""
    told = [one.plain for one in stage.channel("ops")]
    if sample.test is None:
        assert told == []
    else:
        received = f"Test notification received from {sample.sender}: {sample.test}"
        assert told == [f"{received}. The connection works; nobody was paged."]
    places = ("alerts", "incidents", "ops")
    known = sum(len(stage.channel(name)) for name in places) + sum(
        len(stage.dms(one)) for one in people(stage)
    )
    replies = sum(len(stage.thread(card)) for name in places for card in stage.channel(name))
    assert len(bot_posts(stage)) == known + replies
    assert replies == 0


def assert_nothing_private(stage: Stage) -> None:
    standing = "\n".join(f"{post.text} {post.blocks}" for post in bot_posts(stage))
    assert [word for word in PRIVATE if word in standing] == []


def heading(card: Message) -> str:
    return card.plain.splitlines()[0]


def people(stage: Stage) -> list[str]:
    return list(stage.policy.people)


def paged(stage: Stage) -> set[str]:
    return {person for person in people(stage) if stage.dms(person)}


async def everything(stage: Stage, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """All that a delivery may change: the rows, and what stands in Slack."""
    tables = (INBOX, ALERT, GROUP, INCIDENT, table(OutboxRow), table(PageRow))
    found: dict[str, Any] = {
        one.name: await rows(stage, sa.select(one).order_by(one.c.id))
        for one in tables
        if one.name not in but
    }
    if "slack" not in but:
        found["slack"] = [(post.channel, post.ts, post.text, post.edited) for post in bot_posts(stage)]
    return found


def _written(at: Any) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").removesuffix("+00:00")
