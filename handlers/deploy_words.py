"""What was typed after ``/deploy``, read strictly: an option that is not known is said, never ignored."""

import itertools
import re
from dataclasses import dataclass
from datetime import timedelta

from domain.effects import SubjectKind
from domain.errors import Refused
from domain.text import has_name
from handlers.numbers import named_in
from handlers.typed import Line, length

_OPTION = re.compile(r"[-ー]+([a-z][a-z_-]*)", re.IGNORECASE)
_STEPS = re.compile(r"\d+\s*%?(?:\s*(?:[,/→>~]|->)\s*\d+\s*%?)*(?=\W|$)")
_BAKE = re.compile(r"\d+\s*[a-z分秒時間]*(?=\W|$)", re.IGNORECASE)
_DRY_RUN = re.compile(r"(?:^|\s)[-ー]+dry[-_]?run(?=\s|$)", re.IGNORECASE)
_EMERGENCY = re.compile(r"(?:^|\s)[-ー]+emergency(?!\w)", re.IGNORECASE)
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(hours=1)


_MEANT = (
    ("refused.meant_abort", re.compile(r"(?:stop|cancel|halt|kill|停止|中断)(?=\s|$)", re.IGNORECASE)),
    (
        "refused.meant_rollback",
        re.compile(r"(?:roll[\s_-]+back|revert|undo|back|切り?戻し|戻す)(?=\s|$)", re.IGNORECASE),
    ),
)
"""What people write for verbs that harm: such a verb is named to them, and never carried out for the word."""


def meant(line: Line) -> Refused | None:
    """What to answer where the line begins with another word for ``abort`` or ``rollback``."""
    for key, words in _MEANT:
        found = line.take(words)
        if found is not None:
            what = line.word() if not line.is_empty else ""
            is_abort = key == "refused.meant_abort"
            is_fit = has_name(what) and (is_abort or named_in(what, SubjectKind.ROLLOUT) is None)
            plain = "D-1" if is_abort else "SERVICE"
            return Refused(key, given=found[0][:60], what=what[:60] if is_fit else plain)
    return None


@dataclass(frozen=True, slots=True)
class Asked:
    """``/deploy SERVICE IMAGE`` with its options."""

    service: str
    image: str
    steps: tuple[int, ...] | None = None
    bake: timedelta | None = None
    dry_run: bool = False
    emergency: str | None = None


def read(line: Line) -> Asked:
    """Read a request. Refused with the right form."""
    given = line.text[line.at :].strip()[:100]
    plain: list[str] = []
    found: dict[str, object] = {}
    while not line.is_empty:
        match take_option(line):
            case "":
                if word := line.word():
                    plain.append(word)
            case "steps":
                typed = line.take(_STEPS)
                found["steps"] = steps_of(typed[0] if typed else line.word())
            case "bake":
                typed = line.take(_BAKE)
                found["bake"] = bake_of(typed[0] if typed else line.word())
            case "dry-run" | "dryrun":
                found["dry_run"] = True
            case "emergency":
                found["emergency"] = reason(line)
            case other:
                raise Refused("refused.unknown_option", given=f"--{other[:40]}")
    if len(plain) != 2 or not has_name(plain[1]):  # What holds no name is no image, and no rollback either.
        raise Refused("refused.deploy_usage", given=given)
    return Asked(service=plain[0], image=plain[1], **found)  # type: ignore[arg-type]


def take_option(line: Line) -> str:
    """The option that comes next, which is taken, without its dashes; empty where none does."""
    found = line.take(_OPTION)
    return found[1].casefold().replace("_", "-") if found is not None else ""


def reason(line: Line) -> str:
    """The rest of the line, as it was typed; empty where there is no word in it."""
    found = line.unquoted()
    return found if any(map(str.isalnum, found)) else ""


def is_dry_run(line: Line) -> bool:
    """Whether only the plan is asked for; what stands behind ``--emergency`` is somebody's own words."""
    return _DRY_RUN.search(_EMERGENCY.split(line.left, maxsplit=1)[0]) is not None


def steps_of(text: str) -> tuple[int, ...]:
    """``10,50,100``: ascending percents of which the last is 100. Refused otherwise."""
    found = Line(text).take(_STEPS)
    steps = tuple(int(one) for one in re.findall(r"\d{1,4}", found[0])) if found else ()
    rising = all(a < b for a, b in itertools.pairwise(steps))
    if not steps or not rising or steps[0] < 1 or steps[-1] != 100:
        raise Refused("refused.bad_steps")
    return steps


def bake_of(text: str) -> timedelta:
    """``5m``, ``90s``, ``1h``; a bare number is minutes. One minute to one hour. Refused otherwise."""
    bake = length(text, bare=timedelta(minutes=1))
    if bake is None or not SHORTEST <= bake <= LONGEST:
        raise Refused("refused.bad_bake")
    return bake
