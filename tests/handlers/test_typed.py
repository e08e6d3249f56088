"""One reader for what people type: marks, blanks, quotes, widths and orders never change what is meant."""

from collections.abc import Callable
from datetime import timedelta
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.effects import Subject, SubjectKind
from domain.errors import Refused
from domain.policy import Severity
from handlers import declared, deploy_words
from handlers.commands import DEPLOY, INCIDENT, TOBAN, Command, read
from handlers.incidents import read_incident
from handlers.numbers import named_in, take_number
from handlers.typed import Line, length, normal, said

P0, P1, P2, P3 = Severity
DOWN = "API is down"


def declare(text: str) -> tuple[Severity | None, str]:
    """What ``/incident declare TEXT`` is read as."""
    typed = read(INCIDENT, f"declare {text}")
    assert typed.verb == "declare"
    return tuple(declared.read(typed.line))


# Severities and titles: cases 15 and 17, user 3.

MEANT: tuple[tuple[str, Severity | None, str], ...] = (
    ("P1 API is down", P1, DOWN),
    ("P1\u00a0API is down", P1, DOWN),
    ("P1\u3000APIが落ちた", P1, "APIが落ちた"),
    ("\u3000Ｐ１ APIが落ちた\u3000", P1, "APIが落ちた"),
    ("p0: x", P0, "x"),
    ("P1:API is down", P1, DOWN),
    ("P1：APIが落ちた", P1, "APIが落ちた"),
    ("P1、APIが落ちた", P1, "APIが落ちた"),
    ("P1障害発生", P1, "障害発生"),
    ("“P1” x", P1, "x"),
    ("[P1] x", P1, "x"),
    ("［Ｐ１］x", P1, "x"),
    ("【P0】APIが落ちた", P0, "APIが落ちた"),
    ("*P1* API is down", P1, DOWN),
    ("*P1 API is down*", P1, DOWN),
    ("`P1` API is down", P1, DOWN),
    ("~_P1_~ API is down", P1, DOWN),
    ("“P1 API is down”", P1, DOWN),
    ("(P1) API is down (again)", P1, "API is down (again)"),
    ("(P1 API is down (again))", P1, "API is down (again)"),
    ("P1 - API is down", P1, DOWN),
    ("P1 — API is down", P1, DOWN),
    ("P1 : API is down", P1, DOWN),
    ("P1\u200bAPI is down", P1, DOWN),
    ("\u200bP\u200b1 API is down", P1, DOWN),
    ("P1\u2028API is down\n", P1, DOWN),
    ("&gt; P1 API is down", P1, DOWN),
    ("• P1 API is down", P1, DOWN),
    (":fire: P1: API is down", P1, DOWN),
    ("🔥 P1 API is down", P1, DOWN),
    ("Р1 API is down", P1, DOWN),  # The letter of a Russian keyboard.
    ("SEV1 x", P1, "x"),
    ("sev-0: x", P0, "x"),
    ("sev 2 x", P2, "x"),
    ("SEV　３ x", P3, "x"),
    ("severity 1: x", P1, "x"),
    ("severity: critical API is down", P1, DOWN),
    ("重大度1 APIが落ちた", P1, "APIが落ちた"),
    ("S0 x", P0, "x"),
    ("[S3] x", P3, "x"),
    ("critical API is down", P1, DOWN),
    ("CRITICAL: API is down", P1, DOWN),
    ("[Critical] API is down", P1, DOWN),
    ("emergency!! API is down", P0, DOWN),
    ("緊急：APIが落ちた", P0, "APIが落ちた"),
    ("緊急 APIが落ちた", P0, "APIが落ちた"),
    ("【重大】APIが落ちた", P1, "APIが落ちた"),
    ("minor: typo", P3, "typo"),
    ("high: latency", P1, "latency"),
    ("API is down P1", P1, DOWN),
    ("API is down (P1)", P1, DOWN),
    ("API is down: sev1!", P1, DOWN),
    ("APIが落ちた【緊急】", P0, "APIが落ちた"),
    ("P1 P1 API is down", P1, DOWN),
    ("P1 failing over to P2", P1, "failing over to P2"),
    ("P2: P1 printer is on fire", P2, "P1 printer is on fire"),
    # No severity is said: these words belong to the title.
    ("API is down", None, DOWN),
    ("High latency", None, "High latency"),
    ("low disk space", None, "low disk space"),
    ("P99 latency is 3 s", None, "P99 latency is 3 s"),
    ("P2P sync is down", None, "P2P sync is down"),
    ("Fatal error: out of memory", None, "Fatal error: out of memory"),
    ("Error: connection refused", None, "Error: connection refused"),
    # Titles stay as they were typed.
    ("P1 users can't log in", P1, "users can't log in"),
    ("P1 it’s  “down”", P1, "it’s  “down”"),
    ('P1 "API" is *down*', P1, '"API" is *down*'),
    ("P1 -5 % sales", P1, "-5 % sales"),
    ("P1 ＡＰＩ　停止", P1, "ＡＰＩ　停止"),
    ("P1 a &lt;b&gt; &amp;amp; c", P1, "a <b> &amp; c"),
    ("P1 ask &lt;@U1|x&gt;", P1, "ask <@U1|x>"),
    ("P1 ask <@U123|kenji>さん in <#C1|ops>", P1, "ask @kenjiさん in #ops"),
    ("P1 <http://api.example.com|api.example.com> is down", P1, "api.example.com is down"),
    ("P1 <https://x.example/a>", P1, "https://x.example/a"),
    ("P1 see <https://x.example/a|the runbook>", P1, "see the runbook (https://x.example/a)"),
    # A severity alone opens the form with it.
    ("P1", P1, ""),
    ("“Ｐ１”：", P1, ""),
    ("critical", P1, ""),
    ("警告", P2, ""),
)


@pytest.mark.parametrize(("text", "severity", "title"), MEANT)
def test_a_declaration_is_read_as_meant_case_15_user_3(
    text: str, severity: Severity | None, title: str
) -> None:
    assert declare(text) == (severity, title)


ASKED_BACK = (
    *("P4 x", "p9: x", "[P4] x", "SEV9 x", "sev 10 x", "API is down (P7)", "API is down SEV4"),
    *("P1/P2 x", "P1 P2 x", "P1 or P2 x", "P1-P2 x", "P1→P2 x", "P0-P3 x", "critical P3 x"),
    *("moved to P1", "API P1 is down", "APIがP1で落ちた", "P1's queue", "P3 API is down [P1]"),
    *("S3 is down", "緊急メンテナンスが失敗", "API is down, critical", "the disk: urgent"),
)


@pytest.mark.parametrize("text", ASKED_BACK)
def test_an_unknown_or_unclear_severity_is_asked_back_user_3(text: str) -> None:
    with pytest.raises(Refused) as refused:
        declare(text)
    assert refused.value.key in {"refused.unknown_severity", "refused.unclear_severity"}


# Verbs and numbers: case 15, user 2.

ACKNOWLEDGED = (
    *(
        "ack INC-7",
        "ack\u00a0INC-7",
        "ACK　ＩＮＣ－７",
        "ack\u200bINC-7",
        "ack: inc 7",
        "*ack* `INC-7`",
        "ack #7",
    ),
    *(
        "“ack INC-7”",
        "ack [INC-7].",
        "ack INC‑7",
        "ack INC–7",
        "ack INCー7",
        "ack INC007",
        "ack 7",
        "acknowledge 7",
    ),
    *(
        "ack incident 7",
        "ack インシデント７",
        "INC-7 ack",
        "inc-7: ack",
        "ack INC-7 can't look sooner",
        "_ack_ (7)",
    ),
    *(
        "ack <https://x.slack.com/archives/C1/p1|INC-7>",
        "ack:INC-7",
        "ack INC-7！",
        "ack 【INC-7】",
        "ack\tINC-7\n",
    ),
)


@pytest.mark.parametrize("text", ACKNOWLEDGED)
def test_an_acknowledgement_is_read_as_meant_case_15(text: str) -> None:
    typed = read_incident(text)
    subject = typed.subject or take_number(typed.line, SubjectKind.INCIDENT)
    assert (typed.verb, subject) == ("ack", Subject(kind=SubjectKind.INCIDENT, id=7))


@pytest.mark.parametrize(
    ("text", "number", "summary"),
    [
        ("INC-99: fixed", 99, "fixed"),
        ("INC-99\u3000fixed", 99, "fixed"),
        ("INC‑99, fixed: it’s back", 99, "fixed: it’s back"),
        ("*INC-99* can't happen again", 99, "can't happen again"),
        ("[99] fixed", 99, "fixed"),
        ("I\u200bNC-99 fixed", 99, "fixed"),
        ("10:32 rolled back", None, "10:32 rolled back"),
        ("503s are gone", None, "503s are gone"),
        ("5% of users were hit", None, "5% of users were hit"),
        ("10,000 requests were lost", None, "10,000 requests were lost"),
        ("3分で復旧", None, "3分で復旧"),
    ],
)
def test_a_number_and_a_summary_are_told_apart_user_2(text: str, number: int | None, summary: str) -> None:
    line = read_incident(f"resolve {text}").line
    subject = take_number(line, SubjectKind.INCIDENT)
    assert (subject and subject.id, line.rest()) == (number, summary)


@pytest.mark.parametrize(
    "text", ["fixed INC-99", "fixed, inc 99 that is", "INC-99a fixed", "see incident #99"]
)
def test_a_number_inside_a_summary_is_noticed_user_2(text: str) -> None:
    line = Line(text)
    assert take_number(line, SubjectKind.INCIDENT) is None
    assert named_in(line.left, SubjectKind.INCIDENT)


def test_a_number_that_is_too_long_is_no_other_one_user_2() -> None:
    with pytest.raises(Refused, match="unknown_incident"):
        take_number(Line("INC-99999999999 fixed"), SubjectKind.INCIDENT)


@pytest.mark.parametrize(
    ("command", "text", "verb"),
    [
        (INCIDENT, "宣言 P3 画面が崩れる", "declare"),
        (INCIDENT, "一覧", "list"),
        (INCIDENT, "対応 INC-2", "ack"),
        (INCIDENT, "解決　ＩＮＣ－２：直した", "resolve"),
        (DEPLOY, "ロールバック： bondpoint-api", "rollback"),
        (TOBAN, "「ヘルス」", "health"),
        (TOBAN, "ヘルプ", "help"),
    ],
)
def test_14_1_verbs_are_read_in_japanese(command: Command, text: str, verb: str) -> None:
    assert read(command, text).verb == verb


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("catastrophic: everything burns", Severity.P0),
        ("最優先：ログイン不可", Severity.P1),
        ("最優先の顧客からの問い合わせ", None),
        ("Catastrophic backtracking in a regex", None),
    ],
)
def test_14_1_grave_words_that_are_set_off_are_severities(text: str, severity: Severity | None) -> None:
    assert declared.read(Line(text)).severity is severity


# Suggestions: user 6.


@pytest.mark.parametrize(
    ("command", "text", "meant"),
    [
        (INCIDENT, "shwo INC-1", "/incident show"),
        (INCIDENT, "decalre P1 x", "/incident declare"),
        (DEPLOY, "statsu", "/deploy status"),
        (TOBAN, "helth", "/toban health"),
        (TOBAN, "anomalies explian bondpoint-api", "/toban anomalies explain"),
        (INCIDENT, "foo", None),
        (DEPLOY, "foo", None),
        (DEPLOY, "bondpoint-api", None),
        (INCIDENT, "日本語", None),
        (INCIDENT, "resolv INC-1", None),
        (DEPLOY, "abrt", None),
        (DEPLOY, "promot", None),
        (DEPLOY, "rolback", None),
        (DEPLOY, "unlok", None),
        (TOBAN, "anomalies muet bondpoint-api", None),
        (TOBAN, "backup acept B-1", None),
    ],
)
def test_a_typo_is_answered_with_the_near_harmless_verb_or_none_user_6(
    command: Command, text: str, meant: str | None
) -> None:
    refused = read(command, text).unknown()
    assert refused.params.get("meant") == meant
    assert refused.params["command"] == command.name


@pytest.mark.parametrize("command", [INCIDENT, DEPLOY, TOBAN], ids=lambda one: one.name)
@settings(deadline=None)
@given(data=st.data())
def test_no_slip_of_the_pen_is_answered_with_a_verb_that_harms_user_6(
    command: Command, data: st.DataObject
) -> None:
    verb = data.draw(st.sampled_from([verb for verb in command.verbs if verb]))
    place = data.draw(st.integers(0, len(verb) - 1))
    slip = data.draw(st.sampled_from(["", "x", verb[place] * 2]))
    typed = read(command, f"{verb[:place]}{slip}{verb[place + 1 :]}")
    if typed.verb is None or (typed.verb and not typed.line.is_empty):
        meant = typed.unknown().params.get("meant")
        assert meant is None or not command.verbs[meant.partition(" ")[2]].harms


# Deploys: case 17.

IMAGE = "asia-northeast1-docker.pkg.dev/bondpoint-prod/app/api:v42"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"bondpoint-api {IMAGE} --emergency users can't log in", "users can't log in"),
        (f"bondpoint-api {IMAGE} --emergency it’s down", "it’s down"),
        (f"bondpoint-api {IMAGE} —emergency it's “down”", "it's “down”"),
        (f"bondpoint-api {IMAGE} －－emergency　落ちた", "落ちた"),
        (f'bondpoint-api {IMAGE} --emergency "users can\'t log in"', "users can't log in"),
        (f"bondpoint-api {IMAGE} --emergency: a  &lt;b&gt; &amp; c", "a  <b> & c"),
        (f"bondpoint-api {IMAGE} --emergency=now", "now"),
        (f"bondpoint-api {IMAGE} --emergency “”", ""),
    ],
)
def test_the_reason_of_an_emergency_is_the_rest_of_the_line_verbatim_case_17(text: str, reason: str) -> None:
    asked = deploy_words.read(read(DEPLOY, text).line)
    assert (asked.service, asked.image, asked.emergency) == ("bondpoint-api", IMAGE, reason)


@pytest.mark.parametrize(
    "text",
    [
        f"bondpoint-api {IMAGE} --steps 10,50,100 --bake 5m",
        f"bondpoint-api <http://{IMAGE}|{IMAGE}> --steps 10,50,100 --bake 5m",
        f"*bondpoint-api*　`{IMAGE}`　—steps　１０、５０、１００　—bake　５ｍ",
        f"--bake=5 min --steps=10%,50%,100% “bondpoint-api” “{IMAGE}”",
        f"bondpoint-api:\u00a0{IMAGE}\u00a0--steps 10, 50, 100 --bake 5分",
        f"@bondpoint-api {IMAGE} --steps 10/50/100 --bake 300 s",
        f"`bondpoint-api {IMAGE} --steps 10→50→100 --bake 5`",
    ],
)
def test_a_deploy_is_read_as_meant_case_15(text: str) -> None:
    asked = deploy_words.read(read(DEPLOY, text).line)
    assert (asked.service, asked.image) == ("bondpoint-api", IMAGE)
    assert (asked.steps, asked.bake) == ((10, 50, 100), timedelta(minutes=5))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *(("24h", 24), ("２４時間", 24), ("1 day", 24), ("2 days", 48), ("2日", 48), ("“6h”", 6)),
        *(("6", None), ("until Monday", None), ("6h or so", None), ("", None)),
    ],
)
def test_a_length_of_time_is_read_as_meant(text: str, wanted: int | None) -> None:
    assert length(text) == (None if wanted is None else timedelta(hours=wanted))


# The property.

BLANKS = ("\u00a0", "\u3000", "\u2009", "\u202f", "\t", "  ", " \u200b", "\u200b", "\ufeff ", "\n")
PAIRS = (
    "**",
    "__",
    "``",
    "~~",
    '""',
    "''",
    "“”",
    "„“",
    "«»",
    "‘’",
    "「」",
    "『』",
    "【】",
    "[]",
    "()",
    "（）",
    "［］",
    "〈〉",
)
BEHIND = ("", ":", "：", ",", "、", " -", " –", " —", " :", "!", ";", " |")
_APART = ("-", "–", "—", "|")
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}

decorations: list[Callable[[str], str]] = [
    str.upper,
    str.lower,
    lambda word: word.translate(WIDE),
    "\u200b".join,
    *(lambda word, pair=pair: f"{pair[0]}{word}{pair[1]}" for pair in PAIRS),
]


@st.composite
def decorated(draw: st.DrawFn, words: list[str], text: str = "") -> str:
    """These words, each decorated, and a text behind them as it is."""
    parts = []
    for number, word in enumerate(words):
        changes = draw(st.lists(st.sampled_from(decorations), max_size=2))
        changed = reduce(lambda so_far, change: change(so_far), changes, word)
        behind = draw(st.sampled_from(BEHIND))
        blank = draw(blanks) if behind[-1:] not in _APART else " "  # Without one it belongs to the text.
        blank = " " if "\u200b" in changed else blank  # What joins a word's letters cannot part words, too.
        parts.append(changed + behind + (blank if text or number < len(words) - 1 else ""))
    line = "".join(parts) + text
    # Marks around all of it that stand within it as well could end there: nobody could tell.
    free = [pair for pair in PAIRS if not {*map(normal, pair)} & {*map(normal, line)}]
    if text and free and draw(st.booleans()):
        pair = draw(st.sampled_from(free))
        line = f"{pair[0]}{line}{pair[1]}"
    return slack(
        draw(st.sampled_from(["", " ", "\u3000", "\u200b"])) + line + draw(st.sampled_from(["", "\u3000"]))
    )


blanks = st.sampled_from(BLANKS + (" ",) * 4)


def slack(text: str) -> str:
    """As Slack sends it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


TITLES = (DOWN, "users can't log in", "5 % of users", "CPU > 80 & rising", "APIが落ちた", "it’s “down” again")


@settings(max_examples=1_500, deadline=None)
@given(data=st.data())
def test_decorating_a_declaration_never_changes_its_meaning(data: st.DataObject) -> None:
    title = data.draw(st.sampled_from(TITLES))
    severity = data.draw(st.sampled_from([P0, P1, P3]))
    typed = read(INCIDENT, data.draw(decorated(["declare", severity.value], title)))
    assert typed.verb == "declare"
    assert tuple(declared.read(typed.line)) == (severity, title)


@settings(max_examples=1_000, deadline=None)
@given(data=st.data())
def test_decorating_a_number_never_changes_its_meaning(data: st.DataObject) -> None:
    verb = data.draw(st.sampled_from(["ack", "resolve", "show"]))
    # A blank without width between two digits is not seen: "INC-99" and "5 %" are then one number to anybody.
    words = [title for title in TITLES if not title[0].isdigit()]
    summary = data.draw(st.sampled_from(words)) if verb == "resolve" else ""
    typed = read_incident(data.draw(decorated([verb, "INC-99"], summary)))
    subject = take_number(typed.line, SubjectKind.INCIDENT)
    assert (typed.verb, subject and subject.id, typed.line.rest() if summary else "") == (verb, 99, summary)


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_a_severity_at_the_end_is_read_or_asked_back(data: st.DataObject) -> None:
    title = data.draw(st.sampled_from(TITLES[:5]))
    pair = data.draw(st.sampled_from(["", "()", "[]", "（）", "【】", "**", "``"]))
    begin, end = pair[:1], pair[1:]
    severity = data.draw(st.sampled_from(["P1", "p1", "Ｐ１", "SEV1", "sev-1"]))
    typed = slack(f"{title}{data.draw(blanks)}{begin}{severity}{end}")
    try:
        found = declare(typed)
    except Refused:
        found = (P1, title)
    assert found == (P1, title)


@settings(max_examples=1_000, deadline=None)
@given(text=st.text(max_size=60))
def test_whatever_is_typed_is_read_or_asked_back(text: str) -> None:
    line = Line(said(text))
    try:
        found = declared.read(line)
    except Refused:
        return
    assert found.title in said(text)
