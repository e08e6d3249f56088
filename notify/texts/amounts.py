"""Quantities as people read them: few digits, the unit beside them, in the reader's language."""

import math
from datetime import timedelta
from typing import Literal

from domain.units import Unit

RAREST = 6
"""Scores above are shown as this one."""

BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def amount(value: float | None, unit: str, locale: str) -> str:
    """A number with its unit: ``1.84 s``, ``980 ms``, ``4.2 %``, ``120/s``, ``3.2 GiB``; a dash for none."""
    if value is None or not math.isfinite(value):
        return "—"
    match Unit(unit):
        case Unit.SECONDS:
            return _seconds(value, locale)
        case Unit.SHARE:
            return f"{_number(value * 100, locale)} %"
        case Unit.PER_SECOND:
            return f"{_number(value, locale)}/s"
        case Unit.PER_MINUTE:
            return f"{_number(value, locale)}/min"
        case Unit.COUNT:
            return _number(value, locale)
        case Unit.BYTES:
            power = min(int(math.log(abs(value), 1024)), len(BINARY) - 1) if abs(value) >= 1 else 0
            return f"{_number(value / 1024**power, locale)} {BINARY[power]}"


def _seconds(value: float, locale: str) -> str:
    if abs(value) < 1 and value:
        return f"{_number(value * 1000, locale)} ms"
    if abs(value) <= 60:
        return f"{_number(value, locale)} s"
    if abs(value) < 120:
        return _in_unit(round(value), "second", locale)
    return span(value, locale)


def _number(value: float, locale: str) -> str:
    """Three digits that count; whole where it is large."""
    from babel.numbers import format_decimal

    size = abs(value)
    if value and size < 0.01:
        return f"{value:.1g}"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return str(format_decimal(round(value, digits), format="#,##0.##", locale=locale))


def span(seconds: float, locale: str) -> str:
    """A length of time in its one or two largest units: ``5 minutes``, ``2 days 3 hours``."""
    left = round(seconds)
    shown = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            shown.append(_in_unit(count, unit, locale))
        elif shown:
            break
        if len(shown) == 2:
            break
    joint = " " if locale == "en" else ""
    return joint.join(shown) or _in_unit(0, "second", locale)


Part = Literal["day", "hour", "minute", "second"]

_UNITS: tuple[tuple[Part, int], ...] = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def _in_unit(count: int, unit: Part, locale: str) -> str:
    from babel.dates import format_timedelta

    length = timedelta(**{f"{unit}s": count})
    # A threshold that is never reached keeps it in the unit asked for.
    said = str(format_timedelta(length, granularity=unit, threshold=math.inf, locale=locale))
    return said.replace(" ", "") if locale == "ja" else said


def rarity(score: float, locale: str) -> str:
    """How rare a score of ``-log10 p`` is, to one digit that counts: ``1 in 30,000``.

    A month has 8,640 steps of five minutes: beyond a million nothing is known any more.
    """
    from babel.numbers import format_decimal

    exponent = math.floor(min(max(score, 0.0), RAREST))
    leading = max(1, round(10 ** (min(max(score, 0.0), RAREST) - exponent)))
    times = int(leading * 10**exponent)
    if locale == "ja":
        shown = f"{times // 10_000}万" if times >= 10_000 else str(format_decimal(times, locale=locale))
        return f"{shown}回に1回未満" if score >= RAREST else f"{shown}回に1回"
    shown = str(format_decimal(times, locale=locale))
    return f"rarer than 1 in {shown}" if score >= RAREST else f"1 in {shown}"
