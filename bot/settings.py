"""Every secret and address, read once from the environment or from files that it names, and checked."""

# ruff: noqa: ARG003  # One signature is the library's.

import difflib
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from storage.encryption import parse_identity, parse_recipient

SHORTEST_TOKEN = 16
"""Characters that a webhook token must have at least."""

LONGEST_GRACE = 120.0
"""Seconds between the signal to end and the closed door, at most."""

LARGEST_BODY = 1024
"""MiB of one webhook body, at most."""

_SERVICE_LINK = re.compile(r"TOBAN_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)\w*|PORT_[0-9]+_(?:TCP|UDP|SCTP)\w*)")

_PORT_LINK = re.compile(r"(?:tcp|udp|sctp)://")
"""What Kubernetes sets in every pod for a service whose name begins with toban, and the value of its port."""

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}
"""What an operator writes, and how SQLAlchemy calls it with the drivers that we ship."""


class MetricsAccess(StrEnum):
    """Who may see metrics and the details of what is wrong."""

    TOKEN = "token"  # noqa: S105  # It is the name of a choice.
    OPEN = "open"


class BadSettings(Exception):  # The name says what the settings are.
    """The environment cannot be used. One line a problem, each with the way out, never a secret."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _one_of(*allowed: str) -> BeforeValidator:
    def check(raw: object) -> object:
        if raw not in allowed:
            raise ValueError(f"{raw!r} is not known here. Allowed: {', '.join(allowed)}.")
        return raw

    return BeforeValidator(check)


def _port(raw: object) -> object:
    if not re.fullmatch(r"[0-9]{1,5}", str(raw)) or int(str(raw)) > 65535:
        more = ""
        if str(raw).startswith("tcp://"):
            more = " Kubernetes sets this for a service named toban: say `enableServiceLinks: false`."
        raise ValueError(f"{raw!r} is not a port. Give a number from 0 to 65535.{more}")
    return int(str(raw))


def _database_url(raw: object) -> object:
    """Shown nowhere, since it may hold a password."""
    url = str(raw)
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in DRIVERS:
        hint = " Write postgresql://, without a driver." if scheme.startswith("postgres") else ""
        raise ValueError(f"it must begin with sqlite:/// or postgresql://.{hint}")
    if scheme == "sqlite":
        path = rest.removeprefix("/").partition("?")[0]
        if not rest.startswith("/") or not path or path == "/" or ":memory:" in path:
            raise ValueError(
                "it must name a file, or nothing is remembered: sqlite:///toban.db beside the program,"
                " sqlite:////var/lib/toban.db anywhere."
            )
        return url
    try:
        urlsplit(url).port  # noqa: B018  # Reading it is the check.
    except ValueError:
        raise ValueError(
            "its host and port cannot be read. Percent-encode special characters of the password,"
            " for example %40 for @ and %2F for /."
        ) from None
    return url


def _scratch_url(raw: object) -> object:
    """Shown nowhere, since it may hold a password."""
    if not str(raw).startswith("postgresql://"):
        raise ValueError(
            "it must begin with postgresql://: the server on which dumps are restored to try them."
        )
    return raw


def _web_address(raw: object) -> object:
    parts = urlsplit(str(raw))
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(f"{raw!r} is not a web address. Give one such as https://slack.com/api/.")
    return str(raw)


def _api_url(raw: object) -> object:
    """The Slack SDK appends the method's name, so the slash at the end counts."""
    return f"{str(_web_address(raw)).rstrip('/')}/"


def _host_and_port(raw: object) -> object:
    if not re.fullmatch(r"[^\s/:]+:[0-9]{1,5}", str(raw)):
        raise ValueError(f"{raw!r} is not host:port. Give one such as 127.0.0.1:8085, without http://.")
    return raw


def _tokens(raw: object) -> object:
    if not isinstance(raw, str):
        return raw
    tokens = [token.strip() for token in raw.split(",") if token.strip()]
    short = [str(place) for place, token in enumerate(tokens, start=1) if len(token) < SHORTEST_TOKEN]
    if short:
        raise ValueError(
            f"token {', '.join(short)} of {len(tokens)} is shorter than {SHORTEST_TOKEN} characters."
            " Make one with: openssl rand -hex 32"
        )
    return tuple(tokens)


def _recipients(raw: object) -> object:
    """Age's public keys."""
    return raw if not isinstance(raw, str) else tuple(_keys(raw, parse_recipient))


def _identities(raw: object) -> object:
    """Age's private keys. Shown nowhere."""
    return raw if not isinstance(raw, str) else tuple(_keys(raw, parse_identity))


def _keys(raw: str, parse: Callable[[str], object]) -> list[str]:
    """By commas or lines, as ``age-keygen`` writes its file: a line after ``#`` is a remark."""
    lines = [line.partition("#")[0] for line in raw.splitlines()]
    keys = [one.strip() for line in lines for one in line.split(",") if one.strip()]
    for place, key in enumerate(keys, start=1):
        try:
            parse(key)
        except ValueError as error:
            raise ValueError(f"key {place} of {len(keys)}: {error}.") from None
    if not keys:
        raise ValueError("there is no key in it.")
    return keys


def _user(raw: object) -> object:
    if ":" in str(raw):
        raise ValueError("a colon ends the user in HTTP Basic authentication. Choose a name without one.")
    return raw


def _bot_token(raw: object) -> object:
    if str(raw).startswith("xapp-"):
        raise ValueError(
            "this is an app-level token (xapp-…). Put it into SLACK_APP_TOKEN; here goes xoxb-…."
        )
    return raw


def _app_token(raw: object) -> object:
    if str(raw).startswith("xox"):
        raise ValueError(
            "this is a bot or user token (xox…). Put xoxb-… into SLACK_BOT_TOKEN; here goes xapp-…."
        )
    return raw


def _webhook_limit(raw: object) -> object:
    if not re.fullmatch(r"[0-9]{1,4}", str(raw)) or not 4 <= int(str(raw)) <= LARGEST_BODY:
        raise ValueError(f"{raw!r} is not a number of MiB from 4 to {LARGEST_BODY}, such as 64.")
    return int(str(raw))


def _grace(raw: object) -> object:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?s?", str(raw)) or float(str(raw).rstrip("s")) > LONGEST_GRACE:
        raise ValueError(f"{raw!r} is not a number of seconds from 0 to {LONGEST_GRACE:.0f}, such as 5.")
    return float(str(raw).rstrip("s"))


def _switch(raw: object) -> object:
    if raw not in {"0", "1"}:
        raise ValueError(f"{raw!r} is neither 1 (yes) nor 0 (no).")
    return raw == "1"


class Settings(BaseSettings):
    """What the program needs to know before it starts. Made by ``read`` only.

    Each field's alias is the environment's name. Secrets never show in ``repr``.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    database_url: Annotated[SecretStr, BeforeValidator(_database_url)] = Field(
        SecretStr("sqlite:///toban.db"), alias="TOBAN_DATABASE_URL"
    )
    sqlite_on_volume: Annotated[bool, BeforeValidator(_switch)] = Field(
        default=False, alias="TOBAN_SQLITE_ON_VOLUME"
    )
    host: str = Field("127.0.0.1", alias="TOBAN_HOST")
    port: Annotated[int, BeforeValidator(_port)] = Field(3000, alias="TOBAN_PORT")
    policy: Path = Field(Path("toban.yaml"), alias="TOBAN_POLICY")
    locale: Annotated[Literal["en", "ja"], _one_of("en", "ja")] = Field("en", alias="TOBAN_LOCALE")

    slack_bot_token: Annotated[SecretStr | None, BeforeValidator(_bot_token)] = Field(
        None, alias="SLACK_BOT_TOKEN"
    )
    slack_signing_secret: SecretStr | None = Field(None, alias="SLACK_SIGNING_SECRET")
    slack_app_token: Annotated[SecretStr | None, BeforeValidator(_app_token)] = Field(
        None, alias="SLACK_APP_TOKEN"
    )
    slack_api_url: Annotated[str, BeforeValidator(_api_url)] = Field(
        "https://slack.com/api/", alias="SLACK_API_URL"
    )

    webhook_user: Annotated[str | None, BeforeValidator(_user)] = Field(None, alias="TOBAN_WEBHOOK_USER")
    webhook_password: SecretStr | None = Field(None, alias="TOBAN_WEBHOOK_PASSWORD")
    webhook_tokens: Annotated[tuple[SecretStr, ...], BeforeValidator(_tokens)] = Field(
        (), alias="TOBAN_WEBHOOK_TOKENS"
    )

    gcp_endpoint: Annotated[str | None, BeforeValidator(_host_and_port)] = Field(
        None, alias="TOBAN_GCP_ENDPOINT"
    )
    gcp_http_endpoint: Annotated[str | None, BeforeValidator(_web_address)] = Field(
        None, alias="TOBAN_GCP_HTTP_ENDPOINT"
    )

    storage_endpoint: Annotated[str | None, BeforeValidator(_web_address)] = Field(
        None, alias="TOBAN_STORAGE_ENDPOINT"
    )

    pg_bin: str | None = Field(None, alias="TOBAN_PG_BIN")
    drill_database_url: Annotated[SecretStr | None, BeforeValidator(_scratch_url)] = Field(
        None, alias="TOBAN_DRILL_DATABASE_URL"
    )

    drill_sql_url: Annotated[SecretStr | None, BeforeValidator(_scratch_url)] = Field(
        None, alias="TOBAN_DRILL_SQL_URL"
    )

    backup_recipients: Annotated[tuple[str, ...], BeforeValidator(_recipients)] = Field(
        (), alias="TOBAN_BACKUP_AGE_RECIPIENTS"
    )
    backup_identities: Annotated[tuple[SecretStr, ...], BeforeValidator(_identities)] = Field(
        (), alias="TOBAN_BACKUP_AGE_IDENTITIES"
    )

    log_format: Annotated[Literal["json", "console"], _one_of("json", "console")] = Field(
        "json", alias="TOBAN_LOG_FORMAT"
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        _one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    ] = Field("INFO", alias="TOBAN_LOG_LEVEL")
    metrics_token: SecretStr | None = Field(None, alias="TOBAN_METRICS_TOKEN")
    metrics_access: Annotated[MetricsAccess, _one_of(*MetricsAccess)] = Field(
        MetricsAccess.TOKEN, alias="TOBAN_METRICS_ACCESS"
    )

    webhook_limit_mib: Annotated[int, BeforeValidator(_webhook_limit)] = Field(
        64, alias="TOBAN_WEBHOOK_LIMIT_MIB"
    )
    shutdown_grace: Annotated[float, BeforeValidator(_grace)] = Field(5.0, alias="TOBAN_SHUTDOWN_GRACE")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what ``read`` hands over: the process' own environment never leaks in."""
        return (init_settings,)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every name that the environment may set; each also as ``NAME_FILE``."""
        return tuple(str(field.alias) for field in cls.model_fields.values())

    @classmethod
    def unknown(cls, environ: Mapping[str, str]) -> list[tuple[str, str | None]]:
        """Names of ours in the environment that nothing reads, each with the one that may be meant.

        What Kubernetes sets for services named toban, or toban-web, is not taken for a slip.
        """
        known = {name for one in cls.names() for name in (one, f"{one}_FILE")}
        strange = [name for name in sorted(environ) if name.startswith("TOBAN_") and name not in known]
        found = []
        for name in strange:
            if _SERVICE_LINK.fullmatch(name) or _PORT_LINK.match(environ[name]):
                continue
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)
            found.append((name, near[0] if near else None))
        return found

    @classmethod
    def read(cls, environ: Mapping[str, str], *, to_run: bool = True) -> Self:
        """The settings that an environment gives. Raises ``BadSettings`` with every problem at once.

        An empty value counts as unset. With ``to_run=False`` Slack's secrets may be missing
        (``still_needed`` names them then): what stands there must be right all the same.
        """
        values, problems = _collect(environ, cls.names())
        asked_as = {}
        if "TOBAN_PORT" not in values and environ.get("PORT"):
            values["TOBAN_PORT"] = environ["PORT"]
            asked_as["TOBAN_PORT"] = "PORT"
        problems += _contradictions(values, environ)
        problems += [
            f"{name}: there is no such setting; did you mean {meant}? Correct it, or unset it."
            for name, meant in cls.unknown(environ)
            if meant is not None
        ]
        settings: Self | None = None
        try:
            settings = cls(**values)
        except ValidationError as error:
            problems += [_line(asked_as, cls.names(), found) for found in error.errors(include_url=False)]
        if to_run:
            problems += _missing(values, problems)
        if problems or settings is None:
            raise BadSettings(tuple(problems)) from None
        return settings

    @property
    def database(self) -> str:
        """The URL for SQLAlchemy's asynchronous engine. May hold a password: never log it."""
        scheme, _, rest = self.database_url.get_secret_value().partition("://")
        return f"{DRIVERS[scheme]}://{rest}"

    @property
    def drill_server(self) -> str | None:
        """The URL on which restore drills may create databases. May hold a password: never log it."""
        return None if self.drill_database_url is None else self.drill_database_url.get_secret_value()

    @property
    def drill_sql(self) -> str | None:
        """The URL of the scratch instance's database. May hold a password: never log it."""
        return None if self.drill_sql_url is None else self.drill_sql_url.get_secret_value()

    @property
    def database_shown(self) -> str:
        """The database for human eyes, the password left out."""
        url = re.sub(r"^(\w+://[^:@/]*:).*@", r"\1…@", self.database_url.get_secret_value())
        return re.sub(r"([?&](?:password|sslpassword)=)[^&]*", r"\1…", url, flags=re.IGNORECASE)

    @property
    def is_sqlite(self) -> bool:
        """True where one file holds everything, so that only one replica may run."""
        return self.database.startswith("sqlite")

    @property
    def slack_mode(self) -> Literal["socket", "http"] | None:
        """How Slack reaches us; Socket Mode wins where both are set up."""
        if self.slack_app_token is not None:
            return "socket"
        return "http" if self.slack_signing_secret is not None else None

    @property
    def takes_webhooks(self) -> bool:
        """False where no secret is set: then every webhook is answered with 503."""
        return self.webhook_password is not None or bool(self.webhook_tokens)

    @property
    def still_needed(self) -> tuple[str, ...]:
        """What ``toban run`` would still ask for, one line each. Empty for settings read to run."""
        values = {
            name
            for name, value in (
                ("SLACK_BOT_TOKEN", self.slack_bot_token),
                ("SLACK_SIGNING_SECRET", self.slack_signing_secret),
                ("SLACK_APP_TOKEN", self.slack_app_token),
            )
            if value is not None
        }
        return tuple(_missing(dict.fromkeys(values, ""), ()))

    def secrets(self) -> tuple[str, ...]:
        """Every secret in clear, for the log's redaction only."""
        single = (
            self.slack_bot_token,
            self.slack_signing_secret,
            self.slack_app_token,
            self.webhook_password,
            self.metrics_token,
        )
        found = [
            secret.get_secret_value()
            for secret in (*single, *self.webhook_tokens, *self.backup_identities)
            if secret is not None
        ]
        urls = [
            url.get_secret_value()
            for url in (self.database_url, self.drill_database_url, self.drill_sql_url)
            if url
        ]
        shape = re.compile(r"^\w+://[^:@/]*:(.*)@|[?&](?:ssl)?password=([^&]*)", flags=re.IGNORECASE)
        passwords = [part for url in urls for pair in shape.findall(url) for part in pair if part]
        return (*found, *passwords, *map(unquote, passwords))


def _collect(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """Each name's value from ``NAME`` or from the file that ``NAME_FILE`` points to."""
    values: dict[str, Any] = {}
    problems = []
    for name in names:
        value = environ.get(name) or None
        file = environ.get(f"{name}_FILE") or None
        if value is not None and file is not None:
            problems.append(f"{name}: set as {name} and as {name}_FILE. Keep one of the two.")
            continue
        if file is not None:
            try:
                value = Path(file).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "it is not UTF-8 text"
                problems.append(f"{name}_FILE: {file} cannot be read: {why}. Name a readable text file.")
                continue
            if value == "":
                problems.append(f"{name}_FILE: {file} is empty. Put the value into it, or unset {name}_FILE.")
                continue
        if value is not None and value != value.strip():
            problems.append(f"{name}: it begins or ends with a blank or a line break. Remove it.")
            continue
        if value is not None:
            values[name] = value
    return values, problems


def _contradictions(values: Mapping[str, Any], environ: Mapping[str, str]) -> list[str]:
    """What no field sees alone."""
    problems = []
    user, password = "TOBAN_WEBHOOK_USER", "TOBAN_WEBHOOK_PASSWORD"
    for given, other in ((user, password), (password, user)):
        if given in values and other not in values:
            problems.append(
                f"{other}: missing beside {given}. Set both for Basic authentication, or neither."
            )
    on_sqlite = str(values.get("TOBAN_DATABASE_URL", "sqlite")).startswith("sqlite")
    if environ.get("K_SERVICE") and on_sqlite and values.get("TOBAN_SQLITE_ON_VOLUME") != "1":
        problems.append(
            "TOBAN_DATABASE_URL: SQLite on Cloud Run is lost with each instance. Use postgresql://…, or mount"
            " a volume for the file, run one instance and set TOBAN_SQLITE_ON_VOLUME=1."
        )
    return problems


def _missing(values: Mapping[str, Any], problems: tuple[str, ...] | list[str]) -> list[str]:
    """What Slack needs. A name that is wrong already is not called missing as well."""

    def absent(name: str) -> bool:
        told = any(line.startswith((f"{name}:", f"{name}_FILE:")) for line in problems)
        return name not in values and not told

    missing = []
    if absent("SLACK_BOT_TOKEN"):
        missing.append(
            "SLACK_BOT_TOKEN: not set. Copy your Slack app's bot token (xoxb-…) from OAuth & Permissions."
        )
    if absent("SLACK_SIGNING_SECRET") and absent("SLACK_APP_TOKEN"):
        missing.append(
            "SLACK_APP_TOKEN: not set, nor is SLACK_SIGNING_SECRET. Set the app-level token (xapp-…) for"
            " Socket Mode, or the signing secret for HTTP mode; both stand under Basic Information."
        )
    return missing


def _line(asked_as: Mapping[str, str], names: tuple[str, ...], found: Any) -> str:
    """One line of pydantic's findings, without what was put in."""
    name = str(found["loc"][0])
    assert name in names
    return f"{asked_as.get(name, name)}: {found['msg'].removeprefix('Value error, ')}"
