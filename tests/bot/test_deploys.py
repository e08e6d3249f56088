"""The policy's deploys: what they say is taken, defaults hold, and each mistake is told with its line."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from bot.checking import describe, warnings
from bot.deploys import KEYS, RULE, stuck
from bot.policy import BadPolicy, read_policy
from domain.deploys import (
    DEFAULT_CHECKS,
    Check,
    DeployRule,
    Deploys,
    Emergency,
    Freeze,
    Skip,
)
from domain.freezes import freeze
from domain.policy import Level, Person

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "toban.example.yaml"
DOCS = (ROOT / "docs" / "deploys.md").read_text()
HEAD = """\
people:
  kenji: {slack: U0KENJI, roles: [lead]}
  aya: {email: aya@shop.example, roles: [lead, dba]}
  dan: {slack: U0DAN}
  mail: {phone: +81-3-0000-0001}
ladders: {warning: [], critical: [], emergency: []}
services:
  api: {project: shop, region: asia-northeast1, match: {service_name: api}}
  sync: {project: shop, region: asia-northeast1, match: {service_name: sync}}
  db: {project: shop, region: asia-northeast1, match: {database_id: "shop:db"}}
  bare: {match: {service_name: bare}}
rules: {zone: Asia/Tokyo, holidays: JP}
deploys:
"""
FIRST = HEAD.count("\n") + 1
"""The line on which what is below ``deploys`` begins."""


def written(tmp_path, text, head=HEAD):
    path = tmp_path / "toban.yaml"
    path.write_text(head + text)
    return path


def deploys(tmp_path, text, head=HEAD):
    return read_policy(written(tmp_path, text, head)).deploys


# What is taken.


def test_without_the_section_nobody_may_approve_and_the_defaults_hold(tmp_path):
    found = deploys(tmp_path, "")
    assert found == Deploys()
    assert found.default.approvers == ()
    assert (found.default.steps, found.default.threshold, found.default.checks) == (
        (10, 100),
        0.01,
        DEFAULT_CHECKS,
    )


def test_the_section_is_read_to_its_last_detail(tmp_path):
    found = deploys(
        tmp_path,
        """\
  approvers: [kenji, "role:dba", dan]
  approvals: 2
  risky-approvals: 2
  self-approval: true
  expires: 30m
  steps: [5, 50, 100]
  bake: 1h
  watch: 24h
  patience: 2h
  hold: never
  threshold: 0.5%
  minimum: 1000
  level: warning
  checks:
    - /health
    - path: /api/v1/health?deep=%2Fdb
      status: 204
      text: ok
      pointer: /checks/0/a~1b
      equals: healthy
  services:
    sync: {steps: 100, bake: 90s, approvals: 1, self-approval: false, checks: []}
    api:
  freezes:
    friday: {cron: "0 17 * * 5", for: 63h, services: [api, sync]}
    year-end: {cron: "0 0 28 12 *", for: 7d}
    holidays: {holidays: true, services: api}
  emergency: {people: [kenji, "role:dba"], skips: [freeze, approval]}
""",
    )
    default = DeployRule(
        approvers=("kenji", "role:dba", "dan"),
        approvals=2,
        risky_approvals=2,
        self_approval=True,
        expires=timedelta(minutes=30),
        steps=(5, 50, 100),
        bake=timedelta(hours=1),
        watch=timedelta(days=1),
        patience=timedelta(hours=2),
        hold=timedelta(0),
        threshold=0.005,
        minimum=1000,
        level=Level.WARNING,
        checks=(
            Check(path="/health"),
            Check(
                path="/api/v1/health?deep=%2Fdb",
                status=204,
                text="ok",
                pointer="/checks/0/a~1b",
                equals="healthy",
            ),
        ),
    )
    assert found.default == default
    assert found.rule("api") == default
    assert found.rule("sync") == default.model_copy(
        update={
            "steps": (100,),
            "bake": timedelta(seconds=90),
            "approvals": 1,
            "self_approval": False,
            "checks": (),
        }
    )
    assert found.freezes == (
        Freeze(name="friday", cron="0 17 * * 5", lasting=timedelta(hours=63), services=("api", "sync")),
        Freeze(name="year-end", cron="0 0 28 12 *", lasting=timedelta(days=7)),
        Freeze(name="holidays", holidays=True, services=("api",)),
    )
    assert found.emergency == Emergency(people=("kenji", "role:dba"), skips=(Skip.FREEZE, Skip.APPROVAL))


@pytest.mark.parametrize(
    ("written_as", "meant"),
    [
        ("healthy", "healthy"),
        ("true", True),
        ("off", False),
        ('"true"', "true"),
        ("3", 3),
        ("-0.5", -0.5),
        ('"3"', "3"),
        ("2026-10-01", "2026-10-01"),
    ],
)
def test_what_a_pointer_has_to_equal_keeps_its_kind(tmp_path, written_as, meant):
    (check,) = deploys(
        tmp_path, f"  checks: [{{path: /, pointer: /a, equals: {written_as}}}]\n"
    ).default.checks
    assert (check.value, type(check.value)) == (meant, type(meant))


def test_one_check_needs_no_list_and_an_empty_list_asks_nothing(tmp_path):
    assert deploys(tmp_path, "  checks: /health\n").default.checks == (Check(path="/health"),)
    found = deploys(tmp_path, '  checks: {path: /version, text: "v2"}\n').default.checks
    assert found == (Check(path="/version", text="v2"),)
    assert deploys(tmp_path, "  checks: []\n").default.checks == ()


def test_risky_deploys_need_as_many_approvals_as_others_where_nothing_is_said(tmp_path):
    text = '  approvers: ["role:lead", dan]\n  self-approval: true\n  approvals: 3\n'
    assert deploys(tmp_path, text).default.risky_approvals == 3
    inherited = '  approvers: ["role:lead", dan]\n  self-approval: true\n  services: {api: {approvals: 3}}\n'
    assert deploys(tmp_path, inherited).rule("api").risky_approvals == 3


def test_a_freeze_that_is_read_holds_when_it_says(tmp_path):
    """Friday, 2 October 2026, 17:00 in Tokyo is 08:00 in UTC; 63 hours later it is Monday, 8:00."""
    policy = read_policy(
        written(tmp_path, '  freezes: {friday: {cron: "0 17 * * 5", for: 63h, services: api}}\n')
    )
    begins = datetime(2026, 10, 2, 8, tzinfo=UTC)
    for at, service, held in (
        (begins - timedelta(minutes=1), "api", False),
        (begins, "api", True),
        (begins, "sync", False),
        (begins + timedelta(hours=62, minutes=59), "api", True),
        (begins + timedelta(hours=63), "api", False),
    ):
        assert (freeze(policy.deploys, policy.rules, service, at) is not None) is held


# What is wrong.

CHECKED = "  checks:\n    - "
CASES = {
    "an unknown key": (
        "  aprovers: [kenji]",
        0,
        'unknown key "aprovers" in deploys; did you mean "approvers"?',
    ),
    "an underscore for a hyphen": ("  risky_approvals: 2", 0, 'did you mean "risky-approvals"?'),
    "a section that is a list": ("  - kenji", 0, "deploys must be a mapping"),
    "an unknown person": (
        "  approvers: [kenji, aia]",
        0,
        'approvers: unknown person "aia"; did you mean "aya"?',
    ),
    "a role of nobody": (
        '  approvers: ["role:leed"]',
        0,
        'nobody has the role "leed"; did you mean "role:lead"?',
    ),
    "a role without its sign": ("  approvers: [lead]", 0, 'did you mean "role:lead"?'),
    "somebody twice": ("  approvers: [kenji, aya, kenji]", 0, '"kenji" stands twice'),
    "somebody who is not in Slack": ("  approvers: [kenji, mail]", 0, "mail cannot press a button in Slack"),
    "no approvals": ("  approvals: 0", 0, '"0" is not a whole number from 1 to 5'),
    "six approvals": ("  risky-approvals: 6", 0, '"6" is not a whole number from 1 to 5'),
    "fewer approvals for what is risky": (
        '  approvers: ["role:lead", dan]\n  approvals: 2\n  risky-approvals: 1',
        2,
        "risky-approvals must not be less than its approvals, 2",
    ),
    "fewer for what is risky in one service": (
        ('  approvers: ["role:lead", dan]\n  approvals: 2\n  services:\n    api: {risky-approvals: 1}'),
        3,
        "deploys.services.api.risky-approvals must not be less than its approvals, 2",
    ),
    "a switch that is text": ("  self-approval: maybe", 0, "self-approval must be true or false"),
    "more approvals than approvers": (
        '  approvers: ["role:lead"]\n  approvals: 3',
        0,
        "no deploy could ever be approved: approvals is 3, but only kenji, aya may approve, and nobody",
    ),
    "an approver alone for what is risky": (
        "  approvers: kenji",
        0,
        "no risky deploy could ever be approved: risky-approvals is 2, but only kenji may approve",
    ),
    "too many approvals for one service": (
        '  approvers: ["role:lead"]\n  services:\n    api:\n      approvals: 3',
        3,
        "deploys.services.api: no deploy could ever be approved: approvals is 3",
    ),
    "an approver alone in one service": (
        '  approvers: ["role:lead"]\n  services:\n    api:\n      approvers: [dan]',
        3,
        "deploys.services.api: no risky deploy could ever be approved",
    ),
    "an approval that is over at once": ("  expires: 30s", 0, "deploys.expires must lie between 1m and 24h"),
    "an approval for days": ("  expires: 25h", 0, "deploys.expires must lie between 1m and 24h"),
    "a short bake": ("  bake: 59s", 0, "deploys.bake must lie between 1m and 1h"),
    "a long bake": ("  bake: 61m", 0, "deploys.bake must lie between 1m and 1h"),
    "a bake without its unit": ("  bake: 5", 0, "Write for example 5s or 5m"),
    "a long watch": ("  watch: 1d1s", 0, "deploys.watch must lie between 1m and 24h"),
    "no patience": ("  patience: 5s", 0, "deploys.patience must lie between 1m and 24h"),
    "a short hold": ("  hold: 5s", 0, "deploys.hold must lie between 1m and 1h"),
    "a hold without a length": ("  hold: soon", 0, '"soon" is not a duration'),
    "steps that fall": ("  steps: [50, 10, 100]", 0, "must rise and end with 100, such as [10, 50, 100]"),
    "steps that end too early": ("  steps: [10, 50]", 0, "must rise and end with 100"),
    "no steps": ("  steps: []", 0, "must rise and end with 100"),
    "a step of nothing": ("  steps: [0, 100]", 0, '"0" is not a whole number from 1 to 100'),
    "a step of more than all": ("  steps: [10, 101]", 0, '"101" is not a whole number from 1 to 100'),
    "a step twice": ("  steps: [10, 10, 100]", 0, '"10" stands twice'),
    "a step twice in two ways": ("  steps: [10, 010, 100]", 0, "must rise and end with 100"),
    "half a percent": ("  steps: [0.5, 100]", 0, '"0.5" is not a whole number'),
    "no failures allowed": ("  threshold: 0%", 0, "must be more than 0% and less than 50%, such as 1%"),
    "half of all failures": ("  threshold: 50%", 0, "must be more than 0% and less than 50%"),
    "a threshold without its sign": ("  threshold: 0.01", 0, "must be more than 0% and less than 50%"),
    "no minimum": ("  minimum: 0", 0, '"0" is not a whole number from 1'),
    "an unknown level": ("  level: loud", 0, 'deploys.level: unknown "loud"'),
    "a path without its slash": (f"{CHECKED}health", 1, '"health" is not a path such as /health'),
    "another host": (f"{CHECKED}https://evil.example/", 1, "is not a path such as /health"),
    "a fragment": (f'{CHECKED}"/health#top"', 1, "is not a path such as /health"),
    "a way out of the path": (f"{CHECKED}/a/%2E%2e/b", 1, "is not a path such as /health"),
    "an escaped slash": (f"{CHECKED}/a%2fb", 1, "is not a path such as /health"),
    "a backslash": (f"{CHECKED}/a\\b", 1, "is not a path such as /health"),
    "a check of nothing": (f"{CHECKED}{{status: 200}}", 1, "deploys.checks 1 has no path"),
    "an unknown key of a check": (
        f"{CHECKED}{{path: /, statsu: 200}}",
        1,
        'unknown key "statsu" in deploys.checks 1; did you mean "status"?',
    ),
    "a status that is none": (f"{CHECKED}{{path: /, status: 99}}", 1, '"99" is not a whole number from 100'),
    "a pointer without its slash": (
        f"{CHECKED}{{path: /, pointer: status, equals: a}}",
        1,
        '"status" is not a JSON pointer such as /status',
    ),
    "a pointer to nothing in particular": (
        f"{CHECKED}{{path: /, pointer: /status}}",
        1,
        "deploys.checks 1 needs both or neither",
    ),
    "a value from nowhere": (f"{CHECKED}{{path: /, equals: a}}", 1, "needs both or neither"),
    "a number that JSON has not": (
        f"{CHECKED}{{path: /, pointer: /a, equals: 0x1F}}",
        1,
        '"0x1F" is not a number as JSON has it',
    ),
    "a value that is a list": (f"{CHECKED}{{path: /, pointer: /a, equals: [1]}}", 1, "must be text"),
    "an unknown service": (
        "  services:\n    apo: {bake: 5m}",
        1,
        'unknown service "apo"; did you mean "api"?',
    ),
    "a database": (
        "  services:\n    db: {bake: 5m}",
        1,
        "db cannot be deployed: its match has no service_name",
    ),
    "a service that is nowhere": (
        "  services:\n    bare: {bake: 5m}",
        1,
        "bare cannot be deployed: services.bare has no project and no region",
    ),
    "an unknown key of a service": ("  services:\n    api: {freezes: {}}", 1, 'unknown key "freezes"'),
    "a freeze of nothing": ("  freezes:\n    a: {}", 1, "deploys.freezes.a needs either `cron"),
    "a freeze at no time": ("  freezes:\n    a: {holidays: false}", 1, "needs either `cron"),
    "a freeze of both kinds": (
        '  freezes:\n    a: {cron: "0 17 * * 5", for: 1h, holidays: true}',
        1,
        "needs either `cron",
    ),
    "a freeze without an end": ('  freezes:\n    a: {cron: "0 17 * * 5"}', 1, "has no `for`"),
    "a holiday with an end": (
        "  freezes:\n    a: {holidays: true, for: 1h}",
        1,
        "deploys.freezes.a.for goes with `cron`",
    ),
    "a freeze on Fridays": (
        "  freezes:\n    a: {cron: on fridays, for: 1h}",
        1,
        '"on fridays" is not a crontab line',
    ),
    "a freeze that never comes": ('  freezes:\n    a: {cron: "0 0 30 2 *", for: 1h}', 1, "is not a crontab"),
    "a freeze of a stranger": (
        '  freezes:\n    a: {cron: "0 17 * * 5", for: 1h, services: [api, snyc]}',
        1,
        'unknown service "snyc"; did you mean "sync"?',
    ),
    "a freeze of a database": (
        '  freezes:\n    a: {cron: "0 17 * * 5", for: 1h, services: db}',
        1,
        "db cannot be deployed",
    ),
    "a freeze of no service": (
        '  freezes:\n    a: {cron: "0 17 * * 5", for: 1h, services: []}',
        1,
        "services is empty. Leave it out: then all are frozen",
    ),
    "a name that cannot be one": (
        '  freezes:\n    "a b": {cron: "0 17 * * 5", for: 1h}',
        1,
        '"a b" is not a name',
    ),
    "an emergency of a stranger": ("  emergency: {people: [ken]}", 0, 'unknown person "ken"; did you mean'),
    "an emergency of nobody": ("  emergency: {skips: [lock]}", 0, "deploys.emergency has no people"),
    "an emergency past anything": (
        "  emergency: {people: kenji, skips: [lock, everything]}",
        0,
        'unknown "everything". Allowed: freeze, lock, incident, approval',
    ),
    "an emergency past nothing": (
        "  emergency: {people: kenji, skips: []}",
        0,
        "skips is empty. Allowed: freeze",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_mistake_is_one_problem_with_its_line(tmp_path, case):
    text, line, message = CASES[case]
    with pytest.raises(BadPolicy) as raised:
        deploys(tmp_path, f"{text}\n")
    (problem,) = raised.value.problems
    assert (problem.line, message in problem.message) == (FIRST + line, True), problem


def test_holidays_need_a_country(tmp_path):
    head = HEAD.replace(", holidays: JP", "")
    with pytest.raises(
        BadPolicy, match=r"deploys\.freezes\.a: name the country in rules\.holidays, such as JP"
    ):
        deploys(tmp_path, "  freezes: {a: {holidays: true}}\n", head)


def test_a_team_of_one_cannot_approve_its_own_deploys_unless_it_says_so(tmp_path):
    head = re.sub(r"  (aya|dan|mail): .*\n", "", HEAD)
    with pytest.raises(
        BadPolicy, match="no deploy could ever be approved: approvals is 1, but only kenji may"
    ):
        deploys(tmp_path, "  approvers: kenji\n  risky-approvals: 1\n", head)
    text = "  approvers: kenji\n  risky-approvals: 1\n  self-approval: true\n"
    assert deploys(tmp_path, text, head).default.self_approval


# Whose deploys could never be approved.

KENJI, AYA, DAN = (
    Person(name="kenji", slack=("U0KENJI",), roles=("lead",)),
    Person(name="aya", slack=("U0AYA",), roles=("lead",)),
    Person(name="dan", slack=("U0DAN",)),
)


@pytest.mark.parametrize(
    ("approvers", "own", "needed", "expected"),
    [
        (("kenji",), False, 1, ("kenji",)),
        (("kenji",), True, 1, ()),
        (("role:lead",), False, 1, ()),
        (("role:lead", "kenji"), False, 2, ("kenji", "aya")),
        (("role:lead", "dan"), False, 2, ()),
        (("kenji",), True, 2, ("kenji", "aya", "dan")),
        ((), True, 1, ("kenji", "aya", "dan")),
    ],
)
def test_stuck_is_who_has_too_few_others(approvers, own, needed, expected):
    rule = DeployRule(approvers=approvers, self_approval=own)
    assert stuck(rule, needed, (KENJI, AYA, DAN)) == expected


# What ``toban check`` says.


def lines(policy):
    (section,) = [one for one in describe(policy, None) if one.title.startswith("Deploys")]
    return "\n".join(re.sub(r"  +", "  ", line) for line in section.lines)


def doubts(policy):
    return [one for one in warnings(policy, None) if "ladders." not in one and "cannot be judged" not in one]


def test_check_says_that_deploys_are_off_where_nobody_may_approve(tmp_path):
    policy = read_policy(written(tmp_path, ""))
    assert lines(policy) == "/deploy is off: deploys.approvers is nobody"
    assert doubts(policy) == []


def test_check_tells_how_each_service_is_deployed(tmp_path):
    policy = read_policy(
        written(
            tmp_path,
            """\
  approvers: [kenji, "role:lead", dan]
  services:
    sync: {steps: [25, 50, 100], bake: 12m, checks: [], approvals: 2, self-approval: true, threshold: 0.5%}
  freezes:
    friday: {cron: "0 17 * * 5", for: 63h, services: [api]}
    holidays: {holidays: true}
  emergency: {people: [kenji], skips: approval}
""",
        )
    )
    assert (
        lines(policy)
        == """\
api
  approved by  1 of kenji, role:lead, dan (not their own), within 15 min
  where risky  2 of them
  images from  everywhere; two approve where that is elsewhere than what serves
  asked first  /health, /api/v1/health
  traffic  10 % for 5 min, 100 % for 15 min
  promoted  from 250 requests on
  taken back  where more than 1 % fail (critical), or nobody answers for 1 h
  alerts meanwhile  page after 10 min
sync
  approved by  2 of kenji, role:lead, dan (their own too), within 15 min
  where risky  2 of them
  images from  everywhere; two approve where that is elsewhere than what serves
  asked first  nothing
  traffic  25 % for 12 min, 50 % for 12 min, 100 % for 15 min
  promoted  from 250 requests on
  taken back  where more than 0.5 % fail (critical), or nobody answers for 1 h
  alerts meanwhile  page after 10 min
bare
  off  services.bare has no project and no region
frozen: friday  crontab 0 17 * * 5 for 2 d 15 h, api
frozen: holidays  the holidays of JP, all services
emergency  kenji, past approval"""
    )
    assert doubts(policy) == []


def test_check_warns_of_people_whose_own_deploys_nobody_could_approve(tmp_path):
    text = '  approvers: ["role:lead"]\n  services: {sync: {approvers: [kenji], risky-approvals: 1}}\n'
    policy = read_policy(written(tmp_path, text))
    assert doubts(policy) == [
        (
            "risky deploys of api that kenji or aya asks for could never be approved: 2 others have to"
            " approve them. Name more approvers, or set self-approval."
        ),
        (
            "deploys of sync that kenji asks for could never be approved: 1 other has to approve them. Name"
            " more approvers, or set self-approval."
        ),
    ]


def test_check_warns_of_a_section_in_which_nobody_may_approve(tmp_path):
    text = "  bake: 10m\n"
    policy = read_policy(written(tmp_path, text))
    assert doubts(policy) == ["/deploy is off for api, sync: its approvers are nobody."]
    text = '  approvers: ["role:lead", dan]\n  services: {sync: {approvers: []}}\n'
    policy = read_policy(written(tmp_path, text))
    assert doubts(policy) == ["/deploy is off for sync: its approvers are nobody."]
    assert "sync\n  off  its approvers are nobody\n" in lines(policy)


@pytest.mark.parametrize(
    ("cron", "length", "is_endless"),
    [
        ("0 17 * * 5", "167h", False),
        ("0 17 * * 5", "7d", True),
        ("0 0 * * *", "1d", True),
        ("0 0 1 * *", "30d", False),
        ("0 0 1 * *", "31d", True),
        ("* * * * *", "1h", True),
        ("0 0 29 2 *", "90d", False),
    ],
)
def test_check_warns_of_a_freeze_that_never_ends(tmp_path, cron, length, is_endless):
    policy = read_policy(
        written(
            tmp_path,
            f'  approvers: ["role:lead", dan]\n  freezes: {{a: {{cron: "{cron}", for: {length}}}}}\n',
        )
    )
    expected = "deploys.freezes.a never ends: each window begins before the last is over."
    assert doubts(policy) == ([expected] if is_endless else [])


# The example and the documentation.


IMAGES_WRONG = (
    ("[]", "is empty"),
    ("gcr.io", "is not a host with a project"),
    ("gcr.io/mine/api:v1", "is not a host with a project"),
    ("https://gcr.io/mine", "is not a host with a project"),
    ('"*/mine"', "is not a host with a project"),
    ("[gcr.io/mine, gcr.io/mine]", "stands twice"),
    ("[gcr.io/mine, GCR.io/other]", "is not a host with a project"),
)


@pytest.mark.parametrize(("said", "problem"), IMAGES_WRONG)
def test_a_list_of_images_is_read_strictly_with_its_line_13_5(
    tmp_path: Path, said: str, problem: str
) -> None:
    with pytest.raises(BadPolicy) as caught:
        read_policy(written(tmp_path, f"  approvers: [kenji, aya, dan]\n  images: {said}\n"))
    assert problem in str(caught.value)
    assert re.search(r"line \d+|:\d+", str(caught.value))


def test_a_list_of_images_holds_for_all_and_a_services_own_replaces_it_13_5(tmp_path: Path) -> None:
    policy = read_policy(
        written(
            tmp_path,
            """\
  approvers: [kenji, "role:lead", dan]
  images: [gcr.io/mine, "*-docker.pkg.dev/mine/app"]
  services:
    sync: {images: gcr.io/sync}
""",
        )
    )
    assert policy.deploys.rule("api").images == ("gcr.io/mine", "*-docker.pkg.dev/mine/app")
    assert policy.deploys.rule("sync").images == ("gcr.io/sync",)


def test_the_example_lets_everybody_deploy_what_is_risky_too():
    policy = read_policy(EXAMPLE)
    rule = policy.deploys.rule("bondpoint-api")
    assert stuck(rule, rule.risky_approvals, policy.people.values()) == ()
    assert doubts(policy) == []
    assert policy.deploys.rule("bondpoint-sync").steps == (25, 100)
    assert policy.deploys.freezes[1].holidays


def test_the_example_writes_every_key_and_the_defaults_that_it_names():
    written_keys = yaml.safe_load(EXAMPLE.read_text())["deploys"]
    assert tuple(sorted(written_keys)) == tuple(sorted(KEYS))
    mine = read_policy(EXAMPLE).deploys.default
    assert mine.model_copy(update={"approvers": (), "images": ()}) == DeployRule()


def test_every_key_is_documented_and_every_documented_one_exists():
    section = DOCS.partition("## The policy's `deploys`")[2].partition("###")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == set(KEYS)
    assert set(RULE) < set(KEYS)


def test_the_documented_policy_is_sound(tmp_path):
    text = next(
        one for one in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL) if one.startswith("deploys:")
    )
    whole = EXAMPLE.read_text()
    path = tmp_path / "toban.yaml"
    path.write_text(whole[: whole.index("\ndeploys:\n")] + "\n" + text)
    found = read_policy(path)
    assert found.deploys.default.steps == (10, 50, 100)
    assert doubts(found) == []


def test_the_documented_role_and_its_explanation_name_the_same_permissions():
    role = next(
        yaml.safe_load(one)
        for one in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
        if one.startswith("title:")
    )
    named = set(re.findall(r"`((?:run|iam|monitoring|artifactregistry)\.\w+\.\w+)`", DOCS))
    assert named == {*role["includedPermissions"], "iam.serviceAccounts.actAs"}
    assert len(role["includedPermissions"]) == len(set(role["includedPermissions"]))
