"""Understands what Google Cloud's webhook channels send: Cloud Monitoring incidents and Error Reporting.

Cloud Monitoring's schema is 1.2; every field but the id and the state of an incident may be missing
or of another type than documented (https://cloud.google.com/monitoring/support/notification-options,
and the samples that the tests hold). Error Reporting (version 1.0) comes through the same channel.
"""

import re
from collections.abc import Sequence
from typing import Any

from domain.alerts import Ending, Signal, group_key
from domain.errors import Unreadable
from domain.policy import Level, Policy
from handlers.webhooks.reading import (
    NAME_LIMIT,
    TEXT_LIMIT,
    VALUE_LIMIT,
    Reading,
    clean,
    clean_labels,
    https_link,
    line,
    looker,
    loudness,
    moment,
    name,
    read,
    rounded,
    runbook,
    short_numbers,
    table,
)

SOURCE = "cloud-monitoring"
ERRORS = "error-reporting"


def interpret(body: bytes, policy: Policy) -> Reading:
    """What the body says. Raises ``Unreadable`` exactly where ``look`` has a reason."""
    sent = read(body)
    match _shape(sent):
        case "test":
            return Reading(tests=(_test_name(sent["incident"]),))
        case "error":
            return Reading(signals=(_error(sent, policy),))
        case _:
            return Reading(signals=(_incident(sent["incident"], policy),))


def _shape(sent: dict[str, Any]) -> str:
    incident = sent.get("incident")
    if type(incident) is not dict:
        if type(sent.get("group_info")) is dict or type(sent.get("exception_info")) is dict:
            return "error"
        raise Unreadable("neither an incident nor an Error Reporting notification")
    if line(sent.get("version")).casefold() == "test":
        return "test"
    if not name(incident.get("incident_id")):
        raise Unreadable("an incident without incident_id")
    state = _state(incident)
    if state not in {"open", "closed"}:
        raise Unreadable(f"the state '{state}' is neither open nor closed")
    return "incident"


def _words(sent: dict[str, Any]) -> list[Sequence[object]]:
    """What it says of its level; the test and Error Reporting say nothing."""
    incident = table(sent.get("incident"))
    return [_loudness_words(incident, clean_labels(incident.get("policy_user_labels")))]


def _loudness_words(incident: dict[str, Any], wishes: dict[str, str]) -> Sequence[object]:
    return wishes.get("level"), wishes.get("severity"), incident.get("severity")


look = looker(_shape, _words)


def _state(incident: dict[str, Any]) -> str:
    return line(incident.get("state"), 40).casefold()


def _test_name(incident: dict[str, Any]) -> str:
    """The console's "Test Connection" names no channel, so its project has to do."""
    said = line(incident.get("summary")) or "Test notification"
    project = line(incident.get("scoping_project_id"))
    return f"{said} (project {project})" if project else said


def _incident(incident: dict[str, Any], policy: Policy) -> Signal:
    project = name(incident.get("scoping_project_id"))
    named = line(incident.get("policy_name"))
    wishes = clean_labels(incident.get("policy_user_labels"))
    labels = _labels(incident, wishes, policy)
    service = policy.service(labels)
    level, raw = loudness(policy, *_loudness_words(incident, wishes))
    firing = _state(incident) == "open"
    value = short_numbers(line(incident.get("observed_value"), VALUE_LIMIT)) or _value_in_labels(incident)
    text, links = _documentation(incident.get("documentation"))
    summary = clean(incident.get("summary"), TEXT_LIMIT).strip()
    lost = not firing and _is_without_data(value, summary)
    return Signal(
        source=SOURCE,
        identity=f"{SOURCE}:{project}:{name(incident.get('incident_id'))}",
        group_key=group_key(SOURCE, project, named, service or ""),
        firing=firing,
        level=level,
        raw_level=raw,
        title=_title(named, line(incident.get("condition_name")), summary),
        name=named or None,
        summary=_said(summary, text),
        service=service,
        labels=labels,
        url=https_link(incident.get("url")),
        runbook=runbook(policy, service, [wishes.get("runbook"), *links]),
        value=value or None,
        threshold=_threshold(incident),
        started_at=moment(incident.get("started_at")),
        ended_at=None if firing else moment(incident.get("ended_at")),
        reusable=False,
        recovered=firing or not (lost or _is_cancellation(value, summary)),
        ending=Ending.SILENT if lost else None,
    )


def _value_in_labels(incident: dict[str, Any]) -> str:
    """What PromQL conditions say: their metric is called ``__missing__``, and a label may hold the value."""
    places = (
        table(table(incident.get(part)).get(inner))
        for part, inner in (("metric", "labels"), ("metadata", "user_labels"), ("resource", "labels"))
    )
    return next((found for place in places if (found := rounded(place.get("value")))), "")


def _labels(incident: dict[str, Any], wishes: dict[str, str], policy: Policy) -> dict[str, str]:
    """All labels in one; the policy's own, being written for us, win."""
    resource = clean_labels(table(incident.get("resource")).get("labels"))
    metric = clean_labels(table(incident.get("metric")).get("labels"))
    users = clean_labels(table(incident.get("metadata")).get("user_labels"))
    # The policy's stand first, so that they stay where there are too many, and win.
    together = wishes | resource | metric | users | wishes
    return clean_labels(together, first=[key for one in policy.services for key in one.match])


def _title(named: str, condition: str, summary: str) -> str:
    """The policy's name, and the condition's where it adds something."""
    if not named:
        return condition or line(summary) or "Cloud Monitoring incident"
    if not condition or condition.casefold() in named.casefold():
        return named
    if named.casefold() in condition.casefold():
        return condition
    return line(f"{named}: {condition}", NAME_LIMIT)


def _said(summary: str, text: str) -> str:
    """What happened, and what the policy's author wrote about it."""
    return summary if text in summary else clean("\n\n".join(filter(None, (summary, text))), TEXT_LIMIT)


def _documentation(said: object) -> tuple[str, list[object]]:
    """Its text and its https links. It is an object, and a plain string in the console's test."""
    if type(said) is not dict:
        return clean(said, TEXT_LIMIT).strip(), []
    links = said.get("links")
    urls = [table(link).get("url") for link in links[:20]] if type(links) is list else []
    secure = [url for url in urls if type(url) is str and url[:8].lower() == "https://"]
    return clean(said.get("content"), TEXT_LIMIT).strip(), [*secure]


def _threshold(incident: dict[str, Any]) -> str | None:
    condition = table(table(incident.get("condition")).get("conditionThreshold"))
    told = line(incident.get("threshold_value"), VALUE_LIMIT)
    return short_numbers(told or line(condition.get("thresholdValue"), VALUE_LIMIT)) or None


_WORD = re.compile(r"[^\W\d_]{3,}")
_NORMAL = re.compile(r"\breturned to (?:a )?normal\b", re.IGNORECASE)
_NO_LONGER = re.compile(r"\bno longer\b", re.IGNORECASE)
_NO_DATA = re.compile(
    r"\b(?:no|lack of|missing|absence of|without) (?:new |recent |any )?(?:data|measurements?|time series)\b"
    r"|\bauto-?clos(?:ed|e|ing)\b|\bstopped (?:reporting|receiving|being written)\b",
    re.IGNORECASE,
)
"""An incident that Google closes since nothing is measured any more, after its policy's autoClose."""

_CANCELLED = re.compile(
    r"\b(?:incident|condition|policy)\b[^.\n]{0,80}\b(?:cancell?ed|deleted|modified|disabled)\b",
    re.IGNORECASE,
)


def _is_without_data(value: str, summary: str) -> bool:
    """True where Google closes it since nothing is measured any more; a condition may be called so, too."""
    if _NORMAL.search(summary) or _NO_LONGER.search(summary):
        return False
    return bool(_NO_DATA.search(summary) or _NO_DATA.search(value))


def _is_cancellation(value: str, summary: str) -> bool:
    """True where the closing says nothing about recovery.

    Google then writes a sentence in place of the number ("Incident cancelled because the alert
    policy condition was deleted or modified…"). A unit or a truth value is not a sentence.
    """
    if len(_WORD.findall(value)) >= 2:
        return True
    return not _NORMAL.search(summary) and bool(_CANCELLED.search(summary))


def _error(sent: dict[str, Any], policy: Policy) -> Signal:
    """A new or returned error: a warning until somebody resolves it, for no closing ever comes.

    The request's address and the log lines stay out: they can name people (and hold their secrets).
    """
    group = table(sent.get("group_info"))
    exception = table(sent.get("exception_info"))
    event = table(sent.get("event_info"))
    project = name(group.get("project_id"))
    url = https_link(group.get("detail_link"))
    kind, message = line(exception.get("type")), clean(exception.get("message"), TEXT_LIMIT).strip()
    said = line(sent.get("subject"))
    reported = line(event.get("service"))
    told = {
        "project_id": project,
        "service_name": reported,
        "version": event.get("version"),
        "response_status": event.get("response_status"),
        "exception_type": kind,
    }
    labels = {key: text for key, text in clean_labels(told).items() if text}
    service = policy.service(labels)
    key = group_key(ERRORS, project, name(group.get("detail_link")) or f"{kind}\n{said}", reported)
    return Signal(
        source=ERRORS,
        identity=f"{ERRORS}:{key}",
        group_key=key,
        firing=True,
        level=Level.WARNING,
        title=said or kind or "Error Reporting notification",
        summary=clean(": ".join(part for part in (kind, message) if part), TEXT_LIMIT),
        service=service,
        labels=labels,
        url=url,
        runbook=runbook(policy, service),
        reusable=True,
    )
