"""Documentation that cannot rot: whatever exists is named in the docs, and whatever is named exists."""

import re
from pathlib import Path

import pytest

from bot.__main__ import app
from bot.manifest import COMMANDS, SCOPES, manifest
from bot.settings import Settings
from handlers.commands import DEPLOY, INCIDENT, TOBAN, Command
from handlers.webhooks import SENDERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
RUNNING = (ROOT / "docs" / "running.md").read_text()


def test_every_setting_is_documented_and_every_documented_one_exists():
    documented = set(re.findall(r"`((?:TOBAN|SLACK)_[A-Z_]+)`", SETTINGS))
    assert documented == set(Settings.names())


def test_every_command_is_documented():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    names |= {group.typer_instance.info.name for group in app.registered_groups}
    assert names == set(re.findall(r"^\| `toban ([a-z-]+)`", RUNNING, re.MULTILINE))


def test_every_webhook_route_is_documented():
    for sender in SENDERS.values():
        assert sender.route in RUNNING
        assert sender.route in README


def test_every_metric_is_documented_and_every_documented_one_exists():
    from prometheus_client import REGISTRY

    import operations.counters  # noqa: F401

    ours = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("toban_")}
    documented = set(re.findall(r"`(toban_[a-z_]+)`", RUNNING))
    assert {name.removesuffix("_total") for name in documented} == ours


def test_metric_labels_are_of_closed_sets():
    from prometheus_client import REGISTRY

    import operations.counters  # noqa: F401

    allowed = {"kind", "code", "reason", "severity", "by", "means", "status", "outcome", "job"}
    allowed |= {"stage", "purpose", "standing", "plan"}  # Plans are those of the policy.
    allowed |= {"name"}  # Of problems: they are named in the code.
    allowed |= {"table"}  # Those of the schema.
    for collector in list(REGISTRY._collector_to_names):
        names = getattr(collector, "_labelnames", ())
        if str(getattr(collector, "_name", "")).startswith("toban_"):
            assert set(names) <= allowed


@pytest.mark.parametrize("command", [INCIDENT, DEPLOY, TOBAN], ids=lambda command: command.name)
def test_every_verb_is_documented_in_the_readme_and_in_the_help(command: Command):
    from notify.texts import LOCALES, catalogue

    for verb in filter(None, (verb.partition(" ")[0] for verb in command.verbs)):
        assert f"`{verb}" in README
        for locale in LOCALES:
            assert f"{command.name} {verb}" in catalogue(locale)[f"help.{command.name[1:]}"]


def test_every_recurring_job_is_documented():
    for name in re.findall(r'Work\("([a-z]+)"', (ROOT / "jobs" / "__init__.py").read_text()):
        assert f"`{name}`" in RUNNING


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_manifest_asks_for_the_scopes_of_the_methods_that_are_called_and_no_more():
    called = set()
    for path in (ROOT / "notify").rglob("*.py"):
        called |= set(re.findall(r"\.web\.([a-zA-Z_]+)", path.read_text()))
    for path in (ROOT / "handlers").rglob("*.py"):
        called |= set(re.findall(r"\.web\.([a-zA-Z_]+)", path.read_text()))
    called -= {"token", "async_client"}
    named = {method.replace(".", "_") for method in SCOPES} - {"apps_connections_open"}
    assert called == named
    scopes = set(manifest(None)["oauth_config"]["scopes"]["bot"])
    assert scopes == {"commands"} | {scope for needed in SCOPES.values() for scope in needed}


def test_the_manifest_keeps_slacks_limits():
    for url in (None, "https://toban.example"):
        made = manifest(url)
        assert len(made["display_information"]["name"]) <= 35
        assert len(made["display_information"]["description"]) <= 140
        for command in made["features"]["slash_commands"]:
            assert re.fullmatch(r"/\S{1,31}", command["command"])
            assert command["command"] in COMMANDS
            assert ("url" in command) == (url is not None)
        assert made["settings"]["socket_mode_enabled"] == (url is None)


def test_the_readme_runs_what_ci_runs():
    ci = (ROOT / ".ci" / "run").read_text()
    assert "make check" in ci
    assert "make test" in ci
    assert "make test" in README
    assert "make check" in README
