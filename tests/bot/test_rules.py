"""The policy's rules: what they say is taken, their defaults hold, and each mistake is told with its line."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from bot.checking import describe, warnings
from bot.policy import BadPolicy, read_policy
from domain.indicators import INDICATORS, shown
from domain.policy import Level
from domain.rules import (
    DEFAULT_THRESHOLDS,
    Anomalies,
    Capacity,
    Kind,
    Limits,
    Measure,
    Objective,
    Probe,
    Rules,
    Sensitivity,
    Silence,
    Statistic,
)
from domain.thresholds import watched
from domain.units import Unit

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "toban.example.yaml"
HEAD = """\
ladders: {warning: [], critical: [], emergency: []}
services:
  api: {project: shop, match: {service_name: api}, url: "https://API.example.com:443/home"}
  db: {match: {database_id: "shop:db"}}
  other: {}
rules:
"""
FIRST = 7
"""The line on which what is below ``rules`` begins."""


def written(tmp_path, text):
    path = tmp_path / "toban.yaml"
    path.write_text(HEAD + text)
    return path


def rules(tmp_path, text):
    return read_policy(written(tmp_path, text)).rules


def row(found, name):
    return next(one for one in found.thresholds if one.name == name)


# What is taken.


def test_without_the_section_the_default_table_holds(tmp_path):
    found = rules(tmp_path, "")
    assert found == Rules(origins=("https://api.example.com",))
    assert found.thresholds == DEFAULT_THRESHOLDS
    assert found.anomalies.of("api") is Sensitivity.NORMAL


def test_the_clocks_are_those_of_most_people(tmp_path):
    path = written(tmp_path, "")
    people = "people: {a: {zone: Asia/Tokyo}, b: {zone: Asia/Tokyo}, c: {zone: Europe/Berlin}, d: {}}\n"
    path.write_text(people + HEAD)
    assert read_policy(path).rules.zone == "Asia/Tokyo"
    path.write_text(people + HEAD + "  zone: Europe/Berlin\n  holidays: DE\n")
    assert (read_policy(path).rules.zone, read_policy(path).rules.holidays) == ("Europe/Berlin", "DE")


def test_a_row_of_the_table_is_changed_and_another_switched_off(tmp_path):
    found = rules(
        tmp_path,
        """\
  thresholds:
    memory: {above: 90%, for: 15m, level: critical, channel: "#performance", no_data: 20m}
    latency: {above: 800ms, recover: 500ms, recover_for: 10m, minimum: 50, except: api}
    startup: off
    cpu: {above: 95%, recover: 85%}
    requests:
""",
    )
    assert len(found.thresholds) == len(DEFAULT_THRESHOLDS) - 1
    assert row(found, "cpu").recover == pytest.approx(0.85)
    memory = row(found, "memory")
    assert (memory.limit, memory.recover) == (pytest.approx(0.9), pytest.approx(0.81))
    assert (memory.lasting, memory.level, memory.channel) == (
        timedelta(minutes=15),
        Level.CRITICAL,
        "#performance",
    )
    assert (memory.no_data, memory.silent_for) == (Silence.ALERT, timedelta(minutes=20))
    latency = row(found, "latency")
    assert (latency.limit, latency.recover, latency.minimum, latency.excluded) == (0.8, 0.5, 50, ("api",))
    assert latency.recover_for == timedelta(minutes=10)
    assert row(found, "requests") == next(one for one in DEFAULT_THRESHOLDS if one.name == "requests")


def test_the_whole_table_can_be_switched_off_but_for_rows_that_are_named(tmp_path):
    assert rules(tmp_path, "  defaults: false\n").thresholds == ()
    found = rules(tmp_path, "  defaults: false\n  thresholds: {cpu: {above: 95%}}\n")
    assert [(one.name, one.limit) for one in found.thresholds] == [("cpu", pytest.approx(0.95))]


OWN = {
    "a built-in metric with another limit": (
        "{metric: latency, services: api, above: 5s, level: warning}",
        ("latency", Unit.SECONDS, 5, True),
    ),
    "a histogram of Prometheus": (
        (
            "{metric: prometheus.googleapis.com/a_seconds/histogram, statistic: p95, services: api,"
            " above: 2s, level: info}"
        ),
        ("prometheus_target", Unit.SECONDS, 2, True),
    ),
    "milliseconds": (
        "{metric: custom.googleapis.com/a, statistic: p99, services: api, above: 2500ms, level: info}",
        ("global", Unit.SECONDS, 2.5, True),
    ),
    "a share": (
        "{metric: custom.googleapis.com/a, statistic: max, services: api, below: 12.5%, level: info}",
        ("global", Unit.SHARE, 0.125, False),
    ),
    "bytes": (
        "{metric: run.googleapis.com/x, statistic: sum, services: api, above: 5GiB, level: info}",
        ("cloud_run_revision", Unit.BYTES, 5 * 1024**3, True),
    ),
    "a plain number": (
        "{metric: cloudsql.googleapis.com/database/x, statistic: max, services: db, above: -3, level: info}",
        ("cloudsql_database", Unit.COUNT, -3, True),
    ),
    "a resource of its own": (
        (
            "{metric: loadbalancing.googleapis.com/x, statistic: mean, resource: https_lb_rule, "
            "services: other, above: 1, level: info}"
        ),
        ("https_lb_rule", Unit.COUNT, 1, True),
    ),
}


@pytest.mark.parametrize("case", OWN)
def test_a_rule_of_the_teams_own_is_read_to_its_last_detail(tmp_path, case):
    text, wanted = OWN[case]
    mine = row(rules(tmp_path, f"  thresholds:\n    mine: {text}\n"), "mine")
    what = mine.metric if isinstance(mine.metric, str) else mine.metric.resource
    assert (what, mine.unit, mine.limit, mine.above) == wanted


def test_seed_defect_12_a_rate_is_a_number_with_a_unit_and_no_text(tmp_path):
    text = (
        "  thresholds:\n    sync: {metric: custom.googleapis.com/sync_errors, statistic: rate, services: api,"
        " above: 10/min, level: critical, labels: {metric.labels.b: 1, metric.labels.a: x}}\n"
    )
    sync = row(rules(tmp_path, text), "sync")
    assert (sync.limit, sync.unit) == (10, Unit.PER_MINUTE)
    assert sync.metric == Measure(
        metric="custom.googleapis.com/sync_errors",
        statistic=Statistic.RATE,
        resource="global",
        labels=(("metric.labels.a", "x"), ("metric.labels.b", "1")),
        unit=Unit.PER_MINUTE,
        scale=60,
    )


def test_a_limit_may_be_a_share_of_a_week_ago(tmp_path):
    text = (
        "  thresholds:\n    users: {metric: prometheus.googleapis.com/users/gauge, statistic: sum,"
        " services: api, below: 50%, against: week-ago, minimum: 20, level: info, recover: 60%}\n"
    )
    users = row(rules(tmp_path, text), "users")
    assert (users.week_ago, users.above, users.limit, users.recover, users.minimum) == (
        True,
        False,
        0.5,
        0.6,
        20,
    )
    assert users.metric.unit is Unit.COUNT


def test_objectives_probes_and_the_rest_are_read(tmp_path):
    found = rules(
        tmp_path,
        """\
  objectives:
    up: {service: api, availability: 99.95%, window: 7d, minimum_errors: 5, channel: "#slo"}
  probes:
    home: {service: api, url: "https://api.example.com/"}
    inner:
      service: db
      url: http://10.0.0.8:8080/healthz
      every: 30s
      failures: 5
      successes: 1
      expect: {status: [200, 301-302], text: ok}
      slow: 1s
      level: warning
      private: true
      channel: "#ops"
  origins: ["https://api.example.com", "http://10.0.0.8:8080"]
  anomalies: {sensitivity: high, level: info, services: {db: off, api: low}, channel: "#odd"}
  limits:
    api: {instances: 100, requests: 1000/s, users: 5000}
    db: {connections: 400, storage: 200GiB}
  capacity:
    report: "30 8 1 * *"
    horizon: 30d
    lead: 7d
    users: {service: api, metric: prometheus.googleapis.com/users/gauge, statistic: sum}
""",
    )
    assert found.objectives[0].availability == pytest.approx(0.9995)
    assert found.objectives[0].window == timedelta(days=7)
    assert found.objectives[0].minimum_errors == 5
    home, inner = found.probes
    assert home == Probe(name="home", service="api", url="https://api.example.com/")
    assert (inner.every, inner.failures, inner.successes) == (timedelta(seconds=30), 5, 1)
    assert (inner.statuses, inner.text, inner.slow) == (((200, 200), (301, 302)), "ok", timedelta(seconds=1))
    assert (inner.level, inner.private, inner.channel) == (Level.WARNING, True, "#ops")
    assert found.origins == ("https://api.example.com", "http://10.0.0.8:8080")
    assert found.anomalies.of("db") is Sensitivity.OFF
    assert found.anomalies.of("other") is Sensitivity.HIGH
    assert found.limits_of("db") == Limits(connections=400, storage=200 * 1024**3)
    assert found.limits_of("other") == Limits()
    assert (found.capacity.horizon, found.capacity.users_of) == (timedelta(days=30), "api")
    assert found.capacity.users.statistic is Statistic.SUM


# What is wrong.

RATE = "metric: custom.googleapis.com/a, statistic: rate, services: api, level: info"
GAUGE = "metric: custom.googleapis.com/a, statistic: max, services: api, level: info"
PROBE = "service: api, url: https://api.example.com/"

CASES = {
    "an unknown key": ("  treshold: {}", 0, 'unknown key "treshold" in rules; did you mean "thresholds"?'),
    "a section that is a list": ("  - cpu", 0, "rules must be a mapping"),
    "an unknown zone": ("  zone: Asia/Tokio", 0, 'rules.zone: unknown time zone "Asia/Tokio"; did you mean'),
    "an unknown country": ("  holidays: Japan", 0, '"Japan" is not a country\'s code such as JP'),
    "a switch that is text": ("  defaults: none", 0, "rules.defaults must be true or false"),
    "an unknown key of a row": (
        "  thresholds:\n    cpu: {abov: 90%}",
        1,
        'unknown key "abov" in rules.thresholds.cpu; did you mean "above"?',
    ),
    "a metric for a row": ("  thresholds:\n    cpu: {metric: memory}", 1, 'unknown key "metric"'),
    "a row that does not exist is switched off": (
        "  thresholds:\n    cpus: off",
        1,
        'there is no such default to switch off; did you mean "cpu"?',
    ),
    "a row that is a number": ("  thresholds:\n    cpu: 90%", 1, "rules.thresholds.cpu must be a mapping"),
    "a share without its sign": (
        "  thresholds:\n    cpu: {above: 80}",
        1,
        "rules.thresholds.cpu.above: write it with its unit, as 80%",
    ),
    "a latency without its unit": ("  thresholds:\n    latency: {above: 1}", 1, "as 1.5s or 800ms"),
    "requests without their unit": ("  thresholds:\n    requests: {above: 1000}", 1, "as 1000/s"),
    "a limit that is a sentence": (
        '  thresholds:\n    requests: {above: "> 10/minute"}',
        1,
        '"> 10/minute" is not a quantity',
    ),
    "recovery beyond the limit": (
        "  thresholds:\n    cpu: {above: 80%, recover: 85%}",
        1,
        "recover must not lie above its limit",
    ),
    "recovery beyond the default limit": (
        "  thresholds:\n    cpu: {recover: 85%}",
        1,
        "recover must not lie above its limit",
    ),
    "recovery below a lower limit": (
        f"  thresholds:\n    a: {{{GAUGE}, below: 5, recover: 4}}",
        1,
        "recover must not lie below its limit",
    ),
    "half a minute": ("  thresholds:\n    cpu: {for: 90s}", 1, "must be whole minutes, at most 1d"),
    "longer than can be made up for": ("  thresholds:\n    cpu: {for: 2d}", 1, "must be whole minutes"),
    "an unknown level": ("  thresholds:\n    cpu: {level: loud}", 1, 'unknown "loud"'),
    "an unknown silence": ("  thresholds:\n    cpu: {no_data: healthy}", 1, "Allowed: keep, ok, or a time"),
    "a silence without a unit": ("  thresholds:\n    cpu: {no_data: 15}", 1, "Write for example 15s or 15m"),
    "a channel without its sign": ("  thresholds:\n    cpu: {channel: ops}", 1, 'did you mean "#ops"?'),
    "traffic for a metric without": (
        "  thresholds:\n    cpu: {minimum: 5}",
        1,
        "it is for latency, error-rate",
    ),
    "traffic with a unit": ("  thresholds:\n    latency: {minimum: 5%}", 1, "must be a plain number"),
    "an unknown service": (
        "  thresholds:\n    cpu: {services: ap}",
        1,
        'unknown service "ap"; did you mean "api"?',
    ),
    "a service of another kind": (
        "  thresholds:\n    cpu: {services: db}",
        1,
        "cpu is measured of cloud-run only, which db is not: its match has no service_name",
    ),
    "a database's metric of a service": (
        "  thresholds:\n    sql-cpu: {except: api}",
        1,
        "sql-cpu is measured of cloud-sql only, which api is not: its match has no database_id",
    ),
    "a name that cannot be one": (
        '  thresholds:\n    "a b": {metric: cpu, above: 80%, level: info}',
        1,
        '"a b" is not a name',
    ),
    "no metric": ("  thresholds:\n    a: {above: 5, level: info}", 1, "rules.thresholds.a has no metric"),
    "an unknown metric": (
        "  thresholds:\n    a: {metric: latncy, above: 5s, level: info}",
        1,
        'unknown "latncy"; did you mean "latency"?',
    ),
    "a metric that is a filter": (
        "  thresholds:\n    a: {metric: 'a.b/c\" OR', statistic: max, services: api, above: 5, level: info}",
        1,
        "is not a metric's whole type",
    ),
    "a metric without its resource": (
        (
            "  thresholds:\n    a: {metric: pubsub.googleapis.com/a, statistic: max, services: api,"
            " above: 5, level: info}"
        ),
        1,
        "rules.thresholds.a has no resource",
    ),
    "no statistic": (
        "  thresholds:\n    a: {metric: custom.googleapis.com/a, services: api, above: 5, level: info}",
        1,
        "has no statistic. Say what is made of custom.googleapis.com/a. Allowed: p50, p95",
    ),
    "a percentile of a counter": (
        (
            "  thresholds:\n    a: {metric: prometheus.googleapis.com/a/counter, statistic: p95,"
            " services: api, above: 5/s, level: info}"
        ),
        1,
        'no "p95" of a counter. Allowed: rate',
    ),
    "a statistic for a built-in one": (
        "  thresholds:\n    a: {metric: cpu, statistic: max, above: 80%, level: info}",
        1,
        "cpu is built in and has its own",
    ),
    "a label of nobody": (
        f"  thresholds:\n    a: {{{GAUGE}, above: 1, labels: {{kind: b}}}}",
        1,
        "Write metric.labels.kind or resource.labels.kind",
    ),
    "seed defect 12, a rate without its time": (
        f"  thresholds:\n    a: {{{RATE}, above: 10}}",
        1,
        "a rate needs /s or /min, as 10/min",
    ),
    "a level with a time": (
        f"  thresholds:\n    a: {{{GAUGE}, above: 10/min}}",
        1,
        "only a rate is written with /s or /min",
    ),
    "two limits": (f"  thresholds:\n    a: {{{GAUGE}, above: 1, below: 0}}", 1, "needs one limit"),
    "no limit": (f"  thresholds:\n    a: {{{GAUGE}}}", 1, "needs one limit: `above` or `below`"),
    "seed defect 18, no level": (
        "  thresholds:\n    a: {metric: cpu, above: 80%}",
        1,
        "has no level. Say how loud it is: info, warning, critical, emergency",
    ),
    "an own metric of no service": (
        "  thresholds:\n    a: {metric: custom.googleapis.com/a, statistic: max, above: 1, level: info}",
        1,
        "has no services. Say which service the metric is about",
    ),
    "a comparison with what": (
        f"  thresholds:\n    a: {{{GAUGE}, below: 50%, against: yesterday}}",
        1,
        'against: unknown "yesterday". Allowed: week-ago',
    ),
    "a comparison that is no share": (
        f"  thresholds:\n    a: {{{GAUGE}, below: 50, against: week-ago}}",
        1,
        "write it with its unit, as 80%",
    ),
    "an objective of nothing": ("  objectives:\n    a: {availability: 99%}", 1, "has no service"),
    "an objective of a database": (
        "  objectives:\n    a: {service: db, availability: 99%}",
        1,
        "requests are counted of cloud-run only",
    ),
    "an objective without a promise": ("  objectives:\n    a: {service: api}", 1, "has no availability"),
    "a promise of everything": (
        "  objectives:\n    a: {service: api, availability: 100%}",
        1,
        "must lie between 50% and 100%",
    ),
    "a promise as a number": (
        "  objectives:\n    a: {service: api, availability: 0.999}",
        1,
        "must lie between 50% and 100%",
    ),
    "no errors at all": (
        "  objectives:\n    a: {service: api, availability: 99%, minimum_errors: 0}",
        1,
        '"0" is not a whole number from 1',
    ),
    "a probe without an address": ("  probes:\n    a: {service: api}", 1, "rules.probes.a has no url"),
    "a probe of nothing": ("  probes:\n    a: {url: https://api.example.com/}", 1, "has no service"),
    "a probe that goes elsewhere": (
        "  probes:\n    a: {service: api, url: https://evil.example/}",
        1,
        "https://evil.example may not be asked. Allowed: https://api.example.com. Add it to rules.origins",
    ),
    "another port is another origin": (
        "  probes:\n    a: {service: api, url: 'https://api.example.com:8443/'}",
        1,
        "https://api.example.com:8443 may not be asked",
    ),
    "another scheme is another origin": (
        "  probes:\n    a: {service: api, url: http://api.example.com/}",
        1,
        "http://api.example.com may not be asked",
    ),
    "a probe that is a file": (
        "  probes:\n    a: {service: api, url: file:///etc/passwd}",
        1,
        "is not a link",
    ),
    "a name in an address": (
        "  probes:\n    a: {service: api, url: 'https://api.example.com@evil.example/'}",
        1,
        "is not a link",
    ),
    "a port that is none": (
        "  probes:\n    a: {service: api, url: 'https://api.example.com:port/'}",
        1,
        "is not a link",
    ),
    "a metadata server": (
        (
            "  origins: ['http://169.254.169.254']\n"
            "  probes:\n    a: {service: api, url: 'http://169.254.169.254/computeMetadata/'}"
        ),
        2,
        "is a private address. Write `private: true` if that is meant",
    ),
    "a v4 address in a v6 one": (
        (
            "  origins: ['http://[::ffff:10.0.0.1]']\n"
            "  probes:\n    a: {service: api, url: 'http://[::ffff:10.0.0.1]/'}"
        ),
        2,
        "is a private address",
    ),
    "a metadata server by name": (
        (
            "  origins: ['http://metadata.google.internal']\n"
            "  probes:\n    a: {service: api, url: 'http://metadata.google.internal/'}"
        ),
        2,
        "is a private address",
    ),
    "an origin with a path": ("  origins: ['https://a.example/x']", 0, "is not an origin such as"),
    "too often": (f"  probes:\n    a: {{{PROBE}, every: 5s}}", 1, "every must lie between 10s and 1d"),
    "slower than is waited": (f"  probes:\n    a: {{{PROBE}, slow: 5s}}", 1, "must be shorter than 5s"),
    "no failures": (
        f"  probes:\n    a: {{{PROBE}, failures: 0}}",
        1,
        '"0" is not a whole number from 1 to 60',
    ),
    "a status that is none": (
        f"  probes:\n    a: {{{PROBE}, expect: {{status: 20x}}}}",
        1,
        '"20x" is not a status such as 200',
    ),
    "a range upside down": (
        f"  probes:\n    a: {{{PROBE}, expect: {{status: 299-200}}}}",
        1,
        '"299-200" is not',
    ),
    "an unknown sensitivity": ("  anomalies: {sensitivity: max}", 0, 'unknown "max". Allowed: off, low'),
    "an anomaly that wakes people": (
        "  anomalies: {level: critical}",
        0,
        'unknown "critical". Allowed: info, warning',
    ),
    "a sensitivity of a stranger": (
        "  anomalies:\n    services: {apo: low}",
        1,
        'unknown service "apo"; did you mean "api"?',
    ),
    "limits of a stranger": ("  limits:\n    bd: {connections: 4}", 1, 'unknown service "bd"'),
    "storage without its unit": ("  limits:\n    db: {storage: 200}", 1, "write it as 200GiB"),
    "requests of a limit without theirs": ("  limits:\n    api: {requests: 200}", 1, "write it as 1000/s"),
    "no connections": ("  limits:\n    db: {connections: 0}", 1, "write it as 400, and more than nothing"),
    "a report at no time": ("  capacity: {report: every monday}", 0, "is not a crontab line"),
    "a report on a day that never comes": ('  capacity: {report: "0 9 31 2 *"}', 0, "is not a crontab line"),
    "a horizon of years": ("  capacity: {horizon: 999d}", 0, "must be at most 366d"),
    "users of nobody": (
        "  capacity:\n    users: {metric: custom.googleapis.com/a, statistic: max}",
        1,
        "rules.capacity.users has no service",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_is_told_once_with_its_line_and_the_way_out(tmp_path, case):
    text, line, part = CASES[case]
    path = written(tmp_path, text + "\n")
    with pytest.raises(BadPolicy) as raised:
        read_policy(path)
    (problem,) = raised.value.problems
    assert part in problem.message
    assert problem.line == FIRST + line


# The table, the documents and the example say the same.


def test_seed_defects_11_and_15_the_documents_name_the_limits_that_hold():
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| .+? \| (> [^|]+) \| ([^|]+) \| (\w+) \|", text, re.MULTILINE)
    assert [(name, limit, length, level) for name, limit, length, level in rows] == [
        (
            one.name,
            f"> {shown(one.limit, one.unit)}",
            f"{int(one.lasting.total_seconds()) // 60} min",
            one.level.value,
        )
        for one in DEFAULT_THRESHOLDS
    ]


def test_the_default_table_is_the_products():
    product = {
        "cpu": (0.80, Level.WARNING),
        "memory": (0.85, Level.WARNING),
        "requests": (1000, Level.INFO),
        "latency": (1, Level.CRITICAL),
        "error-rate": (0.01, Level.CRITICAL),
        "startup": (10, Level.WARNING),
        "sql-connections": (0.80, Level.WARNING),
        "sql-cpu": (0.80, Level.WARNING),
        "sql-disk": (0.90, Level.CRITICAL),
        "sql-replica-lag": (5, Level.WARNING),
        "sql-slow-queries": (1, Level.WARNING),
    }
    held = {one.name: (one.limit, one.level) for one in DEFAULT_THRESHOLDS}
    assert {name: held[name] for name in product} == product
    assert set(held) - set(product) == {"sql-slow-query-count"}


def test_every_key_of_the_rules_is_documented_with_its_default():
    text = (ROOT / "docs" / "settings.md").read_text()
    documented = set(re.findall(r"`(?:anomalies\.|capacity\.|limits\.NAME\.)?([a-z_]+)`", text))
    for kind in (Rules, Anomalies, Capacity, Limits):
        assert set(kind.model_fields) - {"users_of"} <= documented | {"services"}
    assert set(Objective.model_fields) - {"name"} <= documented
    assert set(Probe.model_fields) - {"name", "statuses", "text"} <= documented
    for default in ("`30d`", "`10`", "`1m`", "`3`, `2`", "`0 9 * * 1`", "`90d`", "`14d`", "`critical`"):
        assert default in text


def test_the_examples_of_the_documents_are_sound(tmp_path):
    text = (ROOT / "docs" / "settings.md").read_text()
    (example,) = re.findall(r"```yaml\n(rules:.*?)```", text, re.DOTALL)
    path = tmp_path / "toban.yaml"
    services = "".join(
        f"  {name}: {{project: p, match: {{service_name: {name}}}}}\n"
        for name in ("bondpoint-api", "bondpoint-sync")
    )
    path.write_text(f"ladders: {{warning: [], critical: [], emergency: []}}\nservices:\n{services}{example}")
    found = read_policy(path)
    assert {one.key for one in watched(found)} >= {
        "sync-latency@bondpoint-sync",
        "latency@bondpoint-api",
        "status-update-latency@bondpoint-api",
    }
    assert not {"latency@bondpoint-sync", "startup@bondpoint-api"} & {one.key for one in watched(found)}


def test_the_example_watches_every_row_of_the_product():
    policy = read_policy(EXAMPLE)
    held = {one.key: one for one in watched(policy)}
    for row_ in DEFAULT_THRESHOLDS:
        kind = INDICATORS[row_.name].kind
        names = [service.name for service in policy.services if service.kind is kind]
        assert all(f"{row_.name}@{name}" in held for name in names)
    assert all(one.lacking is None for one in held.values())
    update = held["status-update-latency@bondpoint-api"].threshold
    assert (update.limit, update.unit, update.lasting) == (2, Unit.SECONDS, timedelta(minutes=3))
    assert update.channel == "#performance"
    errors = held["sync-errors@bondpoint-sync"].threshold
    assert (errors.limit, errors.unit, errors.level) == (10, Unit.PER_MINUTE, Level.CRITICAL)
    users = held["active-users@bondpoint-api"].threshold
    assert (users.limit, users.week_ago, users.level) == (0.5, True, Level.INFO)
    assert policy.rules.holidays == "JP"
    assert policy.rules.zone == "Asia/Tokyo"


def test_seed_defect_8_the_examples_metrics_bear_the_names_under_which_prometheus_metrics_are_stored():
    measures = [
        one.metric for one in read_policy(EXAMPLE).rules.thresholds if not isinstance(one.metric, str)
    ]
    assert len(measures) == 3
    for measure in measures:
        assert re.fullmatch(
            r"prometheus\.googleapis\.com/bondpoint_\w+/(histogram|counter|gauge)", measure.metric
        )


def test_seed_defect_21_every_level_is_a_severity_and_the_loudest_is_the_worst():
    assert [(level.value, level.severity.value) for level in reversed(Level)] == [
        ("emergency", "P0"),
        ("critical", "P1"),
        ("warning", "P2"),
        ("info", "P3"),
    ]


def test_seed_defect_18_every_threshold_of_the_example_has_a_level_with_a_ladder():
    policy = read_policy(EXAMPLE)
    for one in policy.rules.thresholds:
        assert one.level in policy.ladders


# What ``toban check`` says.


def lines(policy):
    (section,) = [one for one in describe(policy, None) if one.title.startswith("Rules")]
    return section.lines


def test_check_tells_what_would_be_watched_of_each_service(tmp_path):
    found = lines(read_policy(EXAMPLE))
    text = "\n".join(re.sub(r"  +", "  ", line) for line in found)
    for part in (
        "bondpoint-api (cloud-run)",
        "  latency  p95 latency > 1 s  5 min  critical  keeps",
        "  error-rate  error rate > 1 %  2 min, each over 5 min  critical  keeps",
        "  status-update-latency  p95 > 2 s  3 min  warning in #performance  keeps",
        "  active-users  sum < 50 % of a week ago  15 min  info  keeps",
        "  api-availability  99.9 % available in 30 d  14.4x over 1 h, 6x over 6 h, 1x over 3 d",
        "  api-health  https://api.bondpoint.example/healthz  every 1 min, 3 failures in a row  critical",
        "  sql-cpu  CPU > 80 %  10 min  warning  alerts after 15 min",
        "clocks of  Asia/Tokyo, the holidays of JP",
    ):
        assert part in text


def test_check_warns_of_what_cannot_be_judged(tmp_path):
    path = tmp_path / "toban.yaml"
    path.write_text(
        "ladders: {warning: [], critical: [], emergency: []}\n"
        "services:\n  api: {match: {service_name: api}}\n  db: {match: {database_id: 'shop:db'}}\n"
        "  other: {}\n"
        "rules:\n  objectives: {up: {service: api, availability: 99%}}\n"
    )
    policy = read_policy(path)
    assert warnings(policy, None)[:2] == [
        (
            "cpu, memory, requests, latency, error-rate, startup, up cannot be judged of api:"
            " services.api.project is missing."
        ),
        "sql-connections cannot be judged of db: rules.limits.db.connections is missing.",
    ]
    assert "  nothing: its match has no service_name or database_id" in lines(policy)
    assert policy.services[2].kind is None
    assert policy.services[1].kind is Kind.CLOUD_SQL
