"""One line of JSON for each thing that happened, as Cloud Logging reads it, and never a secret in it."""

import json
import logging
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from bot.clock import SystemClock
from domain.ports import Clock

FIXED = ("severity", "time", "message")
"""The fields that Cloud Logging takes for its own. A caller's field of that name gets a ``_`` behind it."""

RESERVED = frozenset((*FIXED, "timestamp", "timestampSeconds", "timestampNanos", "httpRequest"))
SPECIAL = "logging.googleapis.com/"

LONGEST = 16_000
"""Characters that a value may have: an entry of Cloud Logging ends at 256 KiB."""

DEEPEST = 6
WIDEST = 200
REDACTED = "[redacted]"

NOTICE = 25
SEVERITIES = (
    (logging.CRITICAL, "CRITICAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARNING"),
    (NOTICE, "NOTICE"),
    (logging.INFO, "INFO"),
    (0, "DEBUG"),
)

_SECRET_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(shape, re.IGNORECASE | re.DOTALL), instead)
    for shape, instead in (
        (r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", REDACTED),
        (r"\b(?:xox[a-z]|xapp)-[\w-]+", REDACTED),
        (r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", rf"\1 {REDACTED}"),
        (r"\bAIza[\w-]{10,}", REDACTED),
        (r"\bya29\.[\w.-]+", REDACTED),
        (r"\beyJ[\w-]+\.[\w-]+\.[\w-]*", REDACTED),
        (r"\b(hooks\.slack\.com/)[^\s\"'<>]+", rf"\1{REDACTED}"),
        (r"(://[^\s:/@]*:)[^\s/@]+@", rf"\1{REDACTED}@"),
        (r"((?:password|passwd|secret|token)=[\"']?)[^\s&\"'<>,;]+", rf"\1{REDACTED}"),
        (r"((?:password|passwd|secret|token)\\?[\"']\s?:\s?\\?[\"'])[^\"']+", rf"\1{REDACTED}"),
    )
)
_SECRET_NAME = re.compile(
    r"passw(or)?d|secret|token|authorization|cookie|api_?key|private_?key", re.IGNORECASE
)
_CONSOLE = {"level": "level_", "exception": "traceback", "stack": "stack_"}
"""Names that the console's renderer would take for its own, and give lines of their own."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(
    *,
    level: str = "INFO",
    form: Literal["json", "console"] = "json",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    clock: Clock | None = None,
) -> None:
    """Send structlog's and the standard library's events through one writer. Call it once, first.

    ``secrets`` are blotted out wherever they stand, beside whatever has the shape of a secret.
    A logger keeps nothing of an earlier call, so that tests may configure again.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    scribe = _Scribe(stream or sys.stdout, form, _known(secrets), clock or SystemClock())
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, scribe.write],
        wrapper_class=type("Logger", (_Logger,), {"least": least}),
        logger_factory=_NameOnly,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler) in {logging.StreamHandler, _FromStandardLibrary}:
            root.removeHandler(handler)
    root.addHandler(_FromStandardLibrary(scribe))
    root.setLevel(least)
    logging.captureWarnings(capture=True)
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL + 1)
    calm = least if least == logging.DEBUG else max(least, logging.WARNING)
    logging.getLogger("apscheduler").setLevel(calm)


class _NameOnly:
    """Stands where structlog expects a logger to wrap; the scribe has written before it is asked."""

    def __init__(self, name: str | None = None, *rest: Any) -> None:
        self.name = name


class _Logger(structlog.BoundLoggerBase):
    """What ``structlog.get_logger()`` gives: no field's name and no level can make a call fail."""

    least = logging.INFO

    def log(self, level: int, event: str, /, *args: Any, **fields: Any) -> None:
        """An event of any level, also of one that has no name."""
        if level < self.least:
            return
        if "event" in fields:
            fields["event_"] = fields.pop("event")
        try:
            self._process_event(_severity(level).lower(), _filled(event, args), fields)
        except structlog.DropEvent:
            return

    def debug(self, event: str, /, *args: Any, **fields: Any) -> None:
        self.log(logging.DEBUG, event, *args, **fields)

    def info(self, event: str, /, *args: Any, **fields: Any) -> None:
        self.log(logging.INFO, event, *args, **fields)

    def notice(self, event: str, /, *args: Any, **fields: Any) -> None:
        """Normal, but worth a look: a start, a stop, a configuration read anew."""
        self.log(NOTICE, event, *args, **fields)

    def warning(self, event: str, /, *args: Any, **fields: Any) -> None:
        self.log(logging.WARNING, event, *args, **fields)

    def error(self, event: str, /, *args: Any, **fields: Any) -> None:
        self.log(logging.ERROR, event, *args, **fields)

    def exception(self, event: str, /, *args: Any, **fields: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self.log(logging.ERROR, event, *args, **{"exc_info": True, **fields})

    def critical(self, event: str, /, *args: Any, **fields: Any) -> None:
        self.log(logging.CRITICAL, event, *args, **fields)


class _FromStandardLibrary(logging.Handler):
    """Takes what other libraries log."""

    def __init__(self, scribe: "_Scribe") -> None:
        super().__init__()
        self._scribe = scribe

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, also where its arguments do not fit its text."""
        event: EventDict = {"event": _filled(record.msg, record.args or ()), "logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        event = structlog.contextvars.merge_contextvars(None, "log", event)
        self._scribe.line(_severity(record.levelno), event)


class _Scribe:
    """Turns an event into its line and writes it."""

    def __init__(
        self, out: TextIO, form: Literal["json", "console"], known: re.Pattern[str] | None, clock: Clock
    ) -> None:
        self._writer = structlog.WriteLogger(out)
        self._known = known
        self._clock = clock
        self._ascii = (getattr(out, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
        self._console = None
        if form == "console":
            self._console = structlog.dev.ConsoleRenderer(
                colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
            )

    def write(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """The last processor of structlog: nothing is left to do after it."""
        if isinstance(logger, _NameOnly) and logger.name:
            event.setdefault("logger", logger.name)
        self.line(method.upper(), event)
        raise structlog.DropEvent

    def line(self, severity: str, event: EventDict) -> None:
        """Write one event. Never raises: work does not end because it cannot be told."""
        message = event.get("event", "")
        try:
            text = self._text(self._fields(severity, event))
        except Exception as error:  # noqa: BLE001  # Whatever a foreign object does while it is looked at.
            unsaid = type(error).__name__
            text = self._text(self._fields(severity, {"event": _str(message), "log_failed": unsaid}))
        try:
            self._writer.msg(text)
        except (OSError, ValueError):
            return  # The stream is gone. There is nowhere left to say it.

    def _fields(self, severity: str, event: EventDict) -> dict[str, Any]:
        """The entry: our fields first, then the caller's, plain and clean."""
        fields: dict[str, Any] = {
            "severity": severity,
            "time": self._clock.now().isoformat(),
            "message": self._plain(event.pop("event", ""), 0),
        }
        event = structlog.processors.format_exc_info(None, "log", event)
        trace = event.pop("trace", None)
        for name, value in event.items():
            key = f"{name}_" if name in RESERVED or name.startswith(SPECIAL) else name
            fields[self._clean(key)] = self._named(key, value, 0)
        if trace is not None:
            fields[f"{SPECIAL}trace"] = self._plain(trace, 0)
        return fields

    def _text(self, fields: dict[str, Any]) -> str:
        """JSON escapes line breaks itself, but not those that only Unicode knows."""
        if self._console is None:
            text = json.dumps(fields, ensure_ascii=self._ascii, allow_nan=False)
            return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        shown = {_CONSOLE.get(name, _one_line(name)): _one_line(value) for name, value in fields.items()}
        shown["timestamp"] = shown.pop("time")
        shown["level"] = shown.pop("severity").lower()
        shown["event"] = shown.pop("message")
        return str(self._console(None, "log", shown))

    def _named(self, name: str, value: Any, depth: int) -> Any:
        """A value under its name: the name alone can say that it is a secret."""
        if isinstance(value, Sequence) and _SECRET_NAME.search(name):
            return REDACTED
        return self._plain(value, depth)

    def _plain(self, value: Any, depth: int) -> Any:
        """Something that JSON can say: anything else as it shows itself, cut where it is too long."""
        match value:
            case Enum():
                return self._plain(value.value, depth)
            case str():
                return self._clean(value)
            case bool() | None:
                return value
            case int() if abs(value) < 2**63:
                return value
            case float() if math.isfinite(value):
                return value
            case datetime() | date():
                return value.isoformat()
            case bytes() | bytearray():
                return self._clean(_repr(value))
            case Mapping() if depth < DEEPEST:
                few = list(value.items())[:WIDEST]
                return {self._clean(_str(key)): self._named(_str(key), one, depth + 1) for key, one in few}
            case Sequence() | set() | frozenset() if depth < DEEPEST:
                return [self._plain(one, depth + 1) for one in list(value)[:WIDEST]]
            case _:
                return self._clean(_repr(value))

    def _clean(self, text: str) -> str:
        """Without secrets, without what UTF-8 cannot carry, and not endless."""
        text = _cut(text, 4 * LONGEST).encode("utf-8", "backslashreplace").decode()
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        for shape, instead in _SECRET_SHAPES:
            text = shape.sub(instead, text)
        return _cut(text, LONGEST)


def _severity(level: int) -> str:
    """Cloud Logging's word for a level of the standard library, named or not."""
    return next((name for least, name in SEVERITIES if level >= least), "DEBUG")


def _filled(event: Any, args: Any) -> str:
    """The text with its arguments; beside them where they do not fit."""
    text = _str(event)
    if not args:
        return text
    try:
        return str(text % args)
    except Exception:  # noqa: BLE001  # Whatever a foreign object's __str__ does.
        return f"{text} {_repr(args)}"


def _known(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """One pattern for the secrets that we hold. A short one would blot out words."""
    longest_first = sorted({secret for secret in secrets if len(secret) >= 6}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # Whatever a foreign object's __repr__ does.
        return f"<{type(value).__name__} that cannot be shown>"


def _str(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # Whatever a foreign object's __str__ does.
        return _repr(value)


def _cut(text: str, longest: int) -> str:
    """The beginning and the end, where a traceback says what it was."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


def _one_line(value: Any) -> Any:
    """Text that can neither move a terminal's cursor nor begin a line that looks like another entry."""
    if not isinstance(value, str):
        return value
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], value.replace("\n", " | "))
