"""On what a canary was judged: counts, rates, probabilities, and up to when anything is known."""

from domain.chances import Counts
from domain.rollouts import Rollout, Stage
from domain.verdict import Evidence, Reason, Verdict
from notify.texts import Voice

UNLIKELY = 0.01
"""A probability below which nobody would call it chance."""

CELLS = 10
"""Of a bar."""


def bar(share: float) -> str:
    """A share of 0..1 as a bar of ten."""
    full = min(CELLS, max(0, round(share * CELLS)))
    return "▓" * full + "░" * (CELLS - full)


def evidence_lines(voice: Voice, rollout: Rollout) -> list[str]:
    """The newest verdict with its numbers; empty where nothing was counted yet."""
    verdict = rollout.verdict
    if verdict is None or rollout.shifted_at is None:
        return []
    found = verdict.evidence
    shown: list[str] = []
    params: dict[str, object]
    if rollout.stage in {Stage.BAKING, Stage.ASKING}:
        shown.append(_seen(voice, found))
    if not found.canary.requests and rollout.stage is Stage.BAKING:
        return [*shown, voice("rollout.no_data_yet")]
    if found.canary.requests:
        shown.append(voice("rollout.canary", **_counted(found.canary), **_interval(found)))
    if found.stable.requests:
        shown.append(voice("rollout.stable", **_counted(found.stable)))
    if found.canary_p95 is not None and found.stable_p95 is not None:
        params = {
            "canary": [found.canary_p95 / 1000, "seconds"],
            "stable": [found.stable_p95 / 1000, "seconds"],
        }
        shown.append(voice("rollout.latency", **params))
    rate, before = found.canary.rate or 0.0, found.stable.rate or 0.0
    if found.p_threshold is not None and rate > found.threshold:
        params = {"threshold": [found.threshold, "share"], "p": _p(found.p_threshold)}
        shown.append(voice(f"rollout.p_threshold{_chance(verdict, found.p_threshold)}", **params))
    if found.p_stable is not None and rate > before:
        shown.append(voice(f"rollout.p_stable{_chance(verdict, found.p_stable)}", p=_p(found.p_stable)))
    why = [one for one in verdict.reasons if one is not Reason.STILL_BAKING]
    shown += [f"• {voice(f'reason.{one.value}')}" for one in why]
    if found.visible_until is not None:
        shown.append(voice("rollout.visible_until", at=int(found.visible_until.timestamp())))
    return shown


def _seen(voice: Voice, found: Evidence) -> str:
    """How many requests there are of those without which nothing is promoted by itself."""
    seen = found.canary.requests
    if not found.needed:
        return f"`{bar(1.0)}` {voice('rollout.requests_enough', seen=seen)}"
    minimum = seen + found.needed
    return f"`{bar(seen / minimum)}` {voice('rollout.requests_seen', seen=seen, minimum=minimum)}"


def _counted(counts: Counts) -> dict[str, object]:
    return {
        "requests": [counts.requests, "count"],
        "errors": [counts.errors, "count"],
        "rate": [counts.rate if counts.rate is not None else float("nan"), "share"],
    }


def _interval(found: Evidence) -> dict[str, object]:
    low, high = found.interval if found.interval is not None else (0.0, 1.0)
    return {"low": [round(low, 6), "share"], "high": [round(high, 6), "share"]}


def _p(value: float) -> str:
    return f"= {value:.2g}" if value >= 1e-4 else "< 0.0001"


def _chance(verdict: Verdict, p: float) -> str:
    """Which sentence says it: "not chance" never stands beside a verdict that calls it open."""
    return "" if p < UNLIKELY and Reason.NOT_PROVEN not in verdict.reasons else "_open"
