"""The ``toban`` command. Each subcommand imports what it needs when it runs, so that ``--help`` is quick."""

import os
from pathlib import Path
from typing import Annotated

import typer

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


def main() -> None:
    """The entry point of the installed command."""
    app()


if __name__ == "__main__":
    main()
