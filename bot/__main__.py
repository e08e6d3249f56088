"""The ``toban`` command. Each subcommand imports what it needs when it runs, so that ``--help`` is quick."""

import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from bot.settings import Settings
    from domain.policy import Policy

BAD_INPUT = 2
"""The exit code for settings or a policy that cannot be used."""

app = typer.Typer(
    name="toban",
    help="Toban, a Slack-first on-call bot: alerts, pages, incidents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # They would show local variables, secrets among them.
)


def _version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"toban {version('toban')}")
    except PackageNotFoundError:
        typer.echo("toban, from a source tree that is not installed")
    raise typer.Exit


@app.callback()
def toban(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Stand where the subcommands hang."""


@app.command()
def check(
    policy: Annotated[
        Path | None, typer.Option(help="The policy file; TOBAN_POLICY or toban.yaml where left out.")
    ] = None,
) -> None:
    """Validate settings and policy and print what would run. Needs no network and no account.

    Leaves with 2 where something is wrong. What only `toban run` needs is a warning.
    """
    from rich.console import Console
    from rich.text import Text

    from bot import checking

    found = checking.check(os.environ, policy)
    console = Console(highlight=False, soft_wrap=True)
    for section in found.sections:
        console.print(Text(section.title, style="bold"))
        for line in section.lines:
            console.print(Text(f"  {line}"))
        console.print()
    for warning in found.warnings:
        console.print(Text.assemble(("warning: ", "yellow"), warning))
    for error in found.errors:
        console.print(Text(error, style="red"))
    if found.errors:
        many = len(found.errors)
        console.print(
            Text(f"{many} problem{'s' if many > 1 else ''}: toban run would not start.", style="bold")
        )
        raise typer.Exit(BAD_INPUT)
    console.print(Text("No problems found.", style="bold"))


@app.command()
def run() -> None:
    """Run the bot until it is told to stop. An empty database is migrated first."""
    from bot.signals import hold

    was_asked = hold()
    from bot.encryption import lacking
    from bot.running import run_until_stopped, runner
    from domain.errors import Outage

    settings = _settings()
    policy = _policy(settings.policy)
    lacks = lacking(policy, settings)
    if lacks:
        _fail("\n".join(lacks))
    try:
        with runner() as loop:
            loop.run(run_until_stopped(settings, policy, was_asked))
            hold()  # The loop gives every signal back to the system as it closes.
    except Outage as outage:
        hold()
        _fail(" ".join(outage.reason.split()))


@app.command()
def migrate(
    vacuum: Annotated[
        bool,
        typer.Option("--vacuum", help="Write SQLite's file anew, so that it shrinks by itself from now on."),
    ] = False,
) -> None:
    """Bring the database to this version's schema."""
    import asyncio

    from bot.running import migrate_once
    from domain.errors import Outage

    try:
        typer.echo(asyncio.run(migrate_once(_settings(to_run=False), vacuum=vacuum)))
    except Outage as outage:
        _fail(" ".join(outage.reason.split()))


@app.command()
def restore(
    plan: Annotated[str, typer.Argument(help="The plan whose copies lie somewhere; see toban.yaml.")],
    copy: Annotated[str | None, typer.Option(help="Which one, as --list shows it; the newest.")] = None,
    to: Annotated[
        str | None, typer.Option(help="A file, or postgresql://…; TOBAN_DATABASE_URL where left out.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is newer; it is kept under another name.")
    ] = False,
    as_new: Annotated[
        bool,
        typer.Option("--as-new", help="Beside the old one: never touch its copies, nor take them for own."),
    ] = False,
    quiet: Annotated[int, typer.Option(help="Minutes in which nobody is paged for what began before.")] = 30,
    list_them: Annotated[bool, typer.Option("--list", help="Show the copies, and restore nothing.")] = False,
) -> None:
    """Bring a copy of Toban's own database back: read whole, proven, never over a newer one unasked.

    Needs the policy and the destination only. Every Toban on that database must be stopped.
    """
    from datetime import timedelta

    from bot import restoring

    settings = _settings(to_run=False)
    policy = _policy(settings.policy)
    wish = restoring.Wish(plan, copy, to, overwrite, as_new, timedelta(minutes=quiet))
    asked = restoring.show(settings, policy, plan) if list_them else restoring.restore(settings, policy, wish)
    _tell(asked)


@app.command()
def quiet(
    minutes: Annotated[int, typer.Option(help="So long nobody is paged for what began before.")] = 30,
) -> None:
    """Let the next start be a quiet one, after a restore by hand. `toban restore` does it by itself."""
    from datetime import timedelta

    from bot import restoring

    _tell(restoring.mark(_settings(to_run=False), timedelta(minutes=minutes)))


backup = typer.Typer(name="backup", help="Copies that lie somewhere.", no_args_is_help=True)
app.add_typer(backup)


@backup.callback()
def copies_that_lie_somewhere() -> None:
    """The commands about copies stand below this one."""


@backup.command()
def adopt(
    plan: Annotated[str | None, typer.Argument(help="Of this plan; of all where left out.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Take over the copies of this installation, too.")
    ] = None,
) -> None:
    """Read the copies that no row knows, as after the database was lost, and let the whole ones count.

    Safe while the bot runs.
    """
    from bot import adopting

    settings = _settings(to_run=False)
    _tell(adopting.adopt_all(settings, _policy(settings.policy), plan, from_))


@backup.command()
def keygen(
    to: Annotated[
        Path | None, typer.Option(help="Write the private key into this new file instead of showing it.")
    ] = None,
) -> None:
    """Make a pair of age keys for encrypted backups, and say where each half goes."""
    from bot import encryption
    from domain.errors import Outage

    try:
        lines = encryption.keygen(to)
    except Outage as outage:
        _fail(outage.reason)
    for said in lines:
        typer.echo(said)


@app.command()
def redrive(
    kind: Annotated[
        str | None, typer.Option(help="Only deliveries of this kind, such as alertmanager.")
    ] = None,
    number: Annotated[list[int] | None, typer.Option("--id", help="Only this one; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that machines sent.")] = False,
) -> None:
    """Try quarantined deliveries once more. Without an option: show what is quarantined.

    Safe while the bot runs. What people clicked is put back only by `--id`, or by `--kind slack`.
    """
    import asyncio

    from bot import redrive as redriving
    from domain.errors import Outage

    settings = _settings(to_run=False)
    try:
        if kind is None and not number and not everything:
            lines = asyncio.run(redriving.show(settings))
        else:
            lines = asyncio.run(redriving.redrive(settings, kind, number or []))
    except Outage as outage:
        _fail(outage.reason)
    for said in lines:
        typer.echo(said)


@app.command()
def manifest(
    url: Annotated[
        str | None, typer.Option(help="Your bot's public address, for HTTP mode; left out: Socket Mode.")
    ] = None,
) -> None:
    """Print the Slack app manifest: exactly the scopes and commands that this version uses."""
    import json

    from bot.manifest import manifest as made
    from bot.manifest import why_not

    refused = why_not(url)
    if refused is not None:
        _fail(refused)
    typer.echo(json.dumps(made(url), indent=2, ensure_ascii=False))


@app.command()
def demo(
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the last demo.")] = False,
    port: Annotated[int, typer.Option(help="The page's port, if it is free.")] = 8700,
    locale: Annotated[str, typer.Option(help="The channels' language: en or ja.")] = "en",
) -> None:
    """Show everything in a pretend world: no account, no network."""
    from sandbox.demo import main as world

    world(fresh=fresh, port=port, locale=locale)


backtest = typer.Typer(
    name="backtest", help="What a detector would have said about recorded data.", no_args_is_help=True
)
app.add_typer(backtest)


@backtest.callback()
def over_recorded_data() -> None:
    """Stand where the kinds of backtest hang."""


@backtest.command()
def anomalies(
    file: Annotated[Path, typer.Argument(help="CSV with columns timestamp and value, or several values.")],
    out: Annotated[Path, typer.Option(help="Where the same rows go, with score, is_anomaly and reason.")],
    plot: Annotated[Path | None, typer.Option(help="A PNG of the series with its marked samples.")] = None,
    sensitivity: Annotated[str, typer.Option(help="low, normal or high.")] = "normal",
) -> None:
    """Score each row of a CSV by what came before it. Prints alarms a week and the cost of a sample.

    Leaves with 2 where the file cannot be used. This is how to choose a sensitivity before switching on.
    """
    from bot import backtest as backtests
    from domain.rules import Sensitivity

    if sensitivity not in set(Sensitivity) - {Sensitivity.OFF}:
        _fail(f"--sensitivity {sensitivity}: choose low, normal or high")
    try:
        summary = backtests.anomalies(file, out, plot, Sensitivity(sensitivity))
    except backtests.BadFile as bad:
        _fail(str(bad))
    for said in summary.lines():
        typer.echo(said)


@app.command("simulate-rollout")
def simulate_rollout(
    rollouts: Annotated[int, typer.Option(help="Pretend rollouts in each cell.")] = 10_000,
    seed: Annotated[int, typer.Option(help="The same seed, the same figures.")] = 1,
    percent: Annotated[int, typer.Option(help="The canary's share of the requests.")] = 10,
    bake: Annotated[int, typer.Option(help="Minutes that it bakes; once more where they do not tell.")] = 5,
    traffic: Annotated[list[float] | None, typer.Option(help="Requests a minute; may be repeated.")] = None,
    minimum: Annotated[int | None, typer.Option(help="Requests without which nothing is promoted.")] = None,
    plot: Annotated[Path | None, typer.Option(help="A PNG of the same.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine.")] = False,
) -> None:
    """Roll out thousands of pretend canaries: how often Toban's verdict is wrong, and others are."""
    import json

    from rich.console import Console

    from bot import simulate_rollout as simulations
    from domain.verdict import DEFAULT_RULE

    try:
        report = simulations.simulate_rollout(
            rollouts=rollouts,
            seed=seed,
            percent=percent,
            bake=bake,
            traffic=traffic or simulations.TRAFFIC,
            minimum=minimum if minimum is not None else DEFAULT_RULE.minimum,
            plot=plot,
        )
    except simulations.BadOption as bad:
        _fail(str(bad))
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=1))
        return
    Console(width=None if sys.stdout.isatty() else 120).print(report.table())
    for said in report.lines():
        typer.echo(said)


def _settings(*, to_run: bool = True) -> "Settings":
    from bot.settings import BadSettings, Settings

    try:
        return Settings.read(os.environ, to_run=to_run)
    except BadSettings as bad:
        _fail("\n".join(bad.problems))


def _policy(path: Path) -> "Policy":
    from bot.policy import BadPolicy, read_policy

    try:
        return read_policy(path)
    except BadPolicy as bad:
        _fail("\n".join(str(problem) for problem in bad.problems))


def _tell(work: Coroutine[Any, Any, list[str]]) -> None:
    """Do it and print what came of it; what cannot be done is one sentence and exit 2."""
    import asyncio

    from domain.errors import Outage

    try:
        lines = asyncio.run(work)
    except Outage as outage:
        _fail(" ".join(outage.reason.split()))
    for said in lines:
        typer.echo(said)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(BAD_INPUT)


def main() -> None:
    """The entry point of the installed command."""
    app()


if __name__ == "__main__":
    main()
