"""What senders really say and how it was misread: one sender, one page, and no word that is not so."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from domain.alerts import AlertGroup, AlertStatus
from domain.policy import Policy, Service
from domain.senders import Cluster
from sandbox.senders import grafana, grafana_test
from sandbox.slack.reading import Message
from sandbox.stage import Stage
from storage.alerts import ALERT
from tests.conftest import make_policy, open_stage
from tests.flows.looking import bot_posts, notes, posts_to, raw_texts, rows
from tests.payloads import alertmanager, monitoring, monitoring_test

STARTED, LATER, ENDED = "2026-11-22T01:00:00.032Z", "2026-11-22T01:25:00Z", "2026-11-22T01:15:00Z"


def down(member: str, *, status: str = "firing", **labels: str) -> dict[str, Any]:
    """One member of a pair reports an instance that is down."""
    body = alertmanager("10.0.0.5", group="InstanceDown", severity="critical", status=status, started=STARTED)
    body["externalURL"] = member
    if status == "resolved":
        body["alerts"][0]["endsAt"] = ENDED
    body["alerts"][0]["labels"] |= labels
    if labels:  # Alertmanager's fingerprint is one of all labels.
        body["alerts"][0]["fingerprint"] = "".join(sorted(f"{key}{text}" for key, text in labels.items()))
    return body


async def groups(stage: Stage) -> list[AlertGroup]:
    async with stage.bot.store.read() as tx:
        found = await tx.groups(list(range(1, 30)))
    return [found[number] for number in sorted(found)]


async def alert_of(stage: Stage) -> AlertGroup:
    (group,) = await groups(stage)
    return group


def pages(stage: Stage, person: str = "kenji") -> list[Message]:
    return stage.dms(person)


# 01: a high-availability pair.


@pytest.mark.parametrize(
    "members",
    [
        ("http://alertmanager-0:9093", "http://alertmanager-1:9093"),
        ("http://am-a:9093", "http://am-b:9093", "http://am-c:9093"),
        ("https://am.example/one/", "https://am.example/two"),
        ("http://3f2a1b9c0d1e:9093", "http://10.4.0.17:9093"),
    ],
)
async def test_01_the_members_of_a_pair_are_one_sender(stage: Stage, members: tuple[str, ...]) -> None:
    """One card, one page; the end that any of them reports is the end."""
    for member in members:
        await stage.webhook("alertmanager", down(member))
    assert len(stage.channel("#alerts")) == 1
    await stage.advance(minutes=3)
    await stage.webhook("alertmanager", down(members[-1], status="resolved"))
    assert (await alert_of(stage)).status is AlertStatus.RESOLVED
    await stage.webhook("alertmanager", down(members[0], status="resolved"))
    await stage.advance(minutes=32)
    assert len(stage.channel("#alerts")) == 1
    assert len(pages(stage)) == 1
    assert pages(stage, "aya") == []


@pytest.mark.parametrize("label", ["replica", "prometheus_replica"])
async def test_01_members_that_differ_in_their_replica_label_are_one_sender(stage: Stage, label: str) -> None:
    for member in ("a", "b"):
        body = down(f"http://am-{member}:9093", **{label: member})
        body["groupKey"] = f'{{}}:{{alertname="InstanceDown", {label}="{member}"}}'
        await stage.webhook("alertmanager", body)
    assert len(stage.channel("#alerts")) == 1
    assert (await alert_of(stage)).total == 1
    ended = down("http://am-b:9093", status="resolved", **{label: "b"})
    await stage.webhook("alertmanager", ended)
    assert (await alert_of(stage)).status is AlertStatus.RESOLVED


async def test_01_two_replicas_in_one_body_are_one_alert_that_fires_while_one_of_them_says_so(
    stage: Stage,
) -> None:
    both, left = down("http://am:9093", replica="a"), down("http://am:9093", replica="b")
    both["alerts"] += left["alerts"]
    await stage.webhook("alertmanager", both)
    both["alerts"][0] |= {"status": "resolved", "endsAt": ENDED}
    await stage.webhook("alertmanager", both)
    group = await alert_of(stage)
    assert (group.status, group.firing, group.total) == (AlertStatus.FIRING, 1, 1)


async def test_01_one_alert_by_two_routes_is_one_card(stage: Stage) -> None:
    await stage.webhook("alertmanager", down("http://am:9093"))
    other = down("http://am:9093") | {"receiver": "toban-all", "groupKey": '{}/{severity="critical"}:{}'}
    await stage.webhook("alertmanager", other)
    assert len(stage.channel("#alerts")) == 1
    assert len(pages(stage)) == 1


@pytest.mark.parametrize("label", ["cluster", "environment", "region"])
async def test_01_two_clusters_with_equal_rules_stay_apart(stage: Stage, label: str) -> None:
    """Equal names and keys of groups, other labels: no end of one ends the other."""
    await stage.webhook("alertmanager", down("http://am-tokyo:9093", **{label: "tokyo"}))
    await stage.webhook("alertmanager", down("http://am-osaka:9093", **{label: "osaka"}))
    assert len(stage.channel("#alerts")) == 2
    await stage.webhook("alertmanager", down("http://am-osaka:9093", status="resolved", **{label: "osaka"}))
    tokyo, osaka = await groups(stage)
    assert (tokyo.status, osaka.status) == (AlertStatus.FIRING, AlertStatus.RESOLVED)
    assert f"{label}=tokyo" in stage.channel("#alerts")[0].plain
    # Again within the half hour: still in the thread of its own.
    again = down("http://am-osaka:9093", **{label: "osaka"})
    again["alerts"][0]["startsAt"] = LATER
    await stage.webhook("alertmanager", again)
    assert [group.fires for group in await groups(stage)] == [1, 2]


async def test_01_what_one_alertmanager_groups_stays_together(stage: Stage) -> None:
    body, other = down("http://am:9093", cluster="tokyo"), down("http://am:9093", cluster="osaka")
    await stage.webhook("alertmanager", body)
    body["alerts"] += other["alerts"]
    await stage.webhook("alertmanager", body)
    group = await alert_of(stage)
    assert (group.firing, group.total) == (2, 2)


async def test_01_the_policy_keeps_apart_what_is_no_pair(database_url: str) -> None:
    policy = make_policy(clusters=(Cluster(name="osaka", alertmanagers=("http://am-osaka-*:9093",)),))
    async with open_stage(database_url, policy) as stage:
        await stage.webhook("alertmanager", down("http://am-tokyo:9093"))
        await stage.webhook("alertmanager", down("http://am-osaka-0:9093"))
        await stage.webhook("alertmanager", down("http://am-osaka-1:9093/"))
        assert len(stage.channel("#alerts")) == 2
        await stage.webhook("alertmanager", down("http://am-osaka-1:9093", status="resolved"))
        assert [group.is_open for group in await groups(stage)] == [True, False]


# 05: test buttons.


async def test_05_a_test_button_is_one_line_in_ops_however_often_it_is_pressed(stage: Stage) -> None:
    for press in range(12):
        await stage.webhook(
            "alertmanager", grafana_test(press, version=("13.0.1", "9.5.2", "10.4.0")[press % 3])
        )
        await stage.advance(minutes=1)
    assert len(stage.channel("#ops")) == 1
    assert "Notification test" in stage.card("#ops").plain
    assert stage.channel("#alerts") == []
    assert stage.channel("#incidents") == []
    assert all(pages(stage, person) == [] for person in ("kenji", "mika"))
    await stage.advance(minutes=11)  # Somebody tries again, later.
    await stage.webhook("alertmanager", grafana_test(13))
    assert len(stage.channel("#ops")) == 2


async def test_05_a_test_with_labels_and_texts_of_its_own_pages_nobody(stage: Stage) -> None:
    body = grafana_test(1)
    body["alerts"][0]["labels"] = {"alertname": "Disk full", "severity": "critical"}
    body["alerts"][0]["annotations"] = {"summary": "テスト通知"}
    await stage.webhook("alertmanager", body)
    assert stage.channel("#alerts") == []
    assert "テスト通知" in stage.card("#ops").plain


async def test_05_other_test_buttons_page_nobody(stage: Stage) -> None:
    by_hand = alertmanager("x", group="TestAlert", severity="critical")
    by_hand["alerts"][0]["generatorURL"] = ""
    await stage.webhook("alertmanager", by_hand)
    await stage.webhook("cloud-monitoring", monitoring_test())
    await stage.webhook("cloud-monitoring", monitoring_test())
    assert len(stage.channel("#ops")) == 2
    assert stage.channel("#alerts") == []


async def test_05_a_rule_that_is_only_called_a_test_is_an_alert(stage: Stage) -> None:
    await stage.webhook("alertmanager", alertmanager("x", group="TestAlert", severity="critical"))
    await stage.webhook("alertmanager", grafana(name="TestAlert", severity="critical"))
    assert len(stage.channel("#alerts")) == 2
    assert len(pages(stage)) >= 1


# 06: an end that is no recovery.


@pytest.mark.parametrize("reason", ["MissingSeries", "NoData", "Error", "NoData, KeepLast", "SomethingNew"])
async def test_06_what_went_silent_has_not_recovered(stage: Stage, reason: str) -> None:
    """It stays open, whoever was paged stays asked, and nobody is paged twice when it is heard again."""
    await stage.webhook("alertmanager", grafana(severity="critical"))
    await stage.advance(minutes=2)
    await stage.webhook("alertmanager", grafana(severity="critical", reason=reason))
    card = stage.card("#alerts").plain
    assert "Went silent" in card
    assert "ecover" not in card.replace("whether it is over", "")
    assert any("went silent" in note.lower() for note in notes(stage, "#alerts"))
    assert not any("reports recovery" in note for note in notes(stage, "#alerts"))
    assert (await alert_of(stage)).is_open
    assert len(pages(stage)) == 1
    await stage.webhook("alertmanager", grafana(severity="critical", started=LATER))
    assert "Went silent" not in stage.card("#alerts", 0).plain
    assert (await alert_of(stage)).firing == 1
    assert len(pages(stage)) == 1


async def test_a_contact_point_of_grafana_that_moves_to_its_own_route_keeps_its_open_alert(
    stage: Stage,
) -> None:
    await stage.webhook("alertmanager", grafana(severity="critical"))
    await stage.webhook("grafana", grafana(severity="critical"))
    assert len(stage.channel("#alerts")) == 1
    assert len(pages(stage)) == 1
    await stage.webhook("grafana", grafana_test())
    assert len(stage.channel("#alerts")) == 1
    assert len(stage.channel("#ops")) == 1


async def test_06_what_went_silent_unanswered_goes_on_to_the_next_person(stage: Stage) -> None:
    await stage.webhook("alertmanager", grafana(severity="critical"))
    await stage.advance(minutes=2)
    await stage.webhook("alertmanager", grafana(severity="critical", reason="MissingSeries"))
    await stage.advance(minutes=15)
    assert len(pages(stage, "aya")) == 1


async def test_06_what_was_answered_pages_nobody_when_it_is_heard_again(stage: Stage) -> None:
    await stage.webhook("alertmanager", grafana(severity="warning"))
    await stage.press("mika", pages(stage, "mika")[0], "Acknowledge")
    await stage.advance(minutes=5)
    await stage.webhook("alertmanager", grafana(severity="warning", reason="MissingSeries"))
    await stage.advance(minutes=5)
    await stage.webhook("alertmanager", grafana(severity="warning", started=LATER))
    await stage.advance(minutes=30)
    assert (await alert_of(stage)).status is AlertStatus.ACKNOWLEDGED
    assert len(pages(stage, "mika")) == 1
    assert pages(stage, "dan") == []


async def test_06_what_went_silent_ends_with_a_real_end_or_by_a_person(stage: Stage) -> None:
    await stage.webhook("alertmanager", grafana(severity="warning"))
    await stage.webhook("alertmanager", grafana(severity="warning", reason="MissingSeries"))
    await stage.webhook("alertmanager", grafana(severity="warning", status="resolved"))
    assert "Recovered" in stage.card("#alerts").plain
    other = {"name": "Disk", "severity": "warning"}
    await stage.webhook("alertmanager", grafana(**other))
    await stage.webhook("alertmanager", grafana(**other, reason="MissingSeries"))
    await stage.press("mika", stage.card("#alerts"), "Resolve")
    first, second = await groups(stage)
    assert (first.status, second.status) == (AlertStatus.RESOLVED, AlertStatus.RESOLVED)
    assert [row["silent"] for row in await rows(stage, sa.select(ALERT.c.silent))] == [False, False]


async def test_06_what_went_silent_and_was_resolved_may_fire_for_weeks(stage: Stage) -> None:
    """Each trouble has a thread of its own, whatever an older one left behind."""
    await stage.webhook("alertmanager", grafana(severity="warning"))
    await stage.webhook("alertmanager", grafana(severity="warning", reason="MissingSeries"))
    await stage.press("mika", stage.card("#alerts"), "Resolve")
    for hour in (2, 4):
        started = f"2026-11-22T{hour + 9:02}:00:00+09:00"
        await stage.advance(hours=2)
        await stage.webhook("alertmanager", grafana(severity="warning", started=started))
        await stage.webhook("alertmanager", grafana(severity="warning", started=started, reason="NoData"))
        await stage.press("mika", stage.card("#alerts"), "Resolve")
    assert [group.generation for group in await groups(stage)] == [1, 2, 3]


async def test_06_cloud_monitoring_closes_what_has_no_data(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring())
    closed = monitoring(state="closed", summary="Auto-closed: no data for 30 minutes.", observed_value="")
    await stage.webhook("cloud-monitoring", closed)
    card = stage.card("#alerts").plain
    assert "has no data for it any more" in card
    assert "Closed" in card.splitlines()[0]
    assert "Recovered" not in card


@pytest.mark.parametrize(
    ("reason", "said"), [("Paused", "was paused"), ("Updated", "was changed"), ("RuleDeleted", "was deleted")]
)
async def test_06_a_rule_that_somebody_changed_is_closed_and_not_recovered(
    stage: Stage, reason: str, said: str
) -> None:
    await stage.webhook("alertmanager", grafana(severity="critical"))
    await stage.webhook("alertmanager", grafana(severity="critical", reason=reason))
    card = stage.card("#alerts").plain
    assert said in card
    assert "Closed" in card.splitlines()[0]
    assert any(said in note for note in notes(stage, "#alerts"))
    assert not any("reports recovery" in note for note in notes(stage, "#alerts"))
    assert not (await alert_of(stage)).is_open
    assert "回復しました" not in pages(stage)[0].plain


# 07: alerts about the data.


@pytest.mark.parametrize(
    ("name", "title"), [("DatasourceNoData", "API 5xx: no data"), ("DatasourceError", "API 5xx: query error")]
)
async def test_07_a_rule_without_data_has_its_own_name_and_level(stage: Stage, name: str, title: str) -> None:
    body = grafana(name=name, severity="critical", rulename="API 5xx", ref_id="A", datasource_uid="P18")
    body["alerts"][0]["annotations"] = (
        {"Error": "failed to execute query A"} if name.endswith("Error") else {}
    )
    await stage.webhook("alertmanager", body)
    card = stage.card("#alerts").plain
    assert title in card
    assert "Datasource" not in card
    assert "Warning" in card
    assert stage.channel("#incidents") == []
    assert pages(stage) == []
    assert title in pages(stage, "mika")[0].plain
    assert ("failed to execute" in card) == name.endswith("Error")


async def test_07_the_policy_says_how_loud_missing_data_is_and_japanese_readers_read_japanese(
    database_url: str,
) -> None:
    levels = make_policy().levels | {"no data": "critical"}
    async with open_stage(database_url, make_policy(levels=levels), TOBAN_LOCALE="ja") as stage:
        body = grafana(name="DatasourceNoData", severity="warning", rulename="API 5xx")
        await stage.webhook("alertmanager", body)
        assert "API 5xx：データなし" in stage.card("#alerts").plain
        assert len(pages(stage)) == 1


# 09: a value that only a label holds.


async def test_09_a_value_in_a_label_is_shown(stage: Stage) -> None:
    body = monitoring(observed_value=None, threshold_value=None)
    body["incident"]["metric"] = {"type": "__missing__", "labels": {"value": "87.31250000004", "node": "n-1"}}
    del body["incident"]["observed_value"]
    await stage.webhook("cloud-monitoring", body)
    assert "87.3" in stage.card("#alerts").plain
    assert "__missing__" not in stage.card("#alerts").plain


# 12: what stays open.


async def test_12_what_stays_open_is_told_every_day_with_its_age_and_its_owner(database_url: str) -> None:
    services = (Service(name="bondpoint-api", match={"service_name": "bondpoint-api"}, owners=("dan",)),)
    async with open_stage(database_url, make_policy(services=services)) as stage:
        await stage.webhook("cloud-monitoring", monitoring(severity="no severity"))
        await stage.webhook(
            "cloud-monitoring", monitoring("0.other", policy="Disk", severity="none", service="?")
        )
        await stage.webhook("cloud-monitoring", monitoring("0.taken", policy="Queue", severity="Warning"))
        await stage.press("mika", pages(stage, "mika")[0], "Acknowledge")
        for day in (1, 2):
            await stage.advance(hours=24)
            lists = [one for one in stage.channel("#alerts") if "Still open" in one.plain]
            assert len(lists) == day
        newest = lists[-1].plain
        assert "Still open: 3" in newest
        assert "open for 1 day" in newest
        assert "nobody owns it" in newest
        raw = str(posts_to(stage, "#alerts")[-1].params)
        assert f"<@{stage.slack.user_id('dan')}>" in raw
        assert f"<@{stage.slack.user_id('mika')}> has it" in raw
        assert "/archives/" in raw


async def test_12_health_is_not_green_while_an_alert_of_no_service_is_open(by_name: Stage) -> None:
    etcd = monitoring(severity="Warning", policy="Etcd", service="elsewhere")
    await by_name.webhook("cloud-monitoring", etcd)
    await by_name.type("mika", "#ops", "/toban health")
    answer = by_name.told("mika")[-1]
    assert "are healthy (" in answer
    assert "Etcd" in answer


# 13: what comes and goes under a new name each time.


async def test_13_a_flap_with_new_ids_is_one_thread_and_one_page(stage: Stage) -> None:
    for number in range(20):
        more = {"policy": "Container BackOff", "severity": "Warning"}
        await stage.webhook("cloud-monitoring", monitoring(f"0.flap{number}", **more))
        await stage.advance(minutes=3)
        await stage.webhook("cloud-monitoring", monitoring(f"0.flap{number}", state="closed", **more))
        await stage.advance(minutes=3)
    group = await alert_of(stage)
    assert (group.fires, group.total) == (20, 1)
    assert "20 times since" in stage.channel("#alerts")[0].plain
    assert any(note.startswith("Flapping") for note in notes(stage, "#alerts", 0))
    assert len(pages(stage, "mika")) == 1
    assert pages(stage, "dan") == []


async def test_13_a_flap_that_stays_pages_again(stage: Stage) -> None:
    for number in range(3):
        await stage.webhook("cloud-monitoring", monitoring(f"0.flap{number}", severity="Warning"))
        await stage.advance(minutes=3)
        if number < 2:
            await stage.webhook(
                "cloud-monitoring", monitoring(f"0.flap{number}", state="closed", severity="Warning")
            )
            await stage.advance(minutes=3)
    assert len(pages(stage, "mika")) == 1
    await stage.advance(minutes=8)
    assert len(pages(stage, "mika")) == 2


async def test_13_a_critical_flap_that_nobody_answers_goes_on_to_the_next_person(stage: Stage) -> None:
    """Each of them hears of it once: what comes and goes does not keep the ladder at its first rung."""
    for number in range(7):
        await stage.webhook("cloud-monitoring", monitoring(f"0.flap{number}"))
        await stage.advance(minutes=3)
        await stage.webhook("cloud-monitoring", monitoring(f"0.flap{number}", state="closed"))
        await stage.advance(minutes=3)
    assert [len(pages(stage, person)) for person in ("kenji", "aya", "yuko")] == [1, 1, 1]


async def test_13_a_flap_that_somebody_has_pages_nobody_again(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.first", severity="Warning"))
    await stage.press("mika", pages(stage, "mika")[0], "Acknowledge")
    for number in range(12):
        await stage.webhook("cloud-monitoring", monitoring("0.first", state="closed", severity="Warning"))
        await stage.webhook("cloud-monitoring", monitoring(f"0.f{number}", severity="Warning"))
        await stage.advance(minutes=3)
        await stage.webhook(
            "cloud-monitoring", monitoring(f"0.f{number}", state="closed", severity="Warning")
        )
        await stage.advance(minutes=3)
    assert len(pages(stage, "mika")) == 1


# The card.


async def test_11_a_firing_that_comes_back_is_seen_at_the_bottom_of_the_channel(stage: Stage) -> None:
    await stage.webhook("cloud-monitoring", monitoring("0.one"))
    await stage.webhook("cloud-monitoring", monitoring("0.one", state="closed"))
    await stage.webhook("cloud-monitoring", monitoring("0.else", policy="Something else", severity="none"))
    await stage.advance(minutes=10)
    await stage.webhook("cloud-monitoring", monitoring("0.two"))
    newest = stage.channel("#alerts")[-1]
    assert "Firing again (occurrence 2)" in newest.plain
    assert "API error rate" in newest.plain
    assert newest.thread_ts == stage.channel("#alerts")[0].ts


async def test_26_the_card_shows_the_name_the_labels_the_description_and_the_links(stage: Stage) -> None:
    body = grafana(severity="critical", cluster="tokyo-1", instance="10.0.0.5:9100", team="<!channel>*")
    alert = body["alerts"][0]
    alert["annotations"] = {"summary": "The API fails", "description": "See the *graph* <http://evil|here>"}
    alert |= {
        "dashboardURL": "https://grafana.example/d/abc?orgId=1",
        "panelURL": "https://grafana.example/d/abc?viewPanel=2",
        "silenceURL": "https://grafana.example/alerting/silence/new?matcher=alertname%3DAPI",
    }
    await stage.webhook("alertmanager", body)
    card = stage.card("#alerts")
    for said in ("The API fails", "API 5xx", "cluster=tokyo-1", "instance=10.0.0.5:9100", "See the *graph*"):
        assert said in card.plain
    raw = "\n".join(raw_texts(bot_posts(stage)))
    for link in ("/d/abc?orgId=1|Dashboard", "viewPanel=2|Panel", "matcher=alertname%3DAPI|Silence"):
        assert link in raw
    assert "<!channel>" not in raw
    assert "<http://evil" not in raw


@pytest.fixture
def named() -> Policy:
    return make_policy(services=(Service(name="bondpoint-api"), Service(name="web", match={"tier": "front"})))


@pytest.fixture
async def by_name(sqlite_only: str, named: Policy) -> AsyncIterator[Stage]:
    async with open_stage(sqlite_only, named) as stage:
        yield stage


@pytest.mark.parametrize(
    "label",
    [
        "service",
        "service_name",
        "app",
        "job",
        "app.kubernetes.io/name",
        "app_kubernetes_io_name",
        "label_app_kubernetes_io_name",
    ],
)
async def test_the_service_is_found_by_the_labels_that_senders_use(by_name: Stage, label: str) -> None:
    body = alertmanager("x", severity="info")
    body["alerts"][0]["labels"][label] = "bondpoint-api"
    await by_name.webhook("alertmanager", body)
    assert (await alert_of(by_name)).service == "bondpoint-api"
