"""Numbers as people write them: ``INC-7``, ``inc 7:``, ``#7``, ``Ｄ－１２``, ``[B-3]``."""

import re
from types import MappingProxyType
from typing import NamedTuple

from domain.effects import Subject, SubjectKind
from domain.errors import Refused
from handlers.typed import END, Line

_DIGITS = 9
"""No number of ours is longer."""


class _Kind(NamedTuple):
    """How the numbers of one kind are written. ``unknown``: what is said of one that there is not."""

    written: str
    named: re.Pattern[str]
    unknown: str


def _kind(written: str, other: str, unknown: str) -> _Kind:
    return _Kind(written, re.compile(rf"(?:{other}|{written})[-ー\s#:]*(\d+)", re.IGNORECASE), unknown)


_KINDS = MappingProxyType(
    {
        SubjectKind.INCIDENT: _kind("INC", "incident|インシデント", "refused.unknown_incident"),
        SubjectKind.ROLLOUT: _kind("D", "deploy|デプロイ", "refused.unknown_rollout"),
        SubjectKind.BACKUP: _kind("B", "backup|バックアップ", "refused.unknown_backup"),
    }
)
_BARE = re.compile(rf"(\d+)(?!\w)(?![:,.]\d)(?!\s*%){END}")


def take_number(line: Line, kind: SubjectKind) -> Subject | None:
    """What the next word names, which is taken; ``None`` where it is no number.

    Refused for one that is longer than any: what was named never falls back to another one.
    """
    of = _KINDS[kind]
    found = line.take(re.compile(of.named.pattern + END, re.IGNORECASE)) or line.take(_BARE)
    if found is None:
        return None
    digits = found[1].lstrip("0") or "0"
    if len(digits) > _DIGITS:
        raise Refused(of.unknown, number=f"{of.written}-{digits[:20]}")
    return Subject(kind=kind, id=int(digits))


def named_in(text: str, kind: SubjectKind) -> str | None:
    """A number of this kind that is named anywhere in a folded text, as it was written."""
    found = re.search(rf"(?<![0-9A-Za-z])(?:{_KINDS[kind].named.pattern})", text, re.IGNORECASE)
    return found[0] if found is not None else None
