"""What was typed after ``/deploy``, read strictly: an option that is not known is said, never ignored."""

import itertools
import re
import shlex
from dataclasses import dataclass
from datetime import timedelta

from domain.errors import Refused
from domain.text import has_name

_LENGTH = re.compile(r"(\d{1,4})\s*(s|m|h)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_STRAIGHT = {
    **dict.fromkeys(map(ord, "“”„‟«»＂"), '"'),
    **dict.fromkeys(map(ord, "‘’‚‛＇"), "'"),
    ord("—"): "--",
}
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """``/deploy SERVICE IMAGE`` with its options."""

    service: str
    image: str
    steps: tuple[int, ...] | None = None
    bake: timedelta | None = None
    dry_run: bool = False
    emergency: str | None = None


def straight(text: str) -> str:
    """A line as it was meant: any blank is a space, typographic quotes and dashes are the typed ones."""
    return " ".join(text.translate(_STRAIGHT).split())


def words(text: str) -> list[str]:
    """The words of a line, quoted ones whole. Refused for a quote without its end."""
    try:
        return shlex.split(straight(text))
    except ValueError:
        raise Refused("refused.deploy_usage", given=text[:100]) from None


def read(text: str) -> Asked:
    """Read a request. ``--emergency`` takes the rest of the line. Refused with the right form."""
    parts = words(text)
    plain: list[str] = []
    found: dict[str, object] = {}
    while parts:
        word = parts.pop(0)
        name, equals, value = word.partition("=")
        match name:
            case "--steps" | "--bake":
                if not equals:
                    value = parts.pop(0) if parts else ""
                found[name[2:]] = steps_of(value) if name == "--steps" else bake_of(value)
            case "--dry-run":
                found["dry_run"] = True
            case "--emergency":
                found["emergency"] = " ".join([value, *parts] if equals else parts).strip()
                parts = []
            case _ if word.startswith("-"):
                raise Refused("refused.unknown_option", given=word[:40])
            case _:
                plain.append(word)
    if len(plain) != 2 or not has_name(plain[1]):  # What holds no name is no image, and no rollback either.
        raise Refused("refused.deploy_usage", given=text[:100])
    return Asked(service=plain[0], image=plain[1], **found)  # type: ignore[arg-type]


def steps_of(text: str) -> tuple[int, ...]:
    """``10,50,100``: ascending percents of which the last is 100. Refused otherwise."""
    try:
        steps = tuple(int(part.strip().rstrip("%")) for part in text.split(","))
    except ValueError:
        raise Refused("refused.bad_steps", given=text[:40] or "—") from None
    rising = all(a < b for a, b in itertools.pairwise(steps))
    if not rising or steps[0] < 1 or steps[-1] != 100:
        raise Refused("refused.bad_steps", given=text[:40])
    return steps


def bake_of(text: str) -> timedelta:
    """``5m``, ``90s``, ``1h``; a bare number is minutes. One minute to one hour. Refused otherwise."""
    found = _LENGTH.fullmatch(text.strip().casefold())
    if found is None:
        raise Refused("refused.bad_bake", given=text[:40] or "—")
    length = timedelta(seconds=int(found[1]) * _SECONDS[found[2] or "m"])
    if not SHORTEST <= length <= LONGEST:
        raise Refused("refused.bad_bake", given=text[:40])
    return length
