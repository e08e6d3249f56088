"""Counts what freezes, cuts and kills of replicas cost: senders' books against the database and Slack."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from bench.kill_count import FIRST_RUNG, Books, Count, Row
from bench.replicas_load import Said
from sandbox.slack.workspace import Workspace

LATE = 10.0
"""Seconds within which an emergency's page must be in Slack after its alert was accepted."""


class ReplicaCount(Count):
    """As after kills; here alerts end too, what was not accepted may be there, and delays are measured.

    ``rang`` is when each message was posted in Slack, by its key, however often.
    """

    def __init__(
        self,
        books: Books,
        slack: Workspace,
        said: Collection[Said],
        rang: Mapping[str, Sequence[float]],
    ) -> None:
        self._said, self._rang = said, rang
        super().__init__(books, slack, [one.plan for one in said if one.accepted_at is not None], [])

    def _check(self) -> None:
        super()._check()
        self._rung_twice()
        self._reopened()
        self._late_pages()

    def _totals(self) -> None:
        held = Counter(row["group_id"] for row in self._tables["alert"])
        firing = Counter(row["group_id"] for row in self._tables["alert"] if row["firing"])
        self._note(
            "wrong totals",
            (
                f"alert:{group['id']} says {group['total']} ({group['firing']} fire), has"
                f" {held[group['id']]} ({firing[group['id']]})"
                for group in self._groups.values()
                if (group["total"], group["firing"]) != (held[group["id"]], firing[group["id"]])
            ),
        )

    def _rung_twice(self) -> None:
        twice = {key: times for key, times in self._rang.items() if len(times) > 1}
        pages = [f"{key}: {_spread(times)}" for key, times in twice.items() if key.startswith("page:")]
        others = [f"{key}: {_spread(times)}" for key, times in twice.items() if not key.startswith("page:")]
        self._note("pages that rang twice", pages)
        self._note("other messages posted twice", others)

    def _reopened(self) -> None:
        """A trouble whose end was accepted is over, has fired once, and has one thread."""
        rows = {row["labels"]: row for row in self._tables["alert"]}
        bad = []
        for one in self._said:
            if not one.over:
                continue
            mine = [row for text, row in rows.items() if self._is_about(one, row, text)]
            for row in mine:
                group = self._groups[row["group_id"]]
                if row["firing"] or group["firing"] or group["status"] != "resolved" or group["fires"] > 1:
                    bad.append(f"{one.plan.name}: {group['status']}, fired {group['fires']} times")
            if len({row["group_id"] for row in mine}) > 1:
                bad.append(f"{one.plan.name}: more than one group")
        self._note("reopened", bad)
        self.facts["ends accepted"] = sum(one.over for one in self._said)

    def _is_about(self, one: Said, row: Row, labels: str) -> bool:
        return one.plan.name in labels or row["identity"].endswith(one.plan.name)

    def _late_pages(self) -> None:
        delays: dict[str, list[float]] = defaultdict(list)
        late = []
        for one in self._said:
            if one.accepted_at is None:
                continue
            for row in self._tables["alert"]:
                if not self._is_about(one, row, row["labels"]):
                    continue
                for page in self._first_pages(self._groups[row["group_id"]]):
                    seen = self._seen_at(page)
                    # Only the first alert of a trouble pages.
                    if self._groups[row["group_id"]]["total"] != 1 or seen is None:
                        continue
                    delays[row["level"]].append(seen - one.accepted_at)
                    if row["level"] == "emergency" and seen - one.accepted_at > LATE:
                        late.append(f"{one.plan.name}: {page['person']} after {seen - one.accepted_at:.1f} s")
        self._note("emergencies paged late", late)
        waits = [
            (_seconds(row["drained_at"]) or 0.0) - (_seconds(row["received_at"]) or 0.0)
            for row in self._tables["inbox"]
            if row["drained_at"] is not None
        ]
        self.delays["deliveries: drained after, seconds, worst"] = max(waits, default=0.0)
        for level, found in sorted(delays.items()):
            self.delays[f"{level}: pages measured"] = len(found)
            self.delays[f"{level}: page after, seconds, median"] = statistics.median(found)
            self.delays[f"{level}: page after, seconds, worst"] = max(found)

    def _first_pages(self, group: Row) -> list[Row]:
        subjects = {f"alert:{group['id']}", f"incident:{group['incident_id']}"}
        ladders = {row["id"] for row in self._tables["escalation"] if row["subject"] in subjects}
        wanted = FIRST_RUNG[group["level"]]
        return [
            page
            for page in self._tables["page"]
            if page["escalation_id"] in ladders and page["person"] in wanted
        ]

    def _seen_at(self, page: Row) -> float | None:
        """When the page was in Slack: as a message, else as a line in the list of another one."""
        times = self._rang.get(f"page:{page['id']}")
        if times:
            return min(times)
        return _seconds(page["delivered_at"])


def _seconds(at: datetime | int | None) -> float | None:
    """Epoch seconds of a moment as the database holds it: a time, or milliseconds."""
    if isinstance(at, datetime):
        return at.timestamp()
    return at / 1000 if at is not None else None


def _spread(times: Sequence[float]) -> str:
    return f"{len(times)} times within {max(times) - min(times):.1f} s"
