"""Every secret and address: read once, checked at once, shown never."""

import pytest

from bot.settings import BadSettings, Settings

RUNNING = {"SLACK_BOT_TOKEN": "xoxb-canary-bot", "SLACK_APP_TOKEN": "xapp-canary-app"}


def problems(environ):
    with pytest.raises(BadSettings) as raised:
        Settings.read(environ)
    lines = str(raised.value).splitlines()
    assert tuple(lines) == raised.value.problems
    return lines


def test_what_is_left_out_has_the_documented_default():
    settings = Settings.read(RUNNING)
    assert settings.database == "sqlite+aiosqlite:///toban.db"
    assert (settings.host, settings.port) == ("127.0.0.1", 3000)
    assert str(settings.policy) == "toban.yaml"
    assert settings.slack_api_url == "https://slack.com/api/"
    assert (settings.locale, settings.log_format, settings.log_level) == ("en", "json", "INFO")
    assert settings.webhook_tokens == ()
    assert not settings.takes_webhooks
    assert settings.gcp_endpoint is settings.gcp_http_endpoint is settings.metrics_token is None


def test_every_name_of_the_product_is_a_setting():
    assert set(Settings.names()) == {
        "TOBAN_DATABASE_URL",
        "TOBAN_SQLITE_ON_VOLUME",
        "TOBAN_HOST",
        "TOBAN_PORT",
        "TOBAN_POLICY",
        "TOBAN_LOCALE",
        "SLACK_BOT_TOKEN",
        "SLACK_SIGNING_SECRET",
        "SLACK_APP_TOKEN",
        "SLACK_API_URL",
        "TOBAN_WEBHOOK_USER",
        "TOBAN_WEBHOOK_PASSWORD",
        "TOBAN_WEBHOOK_TOKENS",
        "TOBAN_WEBHOOK_LIMIT_MIB",
        "TOBAN_GCP_ENDPOINT",
        "TOBAN_GCP_HTTP_ENDPOINT",
        "TOBAN_PG_BIN",
        "TOBAN_DRILL_DATABASE_URL",
        "TOBAN_DRILL_SQL_URL",
        "TOBAN_STORAGE_ENDPOINT",
        "TOBAN_BACKUP_AGE_RECIPIENTS",
        "TOBAN_BACKUP_AGE_IDENTITIES",
        "TOBAN_LOG_FORMAT",
        "TOBAN_LOG_LEVEL",
        "TOBAN_METRICS_ACCESS",
        "TOBAN_SHUTDOWN_GRACE",
        "TOBAN_METRICS_TOKEN",
    }


def test_everything_can_be_set():
    settings = Settings.read(
        RUNNING
        | {
            "TOBAN_DATABASE_URL": "postgresql://toban:pw@db:5432/toban?sslmode=require&connect_timeout=3",
            "TOBAN_HOST": "0.0.0.0",
            "TOBAN_PORT": "8080",
            "TOBAN_POLICY": "/etc/toban/policy.yaml",
            "TOBAN_LOCALE": "ja",
            "SLACK_API_URL": "http://127.0.0.1:9000/api",
            "TOBAN_WEBHOOK_USER": "monitoring",
            "TOBAN_WEBHOOK_PASSWORD": "pass word",
            "TOBAN_WEBHOOK_TOKENS": "0123456789abcdef, fedcba9876543210,",
            "TOBAN_GCP_ENDPOINT": "127.0.0.1:8085",
            "TOBAN_GCP_HTTP_ENDPOINT": "http://127.0.0.1:8086",
            "TOBAN_PG_BIN": "/usr/lib/postgresql/18/bin",
            "TOBAN_DRILL_DATABASE_URL": "postgresql://drill:pw2@scratch/postgres",
            "TOBAN_DRILL_SQL_URL": "postgresql://reader:pw3@restored/app",
            "TOBAN_STORAGE_ENDPOINT": "http://127.0.0.1:9023",
            "TOBAN_LOG_FORMAT": "console",
            "TOBAN_LOG_LEVEL": "DEBUG",
            "TOBAN_METRICS_TOKEN": "metrics",
        }
    )
    assert (
        settings.database == "postgresql+psycopg://toban:pw@db:5432/toban?sslmode=require&connect_timeout=3"
    )
    assert settings.slack_api_url == "http://127.0.0.1:9000/api/"
    assert [token.get_secret_value() for token in settings.webhook_tokens] == [
        "0123456789abcdef",
        "fedcba9876543210",
    ]
    assert settings.takes_webhooks
    assert (settings.port, settings.locale) == (8080, "ja")


def test_a_changed_setting_is_refused():
    with pytest.raises(ValueError, match="frozen"):
        Settings.read(RUNNING).port = 1


def test_the_environment_of_the_process_itself_is_not_read():
    assert Settings.read(RUNNING).names()
    assert "PATH" not in Settings.model_fields


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"PORT": "8080"}, 8080),
        ({"PORT": "8080", "TOBAN_PORT": "3001"}, 3001),
        ({"PORT": "8080", "TOBAN_PORT": ""}, 8080),
        ({"TOBAN_PORT": "0"}, 0),
        ({}, 3000),
    ],
)
def test_port_counts_where_toban_port_is_unset(environ, port):
    assert Settings.read(RUNNING | environ).port == port


@pytest.mark.parametrize(
    ("written", "for_sqlalchemy"),
    [
        ("sqlite:///toban.db", "sqlite+aiosqlite:///toban.db"),
        ("sqlite:////var/lib/toban.db?timeout=5", "sqlite+aiosqlite:////var/lib/toban.db?timeout=5"),
        ("postgresql:///toban?host=/cloudsql/a:b:c", "postgresql+psycopg:///toban?host=/cloudsql/a:b:c"),
    ],
)
def test_the_database_url_is_given_to_sqlalchemy_with_its_driver(written, for_sqlalchemy):
    assert Settings.read(RUNNING | {"TOBAN_DATABASE_URL": written}).database == for_sqlalchemy


@pytest.mark.parametrize(
    ("environ", "name", "part"),
    [
        ({"TOBAN_DATABASE_URL": "mysql://u:canary@h/d"}, "TOBAN_DATABASE_URL", "must begin with sqlite:///"),
        ({"TOBAN_DATABASE_URL": "postgres://u:canary@h/d"}, "TOBAN_DATABASE_URL", "Write postgresql://"),
        ({"TOBAN_DATABASE_URL": "postgresql+psycopg://h/d"}, "TOBAN_DATABASE_URL", "without a driver"),
        ({"TOBAN_DATABASE_URL": "sqlite://"}, "TOBAN_DATABASE_URL", "must name a file"),
        ({"TOBAN_DATABASE_URL": "sqlite:///:memory:"}, "TOBAN_DATABASE_URL", "nothing is remembered"),
        ({"TOBAN_DATABASE_URL": "postgresql://u:can/ary@h:1/d"}, "TOBAN_DATABASE_URL", "Percent-encode"),
        ({"K_SERVICE": "toban"}, "TOBAN_DATABASE_URL", "TOBAN_SQLITE_ON_VOLUME=1"),
        ({"TOBAN_SQLITE_ON_VOLUME": "yes"}, "TOBAN_SQLITE_ON_VOLUME", "neither 1 (yes) nor 0 (no)"),
        ({"TOBAN_PORT": "http"}, "TOBAN_PORT", "'http' is not a port"),
        ({"TOBAN_PORT": "65536"}, "TOBAN_PORT", "0 to 65535"),
        ({"TOBAN_PORT": "tcp://10.0.0.1:80"}, "TOBAN_PORT", "enableServiceLinks: false"),
        ({"PORT": "x"}, "PORT", "'x' is not a port"),
        ({"TOBAN_LOCALE": "fr"}, "TOBAN_LOCALE", "Allowed: en, ja."),
        ({"TOBAN_LOG_FORMAT": "xml"}, "TOBAN_LOG_FORMAT", "Allowed: json, console."),
        ({"TOBAN_LOG_LEVEL": "LOUD"}, "TOBAN_LOG_LEVEL", "Allowed: DEBUG, INFO"),
        ({"SLACK_API_URL": "slack.com"}, "SLACK_API_URL", "not a web address"),
        ({"TOBAN_GCP_ENDPOINT": "http://localhost:1"}, "TOBAN_GCP_ENDPOINT", "not host:port"),
        ({"TOBAN_GCP_HTTP_ENDPOINT": "localhost:1"}, "TOBAN_GCP_HTTP_ENDPOINT", "not a web address"),
        ({"TOBAN_DRILL_DATABASE_URL": "sqlite:///a"}, "TOBAN_DRILL_DATABASE_URL", "begin with postgresql://"),
        ({"TOBAN_WEBHOOK_USER": "a"}, "TOBAN_WEBHOOK_PASSWORD", "missing beside TOBAN_WEBHOOK_USER"),
        ({"TOBAN_WEBHOOK_PASSWORD": "a"}, "TOBAN_WEBHOOK_USER", "missing beside TOBAN_WEBHOOK_PASSWORD"),
        (
            {"TOBAN_WEBHOOK_USER": "a:b", "TOBAN_WEBHOOK_PASSWORD": "c"},
            "TOBAN_WEBHOOK_USER",
            "a name without one",
        ),
        (
            {"TOBAN_WEBHOOK_TOKENS": "0123456789abcdef,canary"},
            "TOBAN_WEBHOOK_TOKENS",
            "token 2 of 2 is shorter than 16 characters",
        ),
        ({"SLACK_BOT_TOKEN": "xapp-canary"}, "SLACK_BOT_TOKEN", "Put it into SLACK_APP_TOKEN"),
        ({"SLACK_APP_TOKEN": "xoxb-canary"}, "SLACK_APP_TOKEN", "into SLACK_BOT_TOKEN"),
        ({"SLACK_BOT_TOKEN": ""}, "SLACK_BOT_TOKEN", "not set. Copy"),
        ({"SLACK_APP_TOKEN": ""}, "SLACK_APP_TOKEN", "nor is SLACK_SIGNING_SECRET"),
        ({"SLACK_BOT_TOKEN": "xoxb-canary "}, "SLACK_BOT_TOKEN", "ends with a blank"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out_and_without_its_secret(environ, name, part):
    (line,) = problems(RUNNING | environ)
    assert line.startswith(f"{name}: ")
    assert part in line
    assert "canary" not in line


def test_all_problems_are_told_at_once():
    lines = problems(
        {"TOBAN_PORT": "x", "TOBAN_LOCALE": "fr", "TOBAN_WEBHOOK_USER": "a", "K_SERVICE": "toban"}
    )
    assert {line.partition(":")[0] for line in lines} == {
        "TOBAN_PORT",
        "TOBAN_LOCALE",
        "TOBAN_WEBHOOK_PASSWORD",
        "TOBAN_DATABASE_URL",
        "SLACK_BOT_TOKEN",
        "SLACK_APP_TOKEN",
    }


def test_a_refusal_drags_no_secret_along_in_its_causes():
    with pytest.raises(BadSettings) as raised:
        Settings.read(RUNNING | {"TOBAN_DATABASE_URL": "mysql://u:canary@h/d"})
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_sqlite_on_cloud_run_is_taken_where_a_volume_is_declared():
    environ = RUNNING | {"K_SERVICE": "toban", "TOBAN_SQLITE_ON_VOLUME": "1"}
    assert Settings.read(environ).is_sqlite
    assert not Settings.read(
        RUNNING | {"K_SERVICE": "toban", "TOBAN_DATABASE_URL": "postgresql://h/d"}
    ).is_sqlite


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_come_from_a_file(tmp_path, end):
    (tmp_path / "token").write_bytes(f"xoxb-from-file{end}".encode())
    environ = {"SLACK_BOT_TOKEN_FILE": str(tmp_path / "token"), "SLACK_SIGNING_SECRET": "s"}
    settings = Settings.read(environ)
    assert settings.slack_bot_token is not None
    assert settings.slack_bot_token.get_secret_value() == "xoxb-from-file"


def test_every_setting_may_come_from_a_file(tmp_path):
    (tmp_path / "port").write_text("8081\n")
    assert Settings.read(RUNNING | {"TOBAN_PORT_FILE": str(tmp_path / "port"), "PORT": "1"}).port == 8081


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "No such file or directory. Name a readable text file."),
        (b"", "is empty. Put the value into it"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
def test_a_file_that_gives_no_value_is_named(tmp_path, content, part):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    lines = problems({"SLACK_BOT_TOKEN_FILE": str(path), "SLACK_SIGNING_SECRET": "s"})
    assert len(lines) == 1
    assert lines[0].startswith(f"SLACK_BOT_TOKEN_FILE: {path}")
    assert part in lines[0]


def test_a_setting_and_its_file_are_not_both_taken(tmp_path):
    (tmp_path / "token").write_text("xoxb-2")
    (line,) = problems(RUNNING | {"SLACK_BOT_TOKEN_FILE": str(tmp_path / "token")})
    assert line == "SLACK_BOT_TOKEN: set as SLACK_BOT_TOKEN and as SLACK_BOT_TOKEN_FILE. Keep one of the two."


def test_secrets_never_show_in_repr_or_dump():
    settings = Settings.read(
        RUNNING
        | {
            "SLACK_SIGNING_SECRET": "canary-signing",
            "TOBAN_DATABASE_URL": "postgresql://toban:canary-db@h/d?password=canary-query",
            "TOBAN_WEBHOOK_USER": "monitoring",
            "TOBAN_WEBHOOK_PASSWORD": "canary-password",
            "TOBAN_WEBHOOK_TOKENS": "canary-token-0001,canary-token-0002",
            "TOBAN_METRICS_TOKEN": "canary-metrics",
        }
    )
    for shown in (repr(settings), str(settings), settings.model_dump_json(), settings.database_shown):
        assert "canary" not in shown
    assert settings.database_shown == "postgresql://toban:…@h/d?password=…"
    assert {secret for secret in settings.secrets() if secret.startswith("canary")} == {
        "canary-signing",
        "canary-db",
        "canary-query",
        "canary-password",
        "canary-token-0001",
        "canary-token-0002",
        "canary-metrics",
    }


@pytest.mark.parametrize(
    ("environ", "mode"),
    [
        ({}, None),
        ({"SLACK_SIGNING_SECRET": "s"}, "http"),
        ({"SLACK_APP_TOKEN": "xapp-1"}, "socket"),
        ({"SLACK_SIGNING_SECRET": "s", "SLACK_APP_TOKEN": "xapp-1"}, "socket"),
    ],
)
def test_socket_mode_is_chosen_when_its_token_is_set(environ, mode):
    assert Settings.read(environ, to_run=False).slack_mode == mode


def test_checking_takes_settings_without_slack_and_names_what_running_still_needs():
    still_needed = Settings.read({}, to_run=False).still_needed
    assert [line.partition(":")[0] for line in still_needed] == ["SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"]
    assert Settings.read(RUNNING).still_needed == ()
