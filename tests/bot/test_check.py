"""The command ``toban check``: what would run, what is wrong, and which of it stops the program."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.__main__ import app, main
from bot.checking import describe, warnings
from bot.clock import SystemClock
from bot.policy import read_policy
from bot.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "toban.example.yaml"
READY = {
    "SLACK_BOT_TOKEN": "xoxb-canary",
    "SLACK_APP_TOKEN": "xapp-canary",
    "TOBAN_WEBHOOK_TOKENS": "canary-0123456789,canary-9876543210",
}


def toban(*arguments, **environ):
    """Runs the command with this environment and no other setting of ours."""
    ours = (*Settings.names(), *(f"{name}_FILE" for name in Settings.names()), "PORT", "K_SERVICE")
    clean = {name: None for name in ours if name in os.environ}
    return CliRunner().invoke(app, list(arguments), env=clean | environ)


def test_the_example_passes_without_any_setting():
    result = toban("check", "--policy", str(EXAMPLE))
    assert result.exit_code == 0
    assert "warning: toban run still needs SLACK_BOT_TOKEN: not set." in result.output
    assert "warning: toban run still needs SLACK_APP_TOKEN: not set, nor is SLACK_SIGNING" in result.output
    assert "warning: no webhook secret is set" in result.output
    assert result.output.endswith("No problems found.\n")


def test_ladders_are_told_as_a_timeline():
    assert (
        """
  critical, and an incident P1 opens by itself
    at once       kenji by Slack, email (not set up), SMS (not set up)
    after 5 min   kenji asked again, the card says overdue
    after 15 min  aya by Slack, email (not set up), SMS (not set up)
    after 20 min  aya asked again, the card says overdue
    after 30 min  yuko by Slack, email (not set up), SMS (not set up)
    after 35 min  yuko asked again, the card says overdue
    after 45 min  yuko again, and every 15 min until somebody answers
"""
        in toban("check", "--policy", str(EXAMPLE)).output
    )


def test_settings_that_suffice_leave_no_warning_and_show_no_secret():
    result = toban("check", TOBAN_POLICY=str(EXAMPLE), **READY)
    assert result.exit_code == 0
    assert "warning:" not in result.output
    assert "canary" not in result.output
    for part in (
        "/webhooks/cloud-monitoring  2 tokens (Bearer or ?auth_token=)",
        "Slack         Socket Mode",
        "database      sqlite:///toban.db",
        "kenji  found by email  kenji@bondpoint.example",
        "bondpoint-db    bondpoint-prod  asia-northeast1  database_id=bondpoint-prod:bondpoint-db",
        "others     warning, shown as they came",
        "incidents  #incidents",
    ):
        assert part in result.output


def test_http_mode_and_basic_authentication_are_told():
    result = toban(
        "check",
        TOBAN_POLICY=str(EXAMPLE),
        SLACK_SIGNING_SECRET="canary",
        TOBAN_WEBHOOK_USER="monitoring",
        TOBAN_WEBHOOK_PASSWORD="canary",
        TOBAN_DATABASE_URL="postgresql://toban:canary@db/toban",
        TOBAN_GCP_ENDPOINT="127.0.0.1:8085",
        PORT="8080",
    )
    assert "HTTP at http://127.0.0.1:8080/slack/events" in result.output
    assert "/webhooks/alertmanager      Basic as monitoring" in result.output
    assert "postgresql://toban:…@db/toban" in result.output
    assert "stand-in at 127.0.0.1:8085" in result.output
    assert "canary" not in result.output


def test_a_wrong_policy_is_told_by_line_and_ends_with_2(tmp_path):
    policy = tmp_path / "toban.yaml"
    policy.write_text("people:\n  aya: {slak: U0AYA}\nladders: {warning: [], critical: [], emergency: []}\n")
    result = toban("check", "--policy", str(policy))
    assert result.exit_code == 2
    assert f'{policy}:2: unknown key "slak" in people.aya; did you mean "slack"?' in result.output
    assert "1 problem: toban run would not start." in result.output
    assert "Ladders" not in result.output


def test_a_missing_policy_is_told_with_the_way_out(tmp_path):
    path = tmp_path / "none.yaml"
    result = toban("check", TOBAN_POLICY=str(path))
    assert result.exit_code == 2
    assert f"{path}:1: there is no such file. Copy the example" in result.output


def test_wrong_settings_and_a_wrong_policy_are_told_together(tmp_path):
    policy = tmp_path / "toban.yaml"
    policy.write_text("levels: {sev1: loud}\n")
    result = toban("check", TOBAN_POLICY=str(policy), TOBAN_PORT="x", TOBAN_LOCALE="fr")
    assert result.exit_code == 2
    assert "TOBAN_PORT: 'x' is not a port." in result.output
    assert "TOBAN_LOCALE: 'fr'" in result.output
    assert f"{policy}:1: levels.sev1: unknown" in result.output
    assert "6 problems: toban run would not start." in result.output


def test_text_of_the_policy_is_shown_as_it_is(tmp_path):
    policy = tmp_path / "toban.yaml"
    policy.write_text(
        "people:\n  '[red]佐藤[/red]': {slack: U0SATO}\n  aya: {slack: U0AYA}\n"
        "ladders: {warning: [], critical: [], emergency: [{tell: '[red]佐藤[/red]'}]}\n"
    )
    output = toban("check", "--policy", str(policy)).output
    assert "  [red]佐藤[/red]  U0SATO  -" in output
    assert "  aya              U0AYA   -" in output
    assert "[red]佐藤[/red] again, and every 15 min until somebody answers" in output


def test_what_reaches_nobody_is_a_warning(tmp_path):
    path = tmp_path / "toban.yaml"
    path.write_text(
        "people: {aya: {email: aya@bondpoint.example, phone: +81-3-0000-0001}}\n"
        "ladders: {warning: [], critical: [{tell: aya, by: [email, sms]}], emergency: [{tell: aya}]}\n"
    )
    policy = read_policy(path)
    assert warnings(policy, None) == [
        "ladders.critical step 1 reaches nobody: email and SMS cannot be sent by this version. Add slack.",
        "ladders.warning is empty: nobody would be paged.",
    ]
    lines = [line for section in describe(policy, None) for line in section.lines]
    assert "warning: nobody is paged" in lines
    assert [section.title for section in describe(None, None)] == []


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_are_given(option):
    result = toban(option)
    assert result.exit_code == 0
    assert "toban" in result.output.lower()


def test_the_installed_command_is_the_same_program():
    assert callable(main)


def test_the_clock_is_aware_and_never_goes_back():
    clock = SystemClock()
    before = clock.monotonic()
    assert clock.now().utcoffset() is not None
    assert clock.monotonic() >= before


def test_14_10_backup_plans_are_told():
    """User 25."""
    said = toban("check", "--policy", str(EXAMPLE)).output
    assert "Backups (what is copied, when, and where to)" in said
    assert "cloud-sql bondpoint-db" in said
    assert "gs://bondpoint-backups" in said
    assert "7 daily, 4 weekly, 12 monthly" in said


def test_21_14_a_second_destination_is_told_as_a_plan_of_its_own(tmp_path):
    policy = tmp_path / "toban.yaml"
    policy.write_text(EXAMPLE.read_text().replace("# also:", "also:"))
    said = toban("check", "--policy", str(policy)).output
    assert "nightly-also" in said
    assert "toban (second destination of nightly)" in said
    assert "gs://bondpoint-osaka/toban" in said
    policy.write_text(EXAMPLE.read_text().replace("# also: gs://bondpoint-osaka/toban", "also: /var/backups"))
    result = toban("check", "--policy", str(policy))
    assert result.exit_code == 2
    assert "backups.nightly.also: /var/backups is where backups.nightly keeps its copies" in result.output


def test_14_10_an_empty_policy_is_told_what_it_needs_and_where_to_begin(tmp_path):
    policy = tmp_path / "toban.yaml"
    policy.write_text("# nothing yet\n")
    result = toban("check", "--policy", str(policy))
    assert result.exit_code == 2
    assert "is empty" in result.output and "toban.example.yaml" in result.output


@pytest.mark.parametrize(
    ("written", "meant"),
    [("JST", "Asia/Tokyo"), ("jst", "Asia/Tokyo"), ("Tokyo", "Asia/Tokyo"), ("Asia/Tokio", "Asia/Tokyo")],
)
def test_14_10_a_zone_is_suggested_as_it_was_meant(tmp_path, written, meant):
    policy = tmp_path / "toban.yaml"
    policy.write_text(EXAMPLE.read_text().replace("zone: Asia/Tokyo", f"zone: {written}", 1))
    assert f'did you mean "{meant}"?' in toban("check", "--policy", str(policy)).output


def test_14_10_a_misspelt_setting_is_an_error_and_a_strange_one_a_warning():
    given = {"TOBAN_WEBHOOK_PASSWRD": "secret-canary", "TOBAN_COLOUR": "red", "TOBAN_PORT_3000_TCP": "x"}
    given |= {"TOBAN_WEB_PORT": "tcp://10.0.0.7:80", "TOBAN_WEB_SERVICE_HOST": "10.0.0.7"}
    result = toban("check", TOBAN_POLICY=str(EXAMPLE), **READY | given)
    assert result.exit_code == 2
    assert (
        "TOBAN_WEBHOOK_PASSWRD: there is no such setting; did you mean TOBAN_WEBHOOK_PASSWORD?"
        in result.output
    )
    assert "warning: TOBAN_COLOUR is set, and Toban reads no such setting." in result.output
    assert "TOBAN_PORT_3000_TCP" not in result.output
    assert "TOBAN_WEB_" not in result.output
    assert "secret-canary" not in result.output


@pytest.mark.parametrize(
    "url", ["http://x", "https://x", "toban.example.com", "https://", "https://a.example/?x=1"]
)
def test_14_10_a_manifest_is_made_for_addresses_that_slack_can_call_only(url):
    result = toban("manifest", "--url", url)
    assert result.exit_code == 2
    assert toban("manifest", "--url", "https://toban.example.com").exit_code == 0
