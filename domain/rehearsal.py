"""What a restore drill asks for: a copy restored beside the real thing, and questions it must answer."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from pydantic import Field

from domain.backups import Order
from domain.evidence import Finding, Flaw
from domain.levels import Value
from domain.questions import Question


class Restore(Value):
    """What a rehearsal is asked for. ``key`` is one by drill and part: by it a restore is found again.

    ``copy_of`` and ``operation`` are what the vault was asked for and what it answered when the copy was
    made; ``scratch`` names where it is restored to, never the place it came from.
    """

    key: str
    copy_of: Order
    operation: str
    at: datetime
    scratch: str = ""
    questions: tuple[Question, ...] = Field(default=())


MILLISECONDS = 100_000_000_000
"""A moment given as a number larger than this is in milliseconds: in seconds it were the year 5138."""


def answer_findings(questions: Sequence[Question], answers: Sequence[object], at: datetime) -> list[Finding]:
    """What is wrong with the answers of a restored copy that holds the state of ``at``.

    ``None`` and an exception are no answers. A moment may be a datetime (without a zone: UTC), ISO 8601
    text, or a number since 1970 in seconds or milliseconds.
    """
    findings = []
    for question, answer in zip(questions, answers, strict=True):
        name = question.ask[:120]
        if answer is None or isinstance(answer, Exception):
            findings.append(Finding(flaw=Flaw.SILENT, name=name, found=str(answer or "—")[:200]))
        elif question.least is not None:
            number = _number(answer)
            if number is None or number < question.least:
                found = str(answer)[:60]
                findings.append(
                    Finding(flaw=Flaw.TOO_FEW, name=name, wanted=f"{question.least:g}", found=found)
                )
        elif question.within is not None:
            moment = _moment(answer)
            oldest = at - question.within
            if moment is None or moment < oldest:
                found = str(answer)[:60] if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
                wanted = f"{oldest:%Y-%m-%d %H:%M} UTC"
                findings.append(Finding(flaw=Flaw.STALE, name=name, wanted=wanted, found=found))
    return findings


def _number(answer: object) -> float | None:
    if isinstance(answer, bool) or not isinstance(answer, int | float | Decimal | str):
        return None
    try:
        return float(answer)
    except ValueError:
        return None


def _moment(answer: object) -> datetime | None:
    try:
        if isinstance(answer, str):
            answer = datetime.fromisoformat(answer)
        number = _number(answer)
        if number is not None:
            return datetime.fromtimestamp(number / 1000 if number > MILLISECONDS else number, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if isinstance(answer, datetime):
        return answer.replace(tzinfo=UTC) if answer.tzinfo is None else answer
    if isinstance(answer, date):
        return datetime(answer.year, answer.month, answer.day, tzinfo=UTC)
    return None
