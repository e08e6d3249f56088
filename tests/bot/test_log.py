"""What the program says of itself: one line of JSON for each event, never a secret, whatever it is given."""

import io
import json
import logging
import warnings
from datetime import UTC, datetime
from enum import StrEnum

import pytest
import structlog

from bot import log

CANARY = "cAnArY0123456789abcdef"


class StoppedClock:
    def now(self):
        return datetime(2026, 4, 1, 3, 0, tzinfo=UTC)

    def monotonic(self):
        return 0.0


class Unshowable:
    def __repr__(self):
        raise RuntimeError

    __str__ = __repr__


class Hostile(dict[str, int]):
    def items(self):
        raise ZeroDivisionError


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.fixture
def configured():
    """Configures the log as a test wants it, and afterwards leaves no trace in the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configure(**options):
        out = options.pop("stream", None) or io.StringIO()
        log.configure(stream=out, clock=StoppedClock(), **options)
        return out

    yield configure
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("aiohttp.access", "apscheduler"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def out(configured):
    return configured(secrets=[CANARY])


def lines(out):
    return [json.loads(line) for line in out.getvalue().split("\n") if line]


def library():
    """Somebody else's logger, heard by our handler alone: pytest's own raises where ours copes."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__ == log.__name__]
    return logging.getLogger("library")


def only(out):
    (line,) = lines(out)
    return line


def test_information_is_written_without_any_further_set_up(out):
    """Seed defect 22: without a handler and a level, INFO was dropped."""
    structlog.get_logger().info("incident.acknowledged", incident=7)
    logging.getLogger("some.library").info("connected")
    own, foreign = lines(out)
    assert own == {
        "severity": "INFO",
        "time": "2026-04-01T03:00:00+00:00",
        "message": "incident.acknowledged",
        "incident": 7,
    }
    assert (foreign["message"], foreign["logger"]) == ("connected", "some.library")


def test_the_time_has_its_zone(out):
    """Seed defect 23: the naive time of utcnow() says nothing about its zone."""
    structlog.get_logger().info("started")
    assert datetime.fromisoformat(only(out)["time"]).tzinfo is not None


def test_the_fields_are_those_that_cloud_logging_takes_for_its_own(out):
    """Seed defect 24: `timestamp` and `trace_id` are not special; `time` and the trace's long name are."""
    structlog.get_logger().warning("slow", trace="projects/p/traces/abc")
    line = only(out)
    assert list(line)[:3] == ["severity", "time", "message"]
    assert line["severity"] == "WARNING"
    assert line["logging.googleapis.com/trace"] == "projects/p/traces/abc"
    assert "trace" not in line


def test_a_caller_cannot_override_the_fixed_fields(out):
    """Seed defect 25: keyword arguments overrode severity and timestamp."""
    forged = {
        "severity": "DEBUG",
        "time": "1970-01-01",
        "message": "nothing",
        "timestamp": {"seconds": 0},
        "event": "other",
        "logging.googleapis.com/insertId": "x",
        "self": "me",
        "level": "critical",
        "method_name": "m",
    }
    structlog.get_logger().error("alert.received", **forged)
    line = only(out)
    assert (line["severity"], line["time"], line["message"]) == (
        "ERROR",
        "2026-04-01T03:00:00+00:00",
        "alert.received",
    )
    assert (line["severity_"], line["time_"], line["message_"], line["event_"]) == (
        "DEBUG",
        "1970-01-01",
        "nothing",
        "other",
    )
    assert "timestamp" not in line
    assert "logging.googleapis.com/insertId" not in line
    assert line["level"] == "critical"


def test_what_json_cannot_say_is_shown_and_never_crashes(out):
    """Seed defect 26: a value that JSON does not know raised TypeError in the middle of a request."""

    class Colour(StrEnum):
        RED = "red"

    knot: list[object] = []
    knot.append(knot)
    structlog.get_logger().info(
        "odd",
        thing=object,
        bad=Unshowable(),
        nan=float("nan"),
        infinite=float("-inf"),
        when=datetime(2026, 4, 1, tzinfo=UTC),
        data=b"\xff",
        colour=Colour.RED,
        names={"a"},
        nested={1: {Unshowable(): (Unshowable(),)}},
        knot=knot,
        surrogate="\ud800",
        huge=10**5000,
        long="x" * 1_000_000,
    )
    out.getvalue().encode()
    line = only(out)
    assert (line["nan"], line["infinite"]) == ("nan", "-inf")
    assert line["bad"] == "<Unshowable that cannot be shown>"
    assert (line["colour"], line["names"], line["data"]) == ("red", ["a"], "b'\\xff'")
    assert (line["surrogate"], line["huge"]) == ("\\ud800", "<int that cannot be shown>")
    assert len(line["long"]) < 20_000


def test_an_event_that_cannot_be_looked_at_leaves_its_name_and_the_reason(out):
    structlog.get_logger().warning("odd", thing=Hostile())
    line = only(out)
    assert (line["severity"], line["message"], line["log_failed"]) == ("WARNING", "odd", "ZeroDivisionError")


def test_levels_without_a_name_are_written_with_the_next_lower_severity(out):
    """Seed defect 27: getattr(logging, "NOTICE") raised AttributeError."""
    own = structlog.get_logger()
    own.notice("policy.read")
    own.log(33, "odd")
    own.log(-1, "too quiet")
    logging.getLogger("library").log(log.NOTICE, "noticed")
    assert [line["severity"] for line in lines(out)] == ["NOTICE", "WARNING", "NOTICE"]


def test_a_level_below_the_chosen_one_is_left_out(configured):
    out = configured(level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    structlog.get_logger().critical("loud")
    assert only(out)["severity"] == "CRITICAL"


@pytest.mark.parametrize("text", ['a\n{"severity":"INFO"}', "a\r\nb", "a\u2028b\u2029c\x85d", "\x1b[31m\x00"])
def test_text_from_outside_stays_on_its_line(out, text):
    structlog.get_logger().info(text, title=text, **{text: text})
    logging.getLogger("library").info("%s", text)
    assert len(out.getvalue().splitlines()) == 2
    assert [line["message"] for line in lines(out)] == [text, text]


SECRETS = [
    f"xoxb-1234-{CANARY}",
    f"xoxp-{CANARY}",
    f"xapp-1-A0-{CANARY}",
    f"xoxe.xoxb-1-{CANARY}",
    f"Authorization: Bearer {CANARY}",
    f"authorization: basic {CANARY}==",
    f"AIza{CANARY}",
    f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
    f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}",
    f"/webhooks/cloud-monitoring?a=b&auth_token={CANARY}&c=d",
    f"host=db password={CANARY}",
    f'{{"password": "{CANARY}"}}',
    f"postgresql://toban:{CANARY}@db/toban",
    f"https://hooks.slack.com/services/T0/B0/{CANARY}",
    f"ya29.{CANARY}",
    f"eyJhbGciOi.{CANARY}.{CANARY}",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["json", "console"])
def test_what_looks_like_a_secret_is_blotted_out_on_every_path(configured, secret, form):
    out = configured(form=form)
    own, foreign = structlog.get_logger(), library()
    own.info(secret, note=secret, deep=[{"x": (secret,)}], thing=ValueError(secret), raw=secret.encode())
    own.bind(bound=secret).info("bound", **{secret: 1})
    foreign.warning("calling %s", secret)
    foreign.warning("%d wrong", secret)
    try:
        {}[secret]
    except KeyError:
        own.exception("failed")
        foreign.exception("failed")
    assert CANARY not in out.getvalue()
    assert log.REDACTED in out.getvalue()


@pytest.mark.parametrize("name", ["password", "webhook_tokens", "client_secret", "Authorization", "cookie"])
def test_a_field_named_like_a_secret_keeps_its_name_only(configured, name):
    out = configured()
    structlog.get_logger().info("x", **{name: CANARY}, headers={name: [CANARY]})
    assert CANARY not in out.getvalue()
    assert only(out)[name] == log.REDACTED


def test_a_count_named_like_a_secret_is_kept(out):
    structlog.get_logger().info("read", webhook_tokens=2)
    assert only(out)["webhook_tokens"] == 2


def test_a_known_secret_is_blotted_out_whatever_it_looks_like(out):
    structlog.get_logger().info("called", path=f"/x/{CANARY}/y")
    assert only(out)["path"] == "/x/[redacted]/y"


def test_what_is_no_secret_is_left_alone(out):
    text = "GET https://api.bondpoint.example:443/v1/users/3?page=2#a@b took 5 s; 当番は佐藤さん"
    structlog.get_logger().info("checked", text=text)
    assert only(out)["text"] == text


def test_an_exception_is_one_entry_with_its_traceback(out):
    try:
        int("x")
    except ValueError:
        structlog.get_logger().exception("parse.failed")
    line = only(out)
    assert line["severity"] == "ERROR"
    assert line["exception"].startswith("Traceback")
    assert "invalid literal for int()" in line["exception"]


def test_the_end_of_a_long_traceback_is_kept(out):
    structlog.get_logger().info("long", exc_info=ValueError("x" * 100_000 + " the end"))
    assert only(out)["exception"].endswith(" the end")


def test_bound_context_is_on_every_line(out):
    structlog.contextvars.bind_contextvars(delivery=12)
    structlog.get_logger("handlers").info("a")
    logging.getLogger("library").info("b")
    assert [line["delivery"] for line in lines(out)] == [12, 12]
    assert lines(out)[0]["logger"] == "handlers"


def test_arguments_that_do_not_fit_their_text_are_written_beside_it(out):
    library().info("%d of %d", *"x")
    structlog.get_logger().info("%s is %d", "one", 1)
    structlog.get_logger().info("%d", Unshowable())
    library().error(ValueError("as it says itself"))
    assert [line["message"] for line in lines(out)][:2] == ["%d of %d ('x',)", "one is 1"]
    assert lines(out)[2]["message"].startswith("%d ")
    assert lines(out)[3]["message"] == "as it says itself"


def test_access_lines_are_off_and_warnings_are_entries(out):
    logging.getLogger("aiohttp.access").error("GET /webhooks?auth_token=1")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
    assert "old" in only(out)["message"]
    assert only(out)["logger"] == "py.warnings"


def test_work_goes_on_when_the_stream_is_gone(configured):
    configured(stream=Gone())
    structlog.get_logger().info("unheard")
    logging.getLogger("library").info("unheard")


def test_a_stream_that_knows_no_utf8_still_gets_json(configured):
    raw = io.BytesIO()
    configured(stream=io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    structlog.get_logger().info("当番 é 😀")
    assert json.loads(raw.getvalue())["message"] == "当番 é 😀"


def test_configuring_again_does_not_double_the_lines(configured):
    configured()
    out = configured()
    logging.getLogger("library").info("once")
    only(out)


def test_the_console_form_is_one_line_for_a_person(configured):
    out = configured(form="console")
    structlog.get_logger().info("alert.received", level="critical", title="a\n\x1b[31mb")
    (line,) = out.getvalue().splitlines()
    assert line.startswith("2026-04-01T03:00:00+00:00 [info     ] alert.received")
    assert "level_=critical" in line
    assert "\\x1b" in line


HOSTILE = "a\r\nFORGED\x1b[31m\u2028b\u2029c\x85d\x0be\x0cf\x1cg"


class HostileShown:
    def __repr__(self):
        return HOSTILE

    __str__ = __repr__


def fail_with(text):
    try:
        raise ValueError(text)  # noqa: TRY301
    except ValueError:
        structlog.get_logger().exception("failed")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "say",
    [
        lambda: structlog.get_logger().info(HOSTILE),
        lambda: structlog.get_logger().info("said", value=HOSTILE),
        lambda: structlog.get_logger().info("said", **{HOSTILE: 1}),
        lambda: structlog.get_logger().info("said", value=[HOSTILE, {HOSTILE: HOSTILE}]),
        lambda: structlog.get_logger().info("said", value=HostileShown()),
        lambda: structlog.get_logger().info("said", exception=HOSTILE, stack=HOSTILE),
        lambda: structlog.get_logger(HOSTILE).info("said"),
        lambda: fail_with(HOSTILE),
        lambda: library().warning("said %s", HOSTILE),
        lambda: library().getChild(HOSTILE).warning("said"),
    ],
)
def test_13_15_whatever_is_logged_stays_on_one_line(configured, form, say):
    out = configured(form=form)
    say()
    written = out.getvalue()
    assert written.endswith("\n")
    assert len(written.splitlines()) == 1
    assert "\x1b" not in written
