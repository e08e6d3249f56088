"""The team's policy file: what it says is taken, what is wrong is told with its line and the way out."""

import contextlib
from datetime import timedelta
from pathlib import Path

import pytest

from bot.policy import BadPolicy, read_policy
from domain.policy import Channels, Level, Means

EXAMPLE = Path(__file__).parents[2] / "toban.example.yaml"

NOBODY = """
ladders: {warning: [], critical: [], emergency: []}
"""

TWO = """\
people:
  kenji: {email: kenji@bondpoint.example, phone: +81-3-0000-0001}
  aya: {slack: U0AYA}
ladders:
  warning: []
  emergency: []
  critical:
"""


def written(tmp_path, text):
    path = tmp_path / "toban.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path):
    with pytest.raises(BadPolicy) as raised:
        read_policy(path)
    assert str(raised.value).splitlines() == [str(problem) for problem in raised.value.problems]
    return raised.value.problems


def test_the_example_is_sound():
    policy = read_policy(EXAMPLE)
    assert list(policy.people) == ["kenji", "aya", "mika", "dan", "yuko"]
    assert policy.people["kenji"].phone == "+81300000001"
    assert policy.channels == Channels()
    assert [step.tell for step in policy.ladder(Level.CRITICAL).steps] == [("kenji",), ("aya",), ("yuko",)]
    assert policy.service({"database_id": "bondpoint-prod:bondpoint-db"}) == "bondpoint-db"
    assert policy.level("NOTICE") is Level.INFO


def test_the_example_names_only_addresses_that_cannot_exist():
    """Seed defect 20: a real phone number and real addresses stood in the repository."""
    for person in read_policy(EXAMPLE).people.values():
        assert (person.phone or "").startswith("+8130000")
        assert (person.email or "").endswith(".example")


def test_a_policy_is_read_to_its_last_detail(tmp_path):
    policy = read_policy(
        written(
            tmp_path,
            """
people:
  佐藤: {slack: [U012AB, W034CD], email: sato@example.com, locale: ja, zone: Asia/Tokyo, roles: lead}
channels: {alerts: "#障害-通知", ops: C012AB3CD}
services:
  api: {match: {service_name: api, project_number: 12345}, owners: 佐藤, url: "https://api.example.com"}
  lonely: {}
levels: {Sev1: emergency, error: critical}
ladders:
  warning: []
  emergency: []
  critical:
    - {tell: 佐藤, respond: 1m30s, wait: 1h30m}
    - {tell: [佐藤], by: [slack, email]}
""",
        )
    )
    assert policy.people["佐藤"].slack == ("U012AB", "W034CD")
    assert policy.people["佐藤"].roles == ("lead",)
    assert policy.channels == Channels(alerts="#障害-通知", ops="C012AB3CD")
    assert policy.services[0].match == {"service_name": "api", "project_number": "12345"}
    assert policy.services[1].match == {}
    assert policy.level("SEV1") is Level.EMERGENCY
    assert policy.level("error") is Level.CRITICAL
    assert policy.level("page") is Level.CRITICAL
    first, last = policy.ladder(Level.CRITICAL).steps
    assert (first.by, first.respond, first.wait) == (
        (Means.SLACK,),
        timedelta(minutes=1, seconds=30),
        timedelta(hours=1, minutes=30),
    )
    assert (last.by, last.wait) == ((Means.SLACK, Means.EMAIL), None)
    assert policy.ladder(Level.INFO).steps == ()


def test_anchors_and_merges_are_taken(tmp_path):
    policy = read_policy(
        written(
            tmp_path,
            """
people:
  kenji: &tokyo {email: kenji@example.com, zone: Asia/Tokyo}
  aya: {<<: *tokyo, email: aya@example.com}
ladders:
  warning: &everybody [{tell: [kenji, aya]}]
  critical: *everybody
  emergency: *everybody
""",
        )
    )
    assert (policy.people["aya"].email, policy.people["aya"].zone) == ("aya@example.com", "Asia/Tokyo")
    assert policy.ladder(Level.EMERGENCY) == policy.ladder(Level.WARNING)


def test_sections_of_later_versions_may_stand_there_empty(tmp_path):
    read_policy(written(tmp_path, f"rotations:\nroutes: []\nrules: {{}}\nbackups: ~\n{NOBODY}"))


CASES = {
    "an unknown section": (f"chanels: {{}}{NOBODY}", 1, 'unknown key "chanels" in the policy; did you mean'),
    "a section of a later version": (
        f"\nrotations: {{a: 1}}{NOBODY}",
        2,
        '"rotations" is not supported by this',
    ),
    "a section twice": (
        f"levels: {{}}\nlevels: {{}}{NOBODY}",
        2,
        "stands twice in the policy; the first is on line 1",
    ),
    "a list as the policy": ("- people", 1, "the policy must be a mapping"),
    "an unknown key of a person": (
        f"people:\n  aya:\n    emial: a@b.example{NOBODY}",
        3,
        'unknown key "emial" in people.aya; did you mean "email"? Allowed: slack, email, phone',
    ),
    "the same person twice": (
        f"people:\n  aya: {{}}\n  aya: {{}}{NOBODY}",
        3,
        '"aya" stands twice in people',
    ),
    "a person that is text": (f"people:\n  aya: U0AYA{NOBODY}", 2, "people.aya must be a mapping"),
    "people that are a list": (
        f"people: [aya]{NOBODY}",
        1,
        "people must be a mapping of `key: value` lines, not a list",
    ),
    "a key that is a list": (f"people:\n  [a]: {{}}{NOBODY}", 2, "a key of people must be text, not a list"),
    "an address without a domain": (f"people:\n  aya: {{email: aya}}{NOBODY}", 2, '"aya" is not an address'),
    "an address that is a mapping": (
        f"people:\n  aya: {{email: {{a: b}}}}{NOBODY}",
        2,
        "must be text, not a mapping",
    ),
    "an address that is blank": (f'people:\n  aya: {{email: " "}}{NOBODY}', 2, "people.aya.email is empty"),
    "an address with a line break": (
        f'people:\n  aya: {{email: "a@b.example\\nBcc: c@d.example"}}{NOBODY}',
        2,
        "is not an address",
    ),
    "a Slack name for an id": (f'people:\n  aya: {{slack: "@aya"}}{NOBODY}', 2, "is not a member id such as"),
    "a Slack id of two people": (
        f"people:\n  aya: {{slack: [U0A]}}\n  dan: {{slack: [U0B, U0A]}}{NOBODY}",
        3,
        '"U0A" belongs to aya already',
    ),
    "an address of two people": (
        f"people:\n  aya: {{email: a@b.example}}\n  dan: {{email: A@B.example}}{NOBODY}",
        3,
        "belongs to aya already",
    ),
    "a phone without its country": (
        f"people:\n  aya: {{phone: 03-0000-0001}}{NOBODY}",
        2,
        "with its country",
    ),
    "an unknown zone": (
        f"people:\n  aya: {{zone: Asia/Tokio}}{NOBODY}",
        2,
        'unknown time zone "Asia/Tokio"; did you mean "Asia/Tokyo"?',
    ),
    "a zone that is a path": (f"people:\n  aya: {{zone: ../../etc/passwd}}{NOBODY}", 2, "unknown time zone"),
    "an unknown language": (f"people:\n  aya: {{locale: fr}}{NOBODY}", 2, 'unknown "fr". Allowed: en, ja'),
    "a language that YAML takes for no": (
        f"people:\n  aya: {{locale: no}}{NOBODY}",
        2,
        'Put it into "quotes"',
    ),
    "an unknown channel key": (f'channels:\n  alert: "#a"{NOBODY}', 2, 'did you mean "alerts"?'),
    "a channel lost to a comment": (
        f"channels:\n  alerts: #alerts{NOBODY}",
        2,
        'Put quotes around it: "#alerts"',
    ),
    "a channel without its sign": (f"channels:\n  alerts: alerts{NOBODY}", 2, 'did you mean "#alerts"?'),
    "a channel with capitals": (
        f'channels:\n  alerts: "#My Alerts"{NOBODY}',
        2,
        'did you mean "#my-alerts"?',
    ),
    "a channel that is too long": (f'channels:\n  alerts: "#{"a" * 81}"{NOBODY}', 2, "at most 80"),
    "an unknown key of a service": (
        f"services:\n  api: {{zone: a}}{NOBODY}",
        2,
        'unknown key "zone" in services.api',
    ),
    "the same service twice": (f"services:\n  api: {{}}\n  api: {{}}{NOBODY}", 3, "stands twice in services"),
    "a label that is a list": (
        f"services:\n  api: {{match: {{a: [b]}}}}{NOBODY}",
        2,
        "services.api.match.a must be text",
    ),
    "a service that another one hides": (
        f"services:\n  all: {{match: {{a: b}}}}\n  one: {{match: {{a: b, c: d}}}}{NOBODY}",
        3,
        "services.one is never chosen: whatever it matches, all (line 2) matches first",
    ),
    "an owner whom nobody knows": (
        f"people: {{kenji: {{}}}}\nservices:\n  api: {{owners: [kenij]}}{NOBODY}",
        3,
        'unknown person "kenij"; did you mean "kenji"?',
    ),
    "a runbook that is a script": (
        f'services:\n  api: {{runbook: "javascript:x"}}{NOBODY}',
        2,
        "is not a link",
    ),
    "a link that hides its host": (
        f'services:\n  api: {{url: "https://a@b.example"}}{NOBODY}',
        2,
        "is not a link",
    ),
    "a level that does not exist": (
        f"levels:\n  sev1: Critcal{NOBODY}",
        2,
        'unknown "Critcal"; did you mean "critical"? Allowed: info, warning, critical, emergency',
    ),
    "a level's word twice": (f"levels:\n  Sev1: info\n  sev1: info{NOBODY}", 3, "capitals do not count"),
    "a ladder for no level": (
        "ladders:\n  warning: []\n  critical: []\n  emergency: []\n  critcal: []",
        5,
        'ladders: unknown "critcal"; did you mean "critical"?',
    ),
    "a ladder left out": (
        "people:\nladders:\n  warning: []\n  emergency: []",
        2,
        "ladders.critical is missing: nobody would be paged. Add it, or write `critical: []`",
    ),
    "a ladder left empty": (
        "ladders:\n  warning: []\n  critical:\n  emergency: []",
        3,
        "write [] if nobody is to be",
    ),
    "a ladder that is a step": (
        "people: {a: {slack: U0A}}\nladders:\n  warning: []\n  emergency: []\n  critical: {tell: a}",
        5,
        "ladders.critical must be a list",
    ),
    "a step that is text": (f"{TWO}    - kenji", 8, "ladders.critical step 1 must be a mapping"),
    "an unknown key of a step": (
        f"{TWO}    - tell: aya\n      waits: 1m",
        9,
        'unknown key "waits" in ladders.critical step 1; did you mean "wait"? Allowed: tell, by, respond',
    ),
    "a step that tells nobody": (f"{TWO}    - tell: []", 8, "ladders.critical step 1 tells nobody"),
    "a step without tell": (f"{TWO}    - wait: 1m", 8, "ladders.critical step 1 tells nobody"),
    "a step that tells a stranger": (
        f"{TWO}    - tell: [aya,\n        kenij]",
        9,
        'unknown person "kenij"; did you mean "kenji"? Allowed: kenji, aya',
    ),
    "a person told twice": (
        f"{TWO}    - tell: [aya, aya]",
        8,
        '"aya" stands twice in ladders.critical step 1 tell',
    ),
    "an unknown means": (
        f"{TWO}    - {{tell: aya, by: fax}}",
        8,
        'ladders.critical step 1 by: unknown "fax". Allowed: slack, email, sms, phone',
    ),
    "no means at all": (f"{TWO}    - {{tell: aya, by: []}}", 8, "by is empty"),
    "a person without email": (
        f"{TWO}    - {{tell: aya, by: [slack, email]}}",
        8,
        "aya cannot be reached by email. Add email to people.aya",
    ),
    "a person without phone": (f"{TWO}    - {{tell: aya, by: sms}}", 8, "Add phone to people.aya"),
    "a person without Slack": (
        "people: {a: {roles: x}}\nladders:\n  warning: []\n  emergency: []\n  critical: [{tell: a}]",
        5,
        "a cannot be reached by slack. Add slack or email to people.a",
    ),
    "a step that is never reached": (
        f"{TWO}    - tell: aya\n    - tell: kenji",
        9,
        "ladders.critical step 2 is never reached: the step before it has no `wait`",
    ),
    "respond as long as wait": (
        f"{TWO}    - tell: aya\n      wait: 5m\n      respond: 300s",
        10,
        "respond must be shorter than its wait",
    ),
    "respond beyond the last repetition": (
        f"{TWO}    - {{tell: aya, respond: 15m}}",
        8,
        "shorter than the 15m after which the last step repeats",
    ),
    "a wait of nothing": (f"{TWO}    - {{tell: aya, wait: 0m}}", 8, "wait must be longer than nothing"),
    "a negative wait": (f"{TWO}    - {{tell: aya, wait: -5m}}", 8, '"-5m" is not a duration'),
    "a wait without a unit": (f"{TWO}    - {{tell: aya, wait: 15}}", 8, "Write for example 15s or 15m"),
    "a wait in the wrong order": (f"{TWO}    - {{tell: aya, wait: 30m1h}}", 8, "30s, 5m, 1h, 2d or 1h30m"),
    "a wait that is a list": (f"{TWO}    - {{tell: aya, wait: [1m]}}", 8, "wait must be text, not a list"),
    "what is not YAML": ("people:\n  aya: [\n", 3, "this is not YAML"),
    "a tab": ("people:\n\taya: {}\n", 2, "this is not YAML"),
    "an anchor that nobody set": ("people:\n  aya: *nobody\n", 2, "found undefined alias"),
    "two documents": ("people:\n---\npeople:\n", 2, "expected a single document"),
    "a control character": ("people:\n  aya: \x00\n", 2, "U+0000 is not allowed"),
    "bytes that are not UTF-8": (b"people:\n  aya: \xff\n", 2, "not UTF-8 text"),
    "nesting without an end": ("[" * 5000, 1, "nested far too deeply"),
    "a Python object": (
        f'people: !!python/object/apply:os.system ["true"]{NOBODY}',
        1,
        "people must be a mapping",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_is_told_once_with_its_line_and_the_way_out(tmp_path, case):
    text, line, part = CASES[case]
    path = written(tmp_path, text)
    (problem,) = problems(path)
    assert part in problem.message
    assert str(problem).startswith(f"{path}:{line}: ")
    assert problem.column >= 1


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path):
    path = written(
        tmp_path,
        "people:\n  aya: {emial: a}\nchannels: {alerts: x}\nladders:\n  warning: [{tell: dan}]\nrutes: []\n",
    )
    found = problems(path)
    assert [problem.line for problem in found] == [2, 3, 4, 4, 5, 6]


@pytest.mark.parametrize("text", ["", "# Nothing yet.\n", "~\n", "{}\n"])
def test_an_empty_policy_is_told_what_it_lacks(tmp_path, text):
    found = problems(written(tmp_path, text))
    assert [problem.message.split(":")[0] for problem in found] == [
        "ladders.critical is missing",
        "ladders.emergency is missing",
        "ladders.warning is missing",
    ]


def test_a_missing_file_is_told_with_the_way_out(tmp_path):
    path = tmp_path / "toban.yaml"
    (problem,) = problems(path)
    assert f"cp toban.example.yaml {path}" in problem.message


def test_a_folder_is_no_policy(tmp_path):
    (problem,) = problems(tmp_path)
    assert "cannot be read: Is a directory" in problem.message


def test_a_knot_of_anchors_is_read_in_no_time(tmp_path):
    """Each level doubles what the one below brings in: without a guard this is 2**60 entries."""
    knot = "".join(f"  p{n}: &p{n} {{<<: [*p{n - 1}, *p{n - 1}]}}\n" for n in range(1, 60))
    policy = read_policy(written(tmp_path, f"people:\n  p0: &p0 {{zone: Asia/Tokyo}}\n{knot}{NOBODY}"))
    assert policy.people["p59"].zone == "Asia/Tokyo"


def test_an_anchor_that_merges_itself_ends(tmp_path):
    policy = read_policy(written(tmp_path, f"people:\n  a: &a {{<<: *a, zone: Asia/Tokyo}}{NOBODY}"))
    assert policy.people["a"].zone == "Asia/Tokyo"


@pytest.mark.parametrize("damage", ["cut", "without a line", "a line twice"])
def test_a_damaged_example_is_either_read_or_refused_but_never_crashes(tmp_path, damage):
    lines = [line for line in EXAMPLE.read_text().splitlines() if not line.startswith("#")]
    for place in range(0, len(lines), 3):
        match damage:
            case "cut":
                text = "\n".join(lines[:place])[:-3]
            case "without a line":
                text = "\n".join(lines[:place] + lines[place + 1 :])
            case _:
                text = "\n".join(lines[: place + 1] + lines[place:])
        path = written(tmp_path, text)
        with contextlib.suppress(BadPolicy):
            read_policy(path)


def test_13_17_how_long_things_are_kept_is_read_with_its_limits(tmp_path):
    from domain.data_retention import DataRetention

    usual = read_policy(written(tmp_path, NOBODY)).retention
    assert usual == DataRetention(bodies=timedelta(days=7), alerts=timedelta(days=90))
    said = read_policy(written(tmp_path, NOBODY + "retention: {bodies: 12h, alerts: 30d}\n")).retention
    assert said == DataRetention(bodies=timedelta(hours=12), alerts=timedelta(days=30))
    for text, wanted in {
        "retention: {bodys: 7d}": 'unknown key "bodys" in retention; did you mean "bodies"?',
        "retention: {bodies: 5m}": "retention.bodies must be at least 1h",
        "retention: {alerts: 1d}": "retention.alerts must be at least 7d",
        "retention: {alerts: 90}": '"90" is not a duration',
        "retention: {bodies: 100d}": "must not be longer than retention.alerts",
        "retention: {alerts: 99999d}": "at most 36500d",
        "retention: [7d]": "must be a mapping",
    }.items():
        [problem] = problems(written(tmp_path, NOBODY + text + "\n"))
        assert wanted in problem.message
        assert problem.line == 3


def test_alertmanagers_that_are_no_pair_are_named(tmp_path):
    text = (
        NOBODY
        + 'senders: {osaka: {alertmanagers: ["http://am-osaka-*:9093", "https://am.example/osaka/"]}}\n'
    )
    (osaka,) = read_policy(written(tmp_path, text)).clusters
    assert osaka.name == "osaka"
    for address in ("http://am-osaka-1:9093/", "HTTP://AM-OSAKA-x:9093", "https://am.example/osaka"):
        assert osaka.has(address)
    for address in ("http://am-tokyo-1:9093", "https://am.example/", ""):
        assert not osaka.has(address)


@pytest.mark.parametrize(
    ("senders", "said"),
    [
        ("{osaka: {alertmanagers: am-osaka}}", "is not how an Alertmanager calls itself"),
        ("{osaka: {}}", "names no addresses"),
        ("{osaka: {alertmanagers: []}}", "names no addresses"),
        ("{osaka: {alertmanager: https://am.example}}", 'unknown key "alertmanager"'),
    ],
)
def test_a_mistake_in_senders_is_told_with_the_way_out(tmp_path, senders, said):
    found = problems(written(tmp_path, f"{NOBODY}senders: {senders}\n"))
    assert any(said in str(problem) for problem in found)
