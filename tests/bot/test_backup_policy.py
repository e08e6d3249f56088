"""The policy's section ``backups``: what it says is taken, what is wrong is told with its line."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.policy import BadPolicy, read_policy
from domain.backup_plans import BackupPlan, Part, Range, Source
from domain.levels import Level
from domain.questions import Question
from domain.retention import Retention
from domain.schedule import Cron

TEAM = """\
people:
  kenji: {email: kenji@bondpoint.example, zone: Asia/Tokyo, roles: [lead]}
  aya: {email: aya@bondpoint.example, zone: Asia/Tokyo}
ladders: {warning: [], critical: [], emergency: []}
services:
  api: {project: bondpoint-prod, region: asia-northeast1, match: {service_name: api}}
backups:
"""
LINES = TEAM.count("\n")

FULL = """\
  production:
    at: "0 3 * * *"
    to: gs://bondpoint-backups/prod/
    copies: [toban, secrets, {cloud-sql: db}, {firestore: (default)}, {bucket: images/users}]
    expected: 2h
    keep: {daily: 3, weekly: 2, monthly: 1, verified: 5, within: 72h}
    deletes: true
    sizes: {low: 80%, high: 120%}
    level: warning
    drill:
      at: "0 10 1 * *"
      scratch: {cloud-sql: scratch-1/db, firestore: scratch-1/docs, bucket: gs://scratch/x}
      approvers: [role:lead, aya]
      self-approval: true
      expected: 30m
      questions:
        - {copy: toban, ask: SELECT 1}
        - {copy: cloud-sql-db, ask: SELECT max(at) FROM log, within: 26h}
        - {copy: firestore-default, ask: users, least: 100}
"""


def plans(folder: Path, text: str) -> tuple[BackupPlan, ...]:
    path = folder / "toban.yaml"
    path.write_text(TEAM + text)
    return read_policy(path).backups.plans


def plan(**changes: str) -> str:
    """A plan in three lines, with others in their place or beside them."""
    given = {"at": '"0 3 * * *"', "to": "/var/backups/toban", "copies": "[toban]"} | changes
    return "  nightly:\n" + "".join(f"    {key}: {value}\n" for key, value in given.items() if value)


def test_everything_that_can_be_said_is_taken(tmp_path: Path) -> None:
    (found,) = plans(tmp_path, FULL)
    assert found.schedule == Cron(line="0 3 * * *", zone="Asia/Tokyo")
    assert found.destination == "gs://bondpoint-backups/prod"
    project = "bondpoint-prod"
    assert found.parts == (
        Part(name="toban", source=Source.TOBAN, project=project),
        Part(name="secrets", source=Source.SECRETS, project=project),
        Part(name="cloud-sql-db", source=Source.CLOUD_SQL, of="db", project=project),
        Part(name="firestore-default", source=Source.FIRESTORE, of="(default)", project=project),
        Part(name="bucket-images-users", source=Source.BUCKET, of="images/users", project=project),
    )
    assert found.expected == timedelta(hours=2)
    assert found.keep == Retention(daily=3, weekly=2, monthly=1, verified=5, within=timedelta(hours=72))
    assert found.deletes
    assert found.sizes == Range(low=0.8, high=1.2)
    assert found.level is Level.WARNING
    drill = found.drill
    assert drill is not None
    assert drill.schedule == Cron(line="0 10 1 * *", zone="Asia/Tokyo")
    assert dict(drill.scratch) == {
        Source.CLOUD_SQL: "scratch-1/db",
        Source.FIRESTORE: "scratch-1/docs",
        Source.BUCKET: "gs://scratch/x",
    }
    assert (drill.approvers, drill.self_approval) == (("role:lead", "aya"), True)
    assert drill.expected == timedelta(minutes=30)
    assert drill.questions == (
        Question(part="toban", ask="SELECT 1"),
        Question(part="cloud-sql-db", ask="SELECT max(at) FROM log", within=timedelta(hours=26)),
        Question(part="firestore-default", ask="users", least=100),
    )


def test_three_lines_are_enough(tmp_path: Path) -> None:
    (found,) = plans(tmp_path, plan())
    assert (found.keep, found.deletes, found.level, found.drill) == (Retention(), False, Level.CRITICAL, None)
    assert found.expected == timedelta(hours=1)


DRILL = "{scratch: {%s}}"
CASES: dict[str, tuple[str, int, str]] = {
    "no at": (plan(at=""), 1, "backups.nightly has no `at`"),
    "no to": (plan(to=""), 1, "backups.nightly has no `to`"),
    "no copies": (plan(copies=""), 1, "backups.nightly has no `copies`"),
    "no crontab": (plan(at="daily"), 2, "is not a crontab line"),
    "a relative folder": (plan(to="backups"), 3, "neither a folder by its absolute path"),
    "the root": (plan(to="/"), 3, "neither a folder"),
    "a folder above": (plan(to="/var/../etc"), 3, "neither a folder"),
    "no bucket": (plan(to="gs://"), 3, "is not a bucket with a prefix"),
    "a bucket's query": (plan(to="gs://backups/x?y"), 3, "is not a bucket with a prefix"),
    "an unknown key": (plan(too="/x"), 5, 'unknown key "too" in backups.nightly; did you mean'),
    "an unknown copy": (plan(copies="[tobann]"), 4, 'unknown "tobann"; did you mean'),
    "a copy twice": (plan(copies="[toban, {secrets: x}, toban]"), 4, "stands"),
    "an instance twice": (plan(copies="[{cloud-sql: db}, {cloud-sql: db}]"), 4, "cloud-sql-db stands twice"),
    "no copies at all": (plan(copies="[]"), 4, "is empty: nothing would be copied"),
    "which instance": (plan(copies="[cloud-sql]"), 4, "say which one"),
    "no instance": (plan(copies="[{cloud-sql: DB!}]"), 4, "is not an instance"),
    "no database": (plan(copies="[{firestore: default!}]", to="gs://backups"), 4, 'is not "(default)"'),
    "no bucket's name": (plan(copies="[{bucket: A}]", to="gs://backups"), 4, "is not a bucket"),
    "secrets of a name": (plan(copies="[{secrets: x}]"), 4, "stands alone"),
    "two in one item": (plan(copies="[{cloud-sql: a, firestore: b}]"), 4, "write one thing in each item"),
    "an export into a folder": (plan(copies="[{firestore: (default)}]"), 4, "`to` must be gs://"),
    "a bucket into a folder": (plan(copies="[{bucket: images}]"), 4, "`to` must be gs://"),
    "too short": (plan(expected="1m"), 5, "must lie between 5m and 24h"),
    "nothing kept": (plan(keep="{daily: 0, weekly: 0, monthly: 0}"), 5, "keeps no day, week or month"),
    "an empty keep": (plan(keep="{}"), 5, "is empty"),
    "no minimum": (plan(keep="{verified: 0}"), 5, "from 1 to 1000"),
    "a size without its unit": (plan(sizes="{low: 50}"), 5, "must be less than 100%"),
    "a size that is always too small": (plan(sizes="{high: 90%}"), 5, "must be more than 100%"),
    "an unknown level": (plan(level="loud"), 5, 'unknown "loud"'),
    "a drill of nobody": (plan(drill="{approvers: [role:boss]}"), 5, 'nobody has the role "boss"'),
    "a drill's crontab": (plan(drill="{at: monthly}"), 5, "is not a crontab line"),
    "21_12 a drill of nothing": (
        plan(copies="[secrets]", drill="{expected: 30m}"),
        5,
        "secrets can be restored nowhere, so a drill proves nothing",
    ),
    "a scratch for secrets": (plan(drill=DRILL % "secrets: x"), 5, "restored nowhere"),
    "a scratch without a project": (plan(drill=DRILL % "cloud-sql: restored"), 5, "is not project/instance"),
    "a scratch in the real project": (
        plan(copies="[{cloud-sql: db}]", drill=DRILL % "cloud-sql: bondpoint-prod/x"),
        5,
        "is what is copied, or in its project",
    ),
    "a scratch in the real bucket": (
        plan(copies="[{bucket: images}]", to="gs://backups", drill=DRILL % "bucket: gs://images/x"),
        5,
        "is what is copied, or in its project",
    ),
    "two instances and one scratch": (
        plan(copies="[{cloud-sql: a}, {cloud-sql: b}]", drill=DRILL % "cloud-sql: scratch/x"),
        5,
        "need a scratch place each",
    ),
    "a question without its copy": (plan(drill="{questions: [{ask: SELECT 1}]}"), 5, "has no `copy`"),
    "a question without words": (plan(drill="{questions: [{copy: toban}]}"), 5, "has no `ask`"),
    "a question to somebody else": (
        plan(drill="{questions: [{copy: db, ask: SELECT 1}]}"),
        5,
        '"db" is none of the copies: toban',
    ),
    "a question with two measures": (
        plan(drill="{questions: [{copy: toban, ask: SELECT 1, least: 1, within: 1h}]}"),
        5,
        "has both `least` and `within`",
    ),
    "a number with a unit": (
        plan(drill="{questions: [{copy: toban, ask: SELECT 1, least: 5%}]}"),
        5,
        "is a plain number",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_told_with_its_line_and_the_way_out(tmp_path: Path, case: str) -> None:
    text, line, words = CASES[case]
    path = tmp_path / "toban.yaml"
    path.write_text(TEAM + text)
    with pytest.raises(BadPolicy) as raised:
        read_policy(path)
    told = [(problem.line - LINES, problem.message) for problem in raised.value.problems]
    assert any(at == line and words in message for at, message in told), told


def test_whose_it_is_has_to_be_known(tmp_path: Path) -> None:
    other = "  web: {project: bondpoint-web, region: asia-northeast1, match: {service_name: web}}\n"
    path = tmp_path / "toban.yaml"
    split = TEAM.index("backups:")
    path.write_text(TEAM[:split] + other + TEAM[split:] + plan(copies="[{cloud-sql: db}]"))
    with pytest.raises(BadPolicy, match="Write `project:` into the plan"):
        read_policy(path)
    path.write_text(
        TEAM[:split] + other + TEAM[split:] + plan(copies="[{cloud-sql: db}]", project="bondpoint-web")
    )
    (found,) = read_policy(path).backups.plans
    assert found.parts[0].project == "bondpoint-web"


def test_the_example_keeps_the_whole_team(tmp_path: Path) -> None:
    example: Any = read_policy(Path(__file__).parents[2] / "toban.example.yaml")
    sources = {part.source for found in example.backups.plans for part in found.parts}
    assert sources == set(Source)


@pytest.mark.parametrize(
    "second",
    [
        "/var/backups/toban",
        "/var/backups/toban/",
        "/var/backups/toban/nightly",
        "/var/backups",
    ],
)
def test_21_4_two_plans_with_one_place_are_refused(tmp_path: Path, second: str) -> None:
    """Each could take the other's copies for its own."""
    other = plan(to=second).replace("nightly:", "hourly:")
    with pytest.raises(BadPolicy) as bad:
        plans(tmp_path, plan() + other)
    (problem,) = bad.value.problems
    assert "is where backups.nightly keeps its copies" in problem.message
    assert problem.line == LINES + plan().count("\n") + 3


def test_21_4_plans_beside_each_other_are_taken(tmp_path: Path) -> None:
    other = plan(to="/var/backups/toban-hourly").replace("nightly:", "hourly:")
    assert len(plans(tmp_path, plan() + other)) == 2


def test_21_4_a_former_name_is_of_one_plan_alone(tmp_path: Path) -> None:
    (found,) = plans(tmp_path, plan(formerly="[daily, every-night]"))
    assert found.names == ("nightly", "daily", "every-night")
    (found,) = plans(tmp_path, plan(formerly="daily"))
    assert found.formerly == ("daily",)
    other = plan(to="/elsewhere", formerly="daily").replace("nightly:", "hourly:")
    with pytest.raises(BadPolicy, match=r"former name of backups\.nightly already"):
        plans(tmp_path, plan(formerly="daily") + other)
    with pytest.raises(BadPolicy, match='"nightly" is the name of a plan'):
        plans(tmp_path, plan() + plan(to="/elsewhere", formerly="nightly").replace("nightly:", "hourly:", 1))


def test_21_14_a_second_destination_is_a_plan_like_the_first(tmp_path: Path) -> None:
    given = {"also": "gs://bondpoint-backups/toban/", "formerly": "[daily]", "encrypt": "true"}
    first, second = plans(tmp_path, plan(**given, deletes="true", drill="{expected: 30m}"))
    assert (first.name, first.second_of) == ("nightly", "")
    assert (second.name, second.second_of) == ("nightly-also", "nightly")
    assert second.destination == "gs://bondpoint-backups/toban"
    assert second.names == ("nightly-also", "daily-also")
    assert [part.second_of for part in second.parts] == ["nightly"]
    same = {"name", "formerly", "destination", "parts"}
    assert second.model_dump(exclude=same) == first.model_dump(exclude=same)
    assert (first.encrypts, second.encrypts) == (True, True)


OTHER = {"to": "/elsewhere", "also": ""}
SECOND_CASES: dict[str, tuple[str, int, str]] = {
    "the same place": (
        plan(also="/var/backups/toban/"),
        5,
        "backups.nightly.also: /var/backups/toban is where",
    ),
    "one within the other": (plan(also="/var/backups/toban/more"), 5, "is where backups.nightly keeps"),
    "one around the other": (plan(also="/var/backups"), 5, "is where backups.nightly keeps"),
    "the same bucket": (
        plan(to="gs://backups/x", also="gs://backups/x"),
        5,
        "is where backups.nightly keeps",
    ),
    "no place": (plan(also="backups"), 5, "neither a folder by its absolute path"),
    "another plan's place": (
        plan(also="/mnt/other") + plan(to="/mnt/other/x").replace("nightly:", "hourly:"),
        8,
        "backups.hourly.to: /mnt/other/x is where backups.nightly-also keeps its copies (/mnt/other)",
    ),
    "an instance": (
        plan(copies="[toban, {cloud-sql: db}]", also="/mnt/other"),
        5,
        "cloud-sql has no second destination, since the instance itself keeps its backups",
    ),
    "an export": (
        plan(copies="[{firestore: (default)}]", to="gs://backups", also="gs://others"),
        5,
        "firestore has no second destination, since Google exports it into `to`",
    ),
    "a bucket": (
        plan(copies="[{bucket: images}]", to="gs://backups", also="gs://others"),
        5,
        "bucket has no second",
    ),
    "secrets": (plan(copies="[secrets]", also="/mnt/other"), 5, "secrets has no second destination"),
    "a plan of its name": (
        plan(also="/mnt/other") + plan(**OTHER).replace("nightly:", "nightly-also:"),
        5,
        'its copies are those of the plan "nightly-also", and that name is taken',
    ),
    "a former name of its name": (
        plan(also="/mnt/other") + plan(**OTHER, formerly="nightly-also").replace("nightly:", "hourly:", 1),
        10,
        'backups.hourly.formerly: "nightly-also" is the name of a plan',
    ),
    "a name that grows too long": (plan(also="/mnt/other").replace("nightly", "n" * 60), 5, "is too long"),
}


@pytest.mark.parametrize("case", SECOND_CASES)
def test_21_14_a_second_destination_that_cannot_be_is_refused_with_its_line(
    tmp_path: Path, case: str
) -> None:
    text, line, words = SECOND_CASES[case]
    with pytest.raises(BadPolicy) as raised:
        plans(tmp_path, text)
    told = [(problem.line - LINES, problem.message) for problem in raised.value.problems]
    assert any(at == line and words in message for at, message in told), told


def test_21_14_a_plan_keeps_a_former_name_that_is_like_a_second_destinations(tmp_path: Path) -> None:
    """A plan that was called daily, and another one that is called daily-also: its copies stay its own."""
    other = plan(to="/elsewhere").replace("nightly:", "daily-also:")
    found = {one.name: one.formerly for one in plans(tmp_path, plan(also="/mnt/x", formerly="daily") + other)}
    assert found == {"nightly": ("daily",), "nightly-also": (), "daily-also": ()}
