"""The small language of the Block Kit tables: shapes that check a JSON value and name its faults."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Check = Callable[[Any, str, "Report"], None]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where (JSON pointer), what is wrong, which constraint, and what was expected."""

    pointer: str
    message: str
    constraint: str
    expected: Any = None

    def answer(self) -> dict[str, Any]:
        """Return the fault as blocks.validate answers it."""
        return {
            "code": "failed_constraint",
            "message": self.message,
            "pointer": self.pointer,
            "constraint": {"type": self.constraint, "expected": self.expected},
        }


@dataclass(slots=True)
class Report:
    """What a check has found so far, and what must be unique across blocks."""

    surface: str
    problems: list[Problem] = field(default_factory=list)
    block_ids: set[str] = field(default_factory=set)
    action_ids: set[str] = field(default_factory=set)
    focused: int = 0
    letters: int = 0
    markdown: int = 0
    tables: int = 0
    charts: int = 0
    inputs: int = 0

    def fault(self, at: str, message: str, constraint: str, expected: Any = None) -> None:
        """Record one fault."""
        self.problems.append(Problem(at or "/", message, constraint, expected))


def string(longest: int, shortest: int = 1) -> Check:
    """Return a check for a string of ``shortest`` to ``longest`` characters."""

    def check(value: Any, at: str, report: Report) -> None:
        if not isinstance(value, str):
            report.fault(at, "must be a string", "type", "string")
        elif len(value) < shortest:
            report.fault(at, f"must be more than {shortest - 1} characters", "min_length", shortest)
        elif len(value) > longest:
            report.fault(at, f"must be less than {longest + 1} characters", "max_length", longest)

    return check


def web_address(longest: int = 3000) -> Check:
    """Return a check for an absolute http(s) or mailto address."""
    size = string(longest)

    def check(value: Any, at: str, report: Report) -> None:
        size(value, at, report)
        if isinstance(value, str) and not value.startswith(("http://", "https://", "mailto:", "slack://")):
            report.fault(at, "must be a valid url", "format", "url")

    return check


def pattern(regex: str) -> Check:
    """Return a check for a string of a form."""

    def check(value: Any, at: str, report: Report) -> None:
        if not isinstance(value, str) or not re.search(regex, value):
            report.fault(at, f"input must match regex pattern: {regex}", "pattern", regex)

    return check


def boolean(value: Any, at: str, report: Report) -> None:
    """Check for true or false."""
    if not isinstance(value, bool):
        report.fault(at, "must be a boolean", "type", "boolean")


def anything(value: Any, at: str, report: Report) -> None:
    """Check nothing: the key is allowed and its inside is not judged here."""


def integer(lowest: int, highest: int) -> Check:
    """Return a check for a whole number within bounds, both included."""

    def check(value: Any, at: str, report: Report) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            report.fault(at, "must be an integer", "type", "integer")
        elif not lowest <= value <= highest:
            report.fault(at, f"must be between {lowest} and {highest}", "range", [lowest, highest])

    return check


def one_of(*allowed: str) -> Check:
    """Return a check for one of a few strings."""

    def check(value: Any, at: str, report: Report) -> None:
        if not isinstance(value, str) or value not in allowed:
            report.fault(at, f"must be a valid enum value: {value}", "enum", list(allowed))

    return check


def items(check_item: Check, least: int, most: int) -> Check:
    """Return a check for an array of ``least`` to ``most`` items of one shape."""

    def check(value: Any, at: str, report: Report) -> None:
        if not isinstance(value, list):
            report.fault(at, "must be an array", "type", "array")
            return
        if len(value) < least:
            report.fault(at, f"no fewer than {least} items allowed", "min_items", least)
        if len(value) > most:
            report.fault(at, f"no more than {most} items allowed", "max_items", most)
        for index, item in enumerate(value):
            check_item(item, f"{at}/{index}", report)

    return check


def shape(
    required: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    then: Callable[[dict[str, Any], str, Report], None] | None = None,
) -> Check:
    """Return a check for an object with exactly these keys; ``then`` judges keys against each other."""
    known = {**required, **(optional or {})}

    def check(value: Any, at: str, report: Report) -> None:
        if not isinstance(value, dict):
            report.fault(at, "must be an object", "type", "object")
            return
        for key in required:
            if key not in value:
                report.fault(at, f"missing required field: {key}", "required", key)
        for key, inner in value.items():
            if key not in known:
                report.fault(
                    f"{at}/{key}", f"invalid additional property: {key}", "additional_property", None
                )
            elif inner is None and key not in required:
                report.fault(f"{at}/{key}", "must not be null", "type", "not null")
            else:
                known[key](inner, f"{at}/{key}", report)
        if then is not None:
            then(value, at, report)

    return check


def by_type(table: Mapping[str, Check]) -> Check:
    """Return a check that chooses by the object's ``type`` and refuses types outside the table."""

    def check(value: Any, at: str, report: Report) -> None:
        if not isinstance(value, dict):
            report.fault(at, "must be an object", "type", "object")
            return
        kind = value.get("type")
        if not isinstance(kind, str):
            report.fault(at, "missing required field: type", "required", "type")
        elif kind not in table:
            report.fault(f"{at}/type", f"unsupported type: {kind}", "enum", sorted(table))
        else:
            table[kind](value, at, report)

    return check


def text(longest: int, *kinds: str, shortest: int = 1) -> Check:
    """Return a check for a text object of the given kinds; without kinds both are allowed."""
    allowed = kinds or ("plain_text", "mrkdwn")
    size = string(longest, shortest)

    def check(value: Any, at: str, report: Report) -> None:
        if not isinstance(value, dict):
            report.fault(at, "must be an object", "type", "object")
            return
        kind = value.get("type")
        if kind not in allowed:
            report.fault(f"{at}/type", f"unsupported type: {kind}", "enum", list(allowed))
            return
        extra = "emoji" if kind == "plain_text" else "verbatim"
        for key in value:
            if key not in {"type", "text", extra}:
                report.fault(
                    f"{at}/{key}", f"invalid additional property: {key}", "additional_property", None
                )
        if extra in value:
            boolean(value[extra], f"{at}/{extra}", report)
        if "text" not in value:
            report.fault(at, "missing required field: text", "required", "text")
            return
        size(value["text"], f"{at}/text", report)
        if isinstance(value["text"], str):
            report.letters += len(value["text"])
            if shortest and value["text"] and not value["text"].strip():
                report.fault(f"{at}/text", "must be more than 0 characters", "min_length", shortest)

    return check


def plain(longest: int) -> Check:
    """Return a check for a plain_text object."""
    return text(longest, "plain_text")
