"""Every text exists in both languages, is complete, and fits where it is shown."""

import ast
import re
import string
from pathlib import Path

import pytest

from domain.alerts import AlertStatus, Ending, LinkKind
from domain.approvals import Standing
from domain.backups import Stage as BackupStage
from domain.deploys import Skip
from domain.drills import DrillState
from domain.evidence import Doubt, Flaw
from domain.findings import Verdict
from domain.images import ImageTrouble, ReferenceFault
from domain.incidents import IncidentStatus
from domain.indicators import INDICATORS
from domain.origins import Origin
from domain.plans import Field, Risk, Warn
from domain.policy import Channels, Level, Means, Severity
from domain.retention import Standing as Kept
from domain.retention import Why
from domain.rollouts import Kind, Stage
from domain.verdict import Reason
from handlers.refusals import WayOut
from jobs import NAMES
from notify.texts import LOCALES, MissingText, catalogue, language, voice

ROOT = Path(__file__).parents[2]
SPOKEN_IN = ("bot", "handlers", "jobs", "operations", "domain", "storage", "notify")
WORDS = {
    "level": Level,
    "severity": Severity,
    "means": Means,
}
WATCHED = (
    *("above", "below", "week_ago", "inactive", "silent", "recovered", "retired", "burning", "burned"),
)
"""What ``domain.thresholds``, ``objectives`` and ``standing`` put together into keys."""

GROWING = ("users", "storage", "connections", "instances")
HOLDING = ("lock", "freeze", "incident")
DONE_TO_IT = ("paused", "resumed", "waits", "aborted", "cancelled", "promoted")
SURE = (
    *("approve_deploy", "approve_rollback", "reject", "promote", "roll_back", "cancel_deploy"),
    *("cancel_rollback", "undo_rollback"),
)
NOT_TEXTS = {"list.separator"}


WAYS = ("added", "removed", "changed")


def fields_of(message: str) -> set[tuple[str, str]]:
    return {(name, spec or "") for _, name, spec, _ in string.Formatter().parse(message) if name}


def literals() -> set[str]:
    found: set[str] = set()
    for folder in SPOKEN_IN:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return found


def words() -> set[str]:
    made = {f"{kind}.{member.value}" for kind, enum in WORDS.items() for member in enum}
    made |= {f"status.{member.value}" for enum in (AlertStatus, IncidentStatus) for member in enum}
    made |= {f"watch.{what}.{part}" for what in WATCHED for part in ("title", "summary")}
    made |= {f"probe.{what}.{part}" for what in ("failing", "answering") for part in ("title", "summary")}
    made |= {f"alert.{what}.{part}" for what in ("no_data", "query_error") for part in ("title", "summary")}
    made |= {f"link.{kind.value}" for kind in LinkKind}
    odd = ("odd", "hour", "rare", "stuck", "over")
    made |= {f"anomaly.{what}.{part}" for what in odd for part in ("title", "summary")} | {"direction.stuck"}
    made |= {"probe.failing_with.summary", "capacity.flat", "capacity.grows", "capacity.falls"}
    made |= {f"{kind}.{verdict.value}" for kind in ("anomaly", "button") for verdict in Verdict}
    made |= {f"metric.{key}" for key in (*INDICATORS, *GROWING)}
    made |= {f"direction.{way}" for way in ("up", "down")} | {f"work.{name}" for name in NAMES}
    made |= {f"stage.{stage.value}" for stage in Stage} | {f"change.{field.value}" for field in Field}
    made |= {f"risk.{risk.value}" for risk in Risk} | {f"rollout.variables_{way}" for way in WAYS}
    ways_to_end = {"recovered", "closed_not_recovered"} | {f"closed_{one.value}" for one in Ending}
    made |= {f"{kind}.{way}" for kind in ("note", "outcome") for way in ways_to_end}
    made |= {"rollout.secrets_added", "rollout.secrets_removed"}
    made |= {f"warn.{warning.value}" for warning in Warn if warning is not Warn.FEW_REQUESTS}
    made |= {f"reason.{reason.value}" for reason in Reason if reason is not Reason.STILL_BAKING}
    made |= {f"refused.account_{why.value}" for why in Standing}
    made |= {f"rollout.image_{trouble.value}" for trouble in ImageTrouble}
    made |= {f"rollout.kind_{kind.value}" for kind in Kind} | {f"rollout.held_{what}" for what in HOLDING}
    made |= {f"{said}_{what}" for said in ("rollout.note", "answer.rollout") for what in DONE_TO_IT}
    made |= {f"{kind}.{name}" for kind in ("button", "confirm") for name in SURE}
    made |= {f"image.{fault.value}" for fault in ReferenceFault}
    made |= {f"drift.{what}" for what in ("baseline", "generation", "template", "etag")}
    made |= {f"skip.{skip.value}" for skip in Skip if skip is not Skip.APPROVAL}
    made |= {f"origin.{part}" for part in Origin.model_fields}
    made |= {f"drill_state.{one.value}" for one in DrillState}
    made |= {f"backup_standing.{one.value}" for one in Kept} | {f"retention.{why.value}" for why in Why}
    made |= {f"backup.part_{stage.value}" for stage in BackupStage} | {"backup.stays", "backup.goes"}
    made |= {f"backup.flaw_{flaw.value}" for flaw in Flaw} | {
        f"backup.doubt_{doubt.value}" for doubt in Doubt
    }
    made |= {f"backup.{span}_{way}" for span in ("week", "month") for way in ("more", "less", "same")}
    made |= {f"rollout.p_{what}_open" for what in ("threshold", "stable")}
    made |= {f"drill.part_{stage.value}" for stage in BackupStage}
    made |= {f"signal.backup_{what}" for what in ("late", "missed", "failed", "suspicious", "rotten")}
    made |= {f"signal.backup_{what}_second" for what in ("why", "rotten_why")}
    made |= {f"signal.body_refused_{way_out}" for way_out in WayOut}
    return made | {f"place.{place}" for place in Channels.model_fields}


def test_both_languages_have_the_same_texts():
    assert set(catalogue("en")) == set(catalogue("ja"))


@pytest.mark.parametrize("key", sorted(catalogue("en")))
def test_a_text_names_the_same_parameters_in_both_languages(key):
    assert fields_of(catalogue("en")[key]) == fields_of(catalogue("ja")[key])


def test_every_text_in_the_code_exists_and_every_text_is_used():
    known = set(catalogue("en"))
    prefixes = {key.partition(".")[0] for key in known}
    spoken = {
        text
        for text in literals()
        if text.count(".") == 1
        and not text.endswith((".", "_"))  # The beginning of a key that is put together.
        and text.partition(".")[0] in prefixes
        and text.replace(".", "").replace("_", "").isalnum()
    }
    timeline_and_ids = {
        text
        for text in spoken - known
        if text.partition(".")[0] in {"incident", "alert", "page", "outbox", "finding", "watch"}
    }
    missing = spoken - known - timeline_and_ids
    assert missing == set()
    assert known - spoken - words() - NOT_TEXTS == set()


def test_every_word_of_a_closed_set_is_translated():
    for locale in LOCALES:
        assert words() <= set(catalogue(locale))


def test_japanese_is_japanese():
    same = {
        key
        for key in catalogue("ja")
        if catalogue("ja")[key] == catalogue("en")[key] and catalogue("ja")[key].isascii()
    }
    assert same <= {
        "anomalies.said",
        "form.declare_pages",
        "incident.named",
        "incident.duration",
        "picture.anomaly",
        *("backup.part_going", "backup.size", "backup.took", "backup.fallback", "backup.when"),
        *("backup.plan_name", "backup.lies_in", "drill.from", "backup.part_done_one"),
        *("rollout.head", "rollout.fallback", "rollout.line", "rollout.locked_because", "change.cpu"),
        *(
            "alert.said",
            "means.slack",
            "means.sms",
            "show.when",
            "alert.fallback",
            "health.gauge",
            "capacity.service",
        ),
    }


JAPANESE = "[ぁ-んァ-ヶー一-龠々]"
CODE, SLOT = r"`[^`]*`", r"\{\w+(?::(?:time|when|day|amount|markup))?\}"
"""Code, and a parameter that begins and ends in Latin letters or digits."""


def oddities(text: str) -> list[str]:
    """What is not in the style of the Japanese catalogue."""
    prose = re.sub(r"\{[^}]*\}|https?://\S+", "§", re.sub(CODE, "⌘", text))
    prose = re.sub(r":[a-z_]+:", "", prose)
    found = re.findall(r"[()?!,;](?!\d)|:(?!\d)", prose)
    found += re.findall(rf"{JAPANESE} +(?:は|が|を|に|の|で|と|も|へ|から|まで)(?!\w)", prose)
    found += re.findall(rf"{JAPANESE}⌘|⌘{JAPANESE}", prose)
    found += re.findall(rf"{JAPANESE}{SLOT}|{SLOT}{JAPANESE}", re.sub(CODE, "", text))
    for bold in re.finditer(r"\*[^*]+\*", prose):  # Slack wants blanks around its marks.
        before, after = prose[: bold.start()][-1:], prose[bold.end() :][:1]
        found += [bold[0]] * (before not in {"", " ", "\n"} or after not in {"", " ", "\n"})
    return found + re.findall("さん|発報中", text)


@pytest.mark.parametrize("key", sorted(catalogue("ja").keys() - {"list.person"}))
def test_japanese_has_one_way_to_punctuate_and_to_name_people(key):
    """14.8, user 29: full-width marks, one blank around codes, names and numbers, people by ``:person``."""
    text = catalogue("ja")[key]
    assert not re.search(JAPANESE, text) or oddities(text) == [], text


@pytest.mark.parametrize("locale", LOCALES)
def test_every_text_can_be_said_with_hostile_parameters(locale):
    evil = "<!channel> *x* <http://evil.example|click> `y` & {key}"
    for key, message in catalogue(locale).items():
        params = {}
        for name, spec in fields_of(message):
            params[name] = {
                "time": 1_795_309_200,
                "when": 1_795_309_200,
                "day": 1_795_309_200,
                "people": [evil, evil],
                "metrics": [evil, "latency"],
                "amount": [1234.5, "seconds"],
                "span": 98_765,
                "rarity": 4.6,
                "mentions": [evil, "U0AYA"],
                "card": {"posted": {"channel_id": "C1", "ts": "1.2"}, "title": evil},
            }.get(spec, evil)
            if spec == "markup":
                params[name] = "safe"
        said = voice(locale)(key, **params)
        assert "<!channel" not in said
        assert "|click>" not in said
        if key.partition(".")[0] in {"note", "ops", "refused", "answer", "ladder", "outcome"}:
            assert len(said) <= 3000


def test_a_text_without_its_parameter_is_an_error_and_not_a_gap():
    with pytest.raises(MissingText):
        voice("en")("note.acknowledged", who="kenji")


def test_an_unknown_text_is_an_error():
    with pytest.raises(MissingText):
        voice("en")("note.never_written")


@pytest.mark.parametrize(
    ("given", "spoken"),
    [
        ("ja-JP", "ja"),
        ("ja", "ja"),
        ("en-US", "en"),
        ("en-GB", "en"),
        ("fr-FR", "ja"),
        (None, "ja"),
        ("", "ja"),
    ],
)
def test_a_locale_we_do_not_speak_falls_back_to_the_channels_language(given, spoken):
    assert language(given, "ja") == spoken
