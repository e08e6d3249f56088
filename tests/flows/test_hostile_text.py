"""Text that is empty without looking so, or that no database can keep: always answered, never a rollback."""

import pytest

from domain.deploys import Emergency
from domain.policy import Policy
from tests.flows.test_deploys import GOOD, deploying, split, world_of
from tests.payloads import alertmanager, monitoring

NOTHING = (
    '""',
    "''",
    "“”",
    "‘’",
    "„“",
    "«»",
    "「」",
    "『』",
    "``",
    "`\u200b`",
    '" "',
    '"\u00a0"',
    '"\u3000"',
    '"\u200b"',
    '"\u2060\ufeff"',
    '"\u3164"',
    '"\u00ad"',
    '"\U000e0020"',
    "\u200b",
    "\u2800",
    "\u202e\u202c",
    '"\0"',
    "\0",
    '""""',
    '"" ""',
    "--dry-run",
    "--steps 10,100",
    "--bake 5m",
    "--emergency",
    '--emergency ""',
    "—",
    "--",
    "-",
    "...",
    "🚀",
)


def _policy() -> Policy:
    made = deploying()
    loud = Emergency(people=("mika",))
    return made.model_copy(update={"deploys": made.deploys.model_copy(update={"emergency": loud})})


async def test_an_image_that_is_nothing_is_never_a_rollback_13_7(sqlite_only: str) -> None:
    async with world_of(sqlite_only, _policy()) as stage:
        for nothing in NOTHING:
            before = len(stage.told("mika"))
            delivery = await stage.type("mika", "#general", f"/deploy bondpoint-api {nothing}")
            await stage.advance(seconds=3)
            assert stage.channel("#deploys") == [], nothing
            said = stage.told("mika")[before:]
            assert said, (nothing, delivery)
            assert "/deploy" in said[-1], (nothing, said)


async def test_a_revision_that_is_nothing_is_never_the_one_before_13_7(sqlite_only: str) -> None:
    async with world_of(sqlite_only, _policy()) as stage:
        for nothing in NOTHING:
            if nothing == "\0" or nothing.startswith("--emergency"):  # A rollback is what was typed.
                continue
            before = len(stage.told("mika"))
            await stage.type("mika", "#general", f"/deploy rollback bondpoint-api {nothing}")
            await stage.advance(seconds=3)
            assert stage.channel("#deploys") == [], nothing
            assert stage.told("mika")[before:], nothing


async def test_a_form_whose_image_is_nothing_is_never_a_rollback_13_7(sqlite_only: str) -> None:
    async with world_of(sqlite_only, _policy()) as stage:
        await stage.type("mika", "#general", "/deploy")
        for nothing in (" ", "\u200b", '""', "「」", "\u3164"):
            delivery = await stage.submit("mika", {"service": "bondpoint-api", "image": nothing})
            assert delivery.errors, nothing
            assert stage.channel("#deploys") == [], nothing


REVISIONS = (
    "bondpoint-api-" + "x" * 50,
    "bondpoint-api-" + "x" * 67,
    "bondpoint-api-" + "x" * 3_000,
    "bondpoint-api-00001\0abc",
    "bondpoint-api-\x1b[31m",
    "リビジョン" * 40,
    "bondpoint-api-00001-abc/../../other",
    "../../../projects/other/locations/x/services/y/revisions/z",
)


@pytest.mark.parametrize("name", REVISIONS, ids=range(len(REVISIONS)))
async def test_a_rollback_to_any_name_is_answered_on_both_databases_13_7(
    database_url: str, name: str
) -> None:
    async with world_of(database_url, _policy()) as stage:
        before = split(stage)
        await stage.type("mika", "#general", f'/deploy rollback bondpoint-api "{name}"')
        await stage.advance(minutes=1)
        said = [*stage.told("mika"), *(message.plain for message in stage.channel("#deploys"))]
        assert said
        assert stage.channel("#ops") == [], "nothing was put aside"
        assert split(stage) == before


HOSTILE = ("a\0b", "a\x07\x1b[2Jb", "a\x85\x9f", "a" * 2_999 + "\0", "\ufffe\uffff")


def _typed_with(text: str) -> tuple[str, ...]:
    return (
        f"/incident declare P3 disk {text} full",
        f"/incident declare {text}",
        f"/incident ack {text}",
        f"/incident show {text}",
        f"/incident resolve {text}",
        f"/incident {text}",
        f"/deploy {text}",
        f"/deploy {text} {text}",
        f"/deploy lock bondpoint-api {text} reason",
        f"/deploy unlock bondpoint-api {text}",
        f"/deploy unlock {text}",
        f"/deploy bondpoint-api {GOOD}{text}",
        f"/deploy bondpoint-api {GOOD} --emergency so {text} bad",
        f"/deploy pause {text}",
        f"/deploy history {text}",
        f"/toban backup run {text}",
        f"/toban anomalies mute {text} 1h",
        f"/toban capacity {text}",
        f"/toban {text}",
    )


async def test_whatever_is_typed_is_answered_and_nothing_is_put_aside_13_7(database_url: str) -> None:
    async with world_of(database_url, _policy()) as stage:
        commands = [command for text in HOSTILE for command in _typed_with(text)]
        for command in commands:
            before = len(stage.told("mika")) + len(stage.slack.open_views("mika"))
            await stage.type("mika", "#general", command)
            await stage.advance(seconds=2)
            after = len(stage.told("mika")) + len(stage.slack.open_views("mika"))
            assert after > before, ascii(command)
            assert "went wrong" not in stage.told("mika")[-1], ascii(command)
            if GOOD in command:
                await stage.type("mika", "#general", "/deploy abort")
                await stage.advance(seconds=2)
        assert stage.channel("#ops") == [], "nothing was put aside"
        assert len(stage.channel("#incidents")) >= len(HOSTILE)


async def test_a_forms_controls_do_no_harm_13_7(database_url: str) -> None:
    async with world_of(database_url, _policy()) as stage:
        await stage.type("mika", "#general", "/incident declare")
        title = "disk\0 is \x1b[31mfull\u0085"
        assert (await stage.submit("mika", {"title": title, "severity": "P3"})).ok
        await stage.advance(seconds=5)
        assert "disk is [31mfull" in stage.card("#incidents").plain
        assert stage.channel("#ops") == []


async def test_what_machines_send_is_kept_whatever_it_holds_13_7(database_url: str) -> None:
    async with world_of(database_url, _policy()) as stage:
        for number, text in enumerate(("a\0b", "a\x07b", "x" * 5_000, "\0" * 400, "\ufffe")):
            for sender, payload in (
                ("alertmanager", alertmanager(text, str(number))),
                ("cloud-monitoring", monitoring(f"in-{number}{text}", policy=text, summary=text)),
            ):
                assert await stage.webhook(sender, payload) == 200, ascii(text[:9])
        await stage.advance(seconds=30)
        assert stage.channel("#ops") == [], "nothing was put aside"
        assert len(stage.channel("#alerts")) >= 5
