"""The one shared step: signals open alert groups, incidents and ladders, whoever saw them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from domain import alerts as rules
from domain.alerts import Alert, AlertGroup, AlertStatus, Reason, Signal, is_apart
from domain.policy import Policy
from domain.ports import Tx
from operations import counters
from operations.consequences import Change, follow


class _Batch:
    """Groups and alerts as they stand while a batch of signals is absorbed in memory.

    A group that the batch opens has a negative number of its own until all of them are written at once.
    """

    def __init__(self, alerts: dict[str, Alert], groups: dict[str, AlertGroup]) -> None:
        self.alerts = alerts
        self.newest = groups
        self.by_id: dict[int | None, AlertGroup] = {group.id: group for group in groups.values()}
        self.changed: dict[str, Alert] = {}
        self.reasons: dict[int, Counter[Reason]] = {}
        self.touched: set[int] = set()
        self.opened: list[int] = []
        self.ended: dict[int, tuple[Signal, datetime]] = {}
        self.heard: Counter[Reason] = Counter()

    def placed(self, signal: Signal, at: datetime) -> Signal:
        """The signal with the key of the group that it belongs to, which may be one of its own place."""
        group = self.newest.get(signal.group_key)
        if signal.apart_key is None or group is None or not is_apart(group, signal, at):
            return signal
        return signal.model_copy(update={"group_key": signal.apart_key, "apart_key": None})

    def group_for(self, signal: Signal, alert: Alert | None) -> AlertGroup | None:
        """An alert that is not over belongs where it is; any other to the newest group of its key."""
        if alert is not None and alert.firing:
            return self.by_id.get(alert.group_id)
        if alert is not None and alert.silent:
            silent_in = self.by_id.get(alert.group_id)
            if silent_in is not None and silent_in.is_open:
                return silent_in
        return self.newest.get(signal.group_key)

    def changes(self) -> list[Change]:
        """What became of each group that is new or changed, in the order of their numbers."""
        return [
            Change(self.by_id[number], self.reasons[number], is_changed=number in self.touched)
            for number in sorted(self.touched | set(self.opened))
        ]

    def open(self, group: AlertGroup) -> AlertGroup:
        """A group that is new."""
        number = -1 - len(self.opened)
        self.opened.append(number)
        return group.model_copy(update={"id": number})

    def number(self, stored: Sequence[AlertGroup]) -> None:
        """The new groups, in the order in which they were opened, have their real numbers now."""
        real = dict(zip(self.opened, stored, strict=True))
        self.opened = [group.id for group in stored if group.id is not None]
        self.newest = {key: real.get(group.id or 0, group) for key, group in self.newest.items()}
        self.by_id = {
            group.id: group for group in (real.get(one.id or 0, one) for one in self.by_id.values())
        }
        self.touched -= real.keys()
        self.reasons = {_real(real, number): why for number, why in self.reasons.items()}
        self.ended = {_real(real, number): end for number, end in self.ended.items()}
        for identity, alert in self.changed.items():
            if alert.group_id in real:
                placed = alert.model_copy(update={"group_id": _real(real, alert.group_id)})
                self.changed[identity] = self.alerts[identity] = placed


def _real(real: Mapping[int, AlertGroup], number: int) -> int:
    group = real.get(number)
    return number if group is None or group.id is None else group.id


async def receive(tx: Tx, policy: Policy, heard: Sequence[tuple[Signal, datetime]], at: datetime) -> None:
    """Take in signals with the moments at which they were heard, in order, inside the caller's transaction.

    Safe to repeat. Reads and writes by the batch: its cost is per group and per changed alert.
    """
    batch = await _load(tx, [signal for signal, _ in heard])
    for signal, heard_at in heard:
        _absorb(batch, signal, heard_at)
    batch.number(await tx.add_groups([batch.by_id[number] for number in batch.opened]))
    await tx.save_alerts(list(batch.changed.values()))
    for group_id, (signal, ended_at) in batch.ended.items():
        left = await tx.end_alerts(group_id, ended_at)
        _end_group(batch, group_id, left, signal, ended_at)
    await follow(tx, policy, batch.changes(), batch.by_id, at)
    for reason, count in batch.heard.items():
        counters.signals.labels(reason=reason.value).inc(count)


async def let_go(tx: Tx, policy: Policy, group_id: int, at: datetime) -> None:
    """The hold of a group is over: what still fires is answered as if it began now."""
    group = (await tx.groups([group_id])).get(group_id)
    if group is None or group.status is not AlertStatus.FIRING:
        return
    if group.held_until is None or group.held_until > at:
        return
    change = Change(group=group, reasons=Counter({Reason.OUTLIVED: 1}), is_changed=True)
    await follow(tx, policy, [change], {group.id: group}, at)


async def _load(tx: Tx, signals: Sequence[Signal]) -> _Batch:
    alerts = await tx.alerts([signal.identity for signal in signals])
    keys = [signal.group_key for signal in signals]
    keys += {signal.apart_key for signal in signals if signal.apart_key is not None}
    batch = _Batch(alerts, await tx.newest_groups(keys))
    elsewhere = {
        alert.group_id
        for alert in alerts.values()
        if (alert.firing or alert.silent) and alert.group_id is not None and alert.group_id not in batch.by_id
    }
    for group in (await tx.groups(sorted(elsewhere))).values():
        batch.by_id[group.id] = group
    for identity, alert in alerts.items():
        if (alert.firing or alert.silent) and alert.group_id not in batch.by_id:  # Its group cannot be read.
            alerts[identity] = rules.without_group(alert)
    return batch


def _absorb(batch: _Batch, signal: Signal, heard_at: datetime) -> None:
    signal = batch.placed(signal, heard_at)
    _note_end(batch, signal, heard_at)
    known = batch.alerts.get(signal.identity)
    before = batch.group_for(signal, known)
    absorbed = rules.absorb(before, known, signal, heard_at)
    batch.heard[absorbed.reason] += 1
    group, alert = absorbed.group, absorbed.alert
    if group is not None and group is not before:
        if group.id is None:
            group = batch.open(group)
        else:
            batch.touched.add(group.id)
        batch.by_id[group.id] = group
        batch.newest[group.key] = group
    if alert is not known:
        if group is not None and group is not before:
            alert = alert.model_copy(update={"group_id": group.id})
        batch.alerts[signal.identity] = batch.changed[signal.identity] = alert
    if group is not None and group.id is not None:
        batch.reasons.setdefault(group.id, Counter())[absorbed.reason] += 1


def _note_end(batch: _Batch, signal: Signal, heard_at: datetime) -> None:
    """A sender says that nothing of a group fires of which it could not name everything, now or before."""
    group = batch.newest.get(signal.group_key)
    if signal.ends_group and group is not None and group.id is not None and (signal.large or group.omitted):
        batch.ended[group.id] = (signal, heard_at)


def _end_group(batch: _Batch, group_id: int, left: int, signal: Signal, heard_at: datetime) -> None:
    """What was not named has ended as well; ``left`` alerts began to fire later, and keep it open."""
    group = batch.by_id[group_id]
    if not group.is_open or group.firing == left > 0:
        return
    if left:
        ended = group.model_copy(update={"firing": left, "omitted": 0})
    else:
        ended = rules.over(group, signal, heard_at)
        batch.reasons.setdefault(group_id, Counter())[Reason.ALL_RESOLVED] += 1
    batch.newest[group.key] = batch.by_id[group_id] = ended
    batch.touched.add(group_id)
    batch.reasons.setdefault(group_id, Counter())
