"""What ``toban check`` says: what these settings and this policy would run, and what is wrong or missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bot import authorities
from bot.deploys import doubts, why_not_deployed
from bot.encryption import cautions, lacking
from bot.policy import BadPolicy, read_policy
from bot.settings import BadSettings, MetricsAccess, Settings
from domain.backup_plans import BackupPlan
from domain.deploys import DeployRule, Freeze
from domain.escalation import REPEAT_AFTER
from domain.indicators import SPOKEN as METRICS
from domain.indicators import shown
from domain.objectives import BURNS, promised
from domain.policy import Ladder, Level, Means, Person, Policy, Service, Step
from domain.roles import Role
from domain.rules import Kind, Silence, Threshold
from domain.thresholds import watched
from domain.units import Unit

SET_UP = frozenset({Means.SLACK})
"""Means that this version delivers by. A page by another is shown as not set up, and never counts."""

WEBHOOKS = ("cloud-monitoring", "alertmanager", "grafana")
"""The senders that this version understands, as the last part of their route."""

SPOKEN = {Means.SLACK: "Slack", Means.EMAIL: "email", Means.SMS: "SMS", Means.PHONE: "phone"}


@dataclass(frozen=True)
class Section:
    """A heading and its lines."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """The whole answer. Errors keep ``toban run`` from starting; warnings are for a person to judge."""

    sections: tuple[Section, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def check(
    environ: Mapping[str, str], policy_path: Path | None = None, webhooks: Sequence[str] = WEBHOOKS
) -> Findings:
    """Read everything that ``toban run`` would read, without a network, and tell what it means.

    ``policy_path`` goes before ``TOBAN_POLICY``. Slack's secrets may be missing: that is a warning.
    """
    settings: Settings | None = None
    policy: Policy | None = None
    errors: list[str] = []
    path = policy_path
    try:
        settings = Settings.read(environ, to_run=False)
        path = path or settings.policy
    except BadSettings as bad:
        errors += bad.problems
    try:
        policy = read_policy(path or Path(environ.get("TOBAN_POLICY") or "toban.yaml"))
    except BadPolicy as bad:
        errors += _emptiness(path or Path(environ.get("TOBAN_POLICY") or "toban.yaml"))
        errors += [str(problem) for problem in bad.problems]
    if policy is not None and settings is not None:
        errors += lacking(policy, settings)
    return Findings(
        sections=tuple(describe(policy, settings, webhooks)),
        errors=tuple(errors),
        warnings=(*_unread(environ), *warnings(policy, settings)),
    )


def _emptiness(path: Path) -> list[str]:
    """What a newcomer with an empty policy is told first."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    if any(line.strip() and not line.lstrip().startswith("#") for line in lines):
        return []
    why = "It needs people, channels and ladders: whom to page, where to speak, who is next."
    return [f"{path} is empty. {why} Begin with a copy of toban.example.yaml; docs/settings.md explains it."]


def _unread(environ: Mapping[str, str]) -> list[str]:
    """Names in the environment that look like ours. One that is near a real name is an error by itself."""
    return [
        f"{name} is set, and Toban reads no such setting. docs/settings.md lists them."
        for name, meant in Settings.unknown(environ)
        if meant is None
    ]


def describe(
    policy: Policy | None, settings: Settings | None, webhooks: Sequence[str] = WEBHOOKS
) -> list[Section]:
    """What would run, for a person to read. What could not be read is left out."""
    sections = []
    if policy is not None:
        sections += [
            Section("People", _people(policy)),
            Section("Acts (who may do what)", _acts(policy)),
            Section("Ladders (times count from the delivery of the first page)", _ladders(policy)),
            Section("Services (the first that fits an alert's labels)", _services(policy)),
            Section("Rules (what Toban watches by itself)", _rules(policy)),
            Section("Deploys (what /deploy may do)", _deploys(policy)),
            Section("Backups (what is copied, when, and where to)", _backups(policy)),
            Section("Levels (a sender's word, and what it means here)", _levels(policy)),
            Section("Channels", _table([(key, name) for key, name in policy.channels.model_dump().items()])),
        ]
    if settings is not None:
        sections += [
            Section("Webhooks", _webhooks(settings, webhooks)),
            Section("Program", _program(settings)),
        ]
    return sections


def warnings(policy: Policy | None, settings: Settings | None) -> list[str]:
    """What works, but perhaps not as it was meant; and what ``toban run`` would still ask for."""
    found = []
    if settings is not None:
        found += [f"toban run still needs {line}" for line in settings.still_needed]
        if not settings.takes_webhooks:
            found.append(
                "no webhook secret is set: every webhook would be answered with 503. Set"
                " TOBAN_WEBHOOK_TOKENS, or TOBAN_WEBHOOK_USER and TOBAN_WEBHOOK_PASSWORD."
            )
    if policy is not None and settings is not None:
        found += cautions(policy, settings)
    found += (
        [*_unjudged(policy), *doubts(policy), *authorities.cannot_answer(policy)]
        if policy is not None
        else []
    )
    for level, ladder in _in_order(policy):
        if not ladder.steps and level is not Level.INFO:
            found.append(f"ladders.{level} is empty: nobody would be paged.")
        for place, step in enumerate(ladder.steps, start=1):
            if not SET_UP & set(step.by):
                means = " and ".join(SPOKEN[one] for one in step.by)
                found.append(
                    f"ladders.{level} step {place} reaches nobody: {means} cannot be sent by this version."
                    " Add slack."
                )
    return found


def _in_order(policy: Policy | None) -> list[tuple[Level, Ladder]]:
    """The ladders, the loudest first."""
    return [(level, policy.ladder(level)) for level in reversed(Level)] if policy is not None else []


def _people(policy: Policy) -> tuple[str, ...]:
    if not policy.people:
        return ("nobody",)
    head = ("name", "Slack", "email", "phone", "language", "zone", "roles")
    rows = [
        (
            person.name,
            _slack(person),
            person.email or "-",
            person.phone or "-",
            person.locale or "as in Slack",
            person.zone or "as in Slack",
            ", ".join(person.roles) or "-",
        )
        for person in policy.people.values()
    ]
    return _table([head, *rows])


def _acts(policy: Policy) -> tuple[str, ...]:
    """Each role with its people, then each act with its role."""
    roles = [(role.value, authorities.who(policy, role)) for role in Role]
    return (*_table(roles), "", *_table([authorities.HEAD, *authorities.rows()]))


def _slack(person: Person) -> str:
    if person.slack:
        return ", ".join(person.slack)
    return "found by email" if person.email else "-"


def _ladders(policy: Policy) -> tuple[str, ...]:
    lines: list[str] = []
    for level, ladder in _in_order(policy):
        opens = f", and an incident {level.severity} opens by itself" if level.opens_incident else ""
        if ladder.steps:
            lines += [f"{level}{opens}", *_indented(_table(_timeline(ladder)))]
        else:
            lines.append(f"{level}: nobody is paged{opens}")
    return tuple(lines)


def _timeline(ladder: Ladder) -> list[tuple[str, str]]:
    """Each moment of a ladder that nobody answers, as the rules of ``domain.escalation`` make it."""
    moments = []
    begins, wait, names = timedelta(0), REPEAT_AFTER, ""
    for step in ladder.steps:
        wait, names = step.wait or REPEAT_AFTER, " and ".join(step.tell)
        moments.append((_after(begins), f"{names} by {_means(step)}"))
        if step.respond is not None and step.respond < wait:
            moments.append((_after(begins + step.respond), f"{names} asked again, the card says overdue"))
        begins += wait
    moments.append((_after(begins), f"{names} again, and every {_long(wait)} until somebody answers"))
    return moments


def _after(moment: timedelta) -> str:
    return f"after {_long(moment)}" if moment else "at once"


def _means(step: Step) -> str:
    return ", ".join(
        SPOKEN[means] if means in SET_UP else f"{SPOKEN[means]} (not set up)" for means in step.by
    )


def _services(policy: Policy) -> tuple[str, ...]:
    if not policy.services:
        return ("none: an alert's own label service_name is taken",)
    rows = [("name", "project", "region", "labels", "owners", "runbook")]
    for service in policy.services:
        labels = ", ".join(f"{label}={wanted}" for label, wanted in service.match.items())
        rows.append(
            (
                service.name,
                service.project or "-",
                service.region or "-",
                labels or "(never chosen by labels)",
                ", ".join(service.owners) or "-",
                service.runbook or "-",
            )
        )
    return _table(rows)


def _unjudged(policy: Policy) -> list[str]:
    """What is to be watched, but cannot be, and what the policy must say for it."""
    missing: dict[tuple[str, str], list[str]] = {}
    for one in watched(policy):
        if one.lacking is not None:
            missing.setdefault((one.service.name, one.lacking), []).append(one.threshold.name)
    for promise in promised(policy):
        if promise.lacking is not None:
            names = missing.setdefault((promise.service.name, promise.lacking), [])
            names += [promise.objective.name] if promise.objective.name not in names else []
    return [
        f"{', '.join(rules)} cannot be judged of {service}: {lacking} is missing."
        for (service, lacking), rules in missing.items()
    ]


def _rules(policy: Policy) -> tuple[str, ...]:
    """Thresholds, objectives, probes and the detector, service by service."""
    lines: list[str] = []
    for service in policy.services:
        rows = _watches(policy, service)
        lines.append(f"{service.name} ({service.kind})" if service.kind else service.name)
        lines += (
            _indented(_table(rows)) if rows else ["  nothing: its match has no service_name or database_id"]
        )
    rules = policy.rules
    days = f"the holidays of {rules.holidays}" if rules.holidays else "no holidays"
    report = f"crontab {rules.capacity.report}, {_long(rules.capacity.horizon)} ahead"
    rows = [("clocks of", f"{rules.zone}, {days}"), ("growth report", report)]
    return (*lines, *_table([*rows, ("probes may ask", ", ".join(rules.origins) or "nothing")]))


def _watches(policy: Policy, service: Service) -> list[tuple[str, ...]]:
    rules = policy.rules
    rows = [
        (one.threshold.name, *_limit(one.threshold))
        for one in watched(policy)
        if one.service.name == service.name
    ]
    burns = ", ".join(f"{burn.name} over {_long(timedelta(seconds=burn.long))}" for burn in BURNS)
    for promise in rules.objectives:
        if promise.service == service.name:
            share = shown(promise.availability, Unit.SHARE)
            level = " and ".join(dict.fromkeys(burn.level.value for burn in BURNS))
            rows.append(
                (promise.name, f"{share} available in {_long(promise.window)}", burns, level, "keeps")
            )
    for probe in rules.probes:
        if probe.service == service.name:
            often = f"every {_long(probe.every)}, {probe.failures} failures in a row"
            rows.append((probe.name, probe.url, often, probe.level.value, "is a failure"))
    if service.kind is Kind.CLOUD_RUN:
        rows.append(
            (
                "anomalies",
                "five metrics together",
                rules.anomalies.of(service.name),
                rules.anomalies.level,
                "keeps",
            )
        )
    return [("rule", "speaks at", "for", "level", "no data"), *rows] if rows else []


def _limit(rule: Threshold) -> tuple[str, str, str, str]:
    """A threshold in words: its limit, how long, how loud, and what silence means."""
    what = METRICS.get(rule.key, rule.metric if isinstance(rule.metric, str) else rule.metric.statistic.value)
    unit = Unit.SHARE if rule.week_ago else rule.unit
    limit = f"{what} {'>' if rule.above else '<'} {shown(rule.limit, unit)}"
    limit += " of a week ago" if rule.week_ago else ""
    lasting = _long(rule.lasting) + (f", each over {_long(rule.over)}" if rule.over else "")
    silence = {Silence.KEEP: "keeps", Silence.OK: "is fine", Silence.ALERT: ""}[rule.no_data]
    if rule.silent_for is not None:
        silence = f"alerts after {_long(rule.silent_for)}"
    level = rule.level.value + (f" in {rule.channel}" if rule.channel else "")
    return limit, lasting, level, silence


def _deploys(policy: Policy) -> tuple[str, ...]:
    """Service by service who approves and how traffic moves; then what stands in the way, and who passes."""
    deploys = policy.deploys
    services = [service for service in policy.services if service.kind is Kind.CLOUD_RUN]
    if not any(deploys.rule(service.name).approvers for service in services):
        return ("/deploy is off: deploys.approvers is nobody",)
    lines: list[str] = []
    for service in services:
        why = why_not_deployed(service)
        rows = [("off", why)] if why is not None else _deploy_rule(deploys.rule(service.name))
        lines += [service.name, *_indented(_table(rows))]
    urgent = deploys.emergency
    rows = [(f"frozen: {freeze.name}", _freeze(policy, freeze)) for freeze in deploys.freezes]
    passed = f"{', '.join(urgent.people)}, past {', '.join(urgent.skips)}" if urgent.people else "nobody"
    return (*lines, *_table([*rows, ("emergency", passed)]))


def _backups(policy: Policy) -> tuple[str, ...]:
    """Plan by plan what is copied, when and where to, what is kept, and how it is proven."""
    if not policy.backups.plans:
        return ("none: nothing is copied. docs/backups.md says how to add a plan",)
    lines: list[str] = []
    for plan in policy.backups.plans:
        parts = ", ".join(f"{part.source.value}{f' {part.of}' if part.of else ''}" for part in plan.parts)
        rows = [
            ("copies", f"{parts} (second destination of {plan.second_of})" if plan.second_of else parts),
            ("when", f"{plan.schedule.line} ({plan.schedule.zone}), done within {_long(plan.expected)}"),
            ("to", plan.destination),
            ("encrypted", _encrypted(plan)),
            ("keeps", _kept(plan)),
            ("alerts as", plan.level.value),
            ("drill", _drilled(plan)),
        ]
        lines += [plan.name, *_indented(_table(rows))]
    return tuple(lines)


def _encrypted(plan: BackupPlan) -> str:
    names = [part.name for part in plan.parts if part.encrypt]
    plain = [part.name for part in plan.parts if not part.encrypt]
    if not names:
        return "no"
    others = f"; not {', '.join(plain)}, which Toban does not hold" if plain else ""
    return f"{', '.join(names)}{others}"


def _kept(plan: BackupPlan) -> str:
    spans = {name: getattr(plan.keep, name) for name in ("daily", "weekly", "monthly")}
    kept = ", ".join(f"{many} {name}" for name, many in spans.items() if many)
    return f"{kept or 'every copy'}; {'deletes the others' if plan.deletes else 'deletes nothing by itself'}"


def _drilled(plan: BackupPlan) -> str:
    if plan.drill is None:
        return "never restored to prove it: add drill"
    when = plan.drill.schedule
    return (
        f"{when.line} ({when.zone})" if when is not None else "only when somebody asks: /toban backup drill"
    )


def _deploy_rule(rule: DeployRule) -> list[tuple[str, str]]:
    if not rule.approvers:
        return [("off", "its approvers are nobody")]
    own = "their own too" if rule.self_approval else "not their own"
    who = f"{rule.approvals} of {', '.join(rule.approvers)} ({own}), within {_long(rule.expires)}"
    bakes = [rule.bake] * (len(rule.steps) - 1) + [rule.watch]
    limit = f"where more than {shown(rule.threshold, Unit.SHARE)} fail"
    return [
        ("approved by", who),
        ("where risky", f"{rule.risky_approvals} of them"),
        *(
            [("rollbacks", "an approver alone, to a revision that served before")]
            if rule.rollback_alone
            else []
        ),
        (
            "images from",
            ", ".join(rule.images) or "everywhere; two approve where that is elsewhere than what serves",
        ),
        ("asked first", ", ".join(check.path for check in rule.checks) or "nothing"),
        (
            "traffic",
            ", ".join(f"{step} % for {_long(bake)}" for step, bake in zip(rule.steps, bakes, strict=True)),
        ),
        ("promoted", f"from {rule.minimum} requests on"),
        ("taken back", f"{limit} ({rule.level}), or nobody answers for {_long(rule.patience)}"),
        ("alerts meanwhile", f"page after {_long(rule.hold)}" if rule.hold else "page at once"),
    ]


def _freeze(policy: Policy, freeze: Freeze) -> str:
    services = ", ".join(freeze.services) or "all services"
    if freeze.cron is None:
        return f"the holidays of {policy.rules.holidays}, {services}"
    return f"crontab {freeze.cron} for {_long(freeze.lasting)}, {services}"


def _levels(policy: Policy) -> tuple[str, ...]:
    rows = [
        (str(level), ", ".join(word for word, meant in policy.levels.items() if meant is level))
        for level in reversed(Level)
    ]
    return _table([*rows, ("others", "warning, shown as they came")])


def _webhooks(settings: Settings, webhooks: Sequence[str]) -> tuple[str, ...]:
    ways = []
    if settings.webhook_password is not None:
        ways.append(f"Basic as {settings.webhook_user}")
    if settings.webhook_tokens:
        many = len(settings.webhook_tokens)
        ways.append(f"{many} token{'s' if many > 1 else ''} (Bearer or ?auth_token=)")
    state = " or ".join(ways) or "answers 503: no secret is set"
    return _table([(f"/webhooks/{sender}", state) for sender in webhooks])


def _program(settings: Settings) -> tuple[str, ...]:
    modes = {
        "socket": "Socket Mode",
        "http": f"HTTP at {_address(settings)}/slack/events",
        None: "not set up",
    }
    slack = modes[settings.slack_mode]
    if settings.slack_api_url != "https://slack.com/api/":
        slack += f", API at {settings.slack_api_url}"
    stand_ins = [one for one in (settings.gcp_endpoint, settings.gcp_http_endpoint) if one is not None]
    return _table(
        [
            ("listens on", _address(settings)),
            ("database", settings.database_shown),
            ("Slack", slack),
            ("Google Cloud", f"stand-in at {' and '.join(stand_ins)}" if stand_ins else "the real one"),
            ("language", f"{settings.locale} in channels"),
            ("log", f"{settings.log_format}, {settings.log_level} and above"),
            ("/metrics", _metrics(settings)),
        ]
    )


def _metrics(settings: Settings) -> str:
    if settings.metrics_access is MetricsAccess.OPEN:
        return "open to all"
    if settings.metrics_token is None:
        return "closed: set TOBAN_METRICS_TOKEN, or TOBAN_METRICS_ACCESS=open"
    return "asks for a bearer token"


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _long(length: timedelta) -> str:
    """A length as people say it: 5 min, 1 h 30 min."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def _table(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Rows in columns as wide as their cells look: a Japanese character takes two places."""
    from rich.cells import cell_len, set_cell_size  # Only this command needs it.

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return tuple(
        "  ".join(set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
