"""How Toban's own watching becomes a signal like any other sender's."""

from dataclasses import dataclass

from domain.alerts import OURS, Signal, group_key
from domain.effects import Text, Wording
from domain.policy import Level, Service
from domain.series import moment

SOURCE = OURS


@dataclass(frozen=True, slots=True)
class Said:
    """What a signal says: for readers of any language, and plainly for everything else."""

    title: Text
    summary: Text
    plain: str
    value: str | None = None
    threshold: str | None = None


def signal(
    of: tuple[str, str],
    service: Service,
    level: Level,
    said: Said,
    *,
    labels: dict[str, str],
    started: int,
    ended: int | None,
    channel: str | None = None,
    part: str = "",
) -> Signal:
    """A signal of ours. ``of`` is the kind of watch and its name; one group is one name on one service.

    ``part`` tells the alerts of one group apart. ``ended`` (epoch seconds) makes it a recovery.
    """
    kind, name = of
    identity = ":".join(filter(None, (SOURCE, kind, name, service.name, part)))
    return Signal(
        source=SOURCE,
        identity=identity,
        group_key=group_key(SOURCE, kind, name, service.name),
        firing=ended is None,
        level=level,
        title=said.plain,
        service=service.name,
        labels=labels,
        runbook=service.runbook,
        value=said.value,
        threshold=said.threshold,
        started_at=moment(started),
        ended_at=None if ended is None else moment(ended),
        reusable=True,
        channel=channel,
        wording=Wording(title=said.title, summary=said.summary),
    )


def minutes(seconds: int) -> str:
    """A length as short as it is read: ``45 s``, ``5 min``, ``1 h 30 min``, ``3 d``."""
    parts: list[str] = []
    left = seconds
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count and len(parts) < 2:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"
