"""Counts what the kills cost: the senders' and people's books against the database against Slack."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from bench.kill_load import ACKNOWLEDGE, AlertPlan, Click, buttons
from sandbox.slack.records import Post
from sandbox.slack.workspace import Workspace

Row = dict[str, Any]

FIRST_RUNG = {"warning": {"dan"}, "critical": {"kenji", "mika"}, "emergency": {"yuko"}}
"""Whom the policy of ``bench.kill_bot`` pages at once."""

RESTLESS = {
    "deliveries to drain": "SELECT count(*) FROM inbox WHERE status = 'pending'",
    "deliveries to tell": "SELECT count(*) FROM inbox WHERE status = 'quarantined' AND drained_at IS NULL",
    "messages to send": "SELECT count(*) FROM outbox WHERE status = 'pending'",
    "messages to look at again": "SELECT count(*) FROM outbox WHERE status = 'sent' AND due_at IS NOT NULL",
    "ladders to begin": "SELECT count(*) FROM escalation WHERE phase = 'due'",
    "pages to send": "SELECT count(*) FROM page WHERE status = 'queued'",
}
"""What still has to be done, by name."""


class Books:
    """The database, read from outside while the bot runs on it."""

    def __init__(self, url: str) -> None:
        driver = "sqlite+pysqlite" if url.startswith("sqlite") else "postgresql+psycopg"
        self._engine = sa.create_engine(f"{driver}://{url.partition('://')[2]}")

    def restless(self) -> dict[str, int]:
        """What is not at rest, by name; empty at rest."""
        with self._engine.connect() as connection:
            counts = {name: int(connection.scalar(sa.text(query)) or 0) for name, query in RESTLESS.items()}
        return {name: count for name, count in counts.items() if count}

    def rows(self, table: str) -> list[Row]:
        """A whole table."""
        with self._engine.connect() as connection:
            found = connection.execute(sa.text(f"SELECT * FROM {table}"))
            return [dict(row) for row in found.mappings()]

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()


class Count:
    """All books side by side. ``wrong`` must hold nothing but zeros; ``told`` explains each that is not."""

    def __init__(
        self, books: Books, slack: Workspace, alerts: Iterable[AlertPlan], clicks: Iterable[Click]
    ) -> None:
        self.told: list[str] = []
        self.wrong: dict[str, int] = {}
        self.facts: dict[str, int] = {}
        self.delays: dict[str, float] = {}
        self._alerts, self._clicks = list(alerts), list(clicks)
        names = ("alert", "alert_group", "incident", "escalation", "page", "outbox", "timeline", "inbox")
        self._tables = {name: books.rows(name) for name in names}
        self._groups = {row["id"]: row for row in self._tables["alert_group"]}
        self._letters = {row["key"]: row for row in self._tables["outbox"]}
        self._posts: dict[str, list[Post]] = defaultdict(list)
        for post in slack.state.posts.values():
            key = ((post.metadata or {}).get("event_payload") or {}).get("key")
            if key:
                self._posts[key].append(post)
        self._slack = slack
        self._happened = Counter((row["subject"], row["what"]) for row in self._tables["timeline"])
        self._check()

    def _check(self) -> None:
        self._lost_alerts()
        self._totals()
        self._missed_pages()
        self._doubles()
        self._left_over()
        self._stale_cards()
        self._clicks_without_effect()

    def _note(self, name: str, found: Iterable[Any]) -> None:
        cases = [str(case) for case in found]
        self.wrong[name] = len(cases)
        self.told += [f"{name}: {case}" for case in cases[:10]]

    def _lost_alerts(self) -> None:
        rows = self._tables["alert"]
        known = {row["identity"].rpartition(":")[2]: row for row in rows}
        known |= {json.loads(row["labels"]).get("instance", ""): row for row in rows}
        self._note("lost alerts", (alert.name for alert in self._alerts if alert.name not in known))
        quarantined = [row["error"] for row in self._tables["inbox"] if row["status"] == "quarantined"]
        self._note("deliveries put aside", quarantined)
        self.facts |= {"alerts accepted": len(self._alerts), "groups": len(self._groups)}

    def _totals(self) -> None:
        held = Counter(row["group_id"] for row in self._tables["alert"])
        self._note(
            "wrong totals",
            (
                f"alert:{group['id']} says {group['total']} ({group['firing']} fire), has {held[group['id']]}"
                for group in self._groups.values()
                if not group["total"] == group["firing"] == held[group["id"]]
            ),
        )
        wanted = len({alert.group for alert in self._alerts})
        self._note(
            "groups too many or too few",
            [f"{len(self._groups)} for {wanted}"] * (len(self._groups) != wanted),
        )

    def _missed_pages(self) -> None:
        """Everybody on the first rung of every trouble was paged once, unless somebody was quicker."""
        ladders = {row["id"]: row for row in self._tables["escalation"]}
        pages = self._tables["page"]
        by_subject: dict[str, list[Row]] = defaultdict(list)
        for page in pages:
            by_subject[ladders[page["escalation_id"]]["subject"]].append(page)
        missed = []
        for group in self._groups.values():
            wanted = FIRST_RUNG[group["level"]]
            subjects = [f"alert:{group['id']}", f"incident:{group['incident_id']}"]
            reached = {
                page["person"]
                for subject in subjects
                for page in by_subject[subject]
                if page["status"] == "delivered"
            }
            if not wanted <= reached and not any(self._taken(subject) for subject in subjects):
                missed.append(f"{' '.join(subjects)}: {sorted(reached)} of {sorted(wanted)}")
        for page in pages:
            posts = len(self._posts[f"page:{page['id']}"])
            # In a storm a page stands in the list of another one's message; one that has its own already
            # joins the next list as well, as long as nobody answers. Two of its own are counted elsewhere.
            listed = len(self._posts[f"page:{page['listed_in']}"]) if page["listed_in"] else 0
            running = ladders[page["escalation_id"]]["phase"] != "stopped"
            if page["status"] == "delivered" and not posts + listed:
                missed.append(f"page:{page['id']} is delivered and stands nowhere in Slack")
            elif page["status"] != "delivered" and (posts or running):
                missed.append(f"page:{page['id']} is {page['status']}, stands in Slack {posts} times")
        self._note("missed pages", missed)
        again = Counter((page["escalation_id"], page["person"]) for page in pages)
        self._note(
            "pages too many",
            (f"ladder {ladder}: {who}" for (ladder, who), count in again.items() if count > 1),
        )
        self.facts |= {"incidents": len(self._tables["incident"]), "pages": len(pages)}

    def _doubles(self) -> None:
        """Two messages of one key; two groups of one trouble; a message of ours without a key."""
        kinds = {"card": "duplicate cards", "note": "duplicate notes"}
        found: dict[str, list[str]] = {name: [] for name in kinds.values()} | {"duplicate pages": []}
        for key, posts in self._posts.items():
            if len(posts) > 1:
                name = "duplicate pages" if key.startswith("page:") else kinds[self._letters[key]["kind"]]
                found[name].append(f"{key} stands in Slack {len(posts)} times")
        twice = Counter(group["key"] for group in self._groups.values())
        found["duplicate cards"] += [f"{count} groups of one key" for count in twice.values() if count > 1]
        for name, cases in found.items():
            self._note(name, cases)
        self.facts["messages in Slack"] = sum(len(posts) for posts in self._posts.values())
        answers = [row for row in self._letters.values() if row["kind"] == "answer"]
        whispers = [post for post in self._slack.state.posts.values() if post.whisper_to]
        self.facts |= {"answers in the outbox": len(answers), "answers in Slack": len(whispers)}

    def _left_over(self) -> None:
        """Rows that wait for ever, were given up, or say that they stand where nothing stands."""
        bad = []
        for key, row in self._letters.items():
            stands = {(post.channel, post.ts) for post in self._posts[key]}
            if row["status"] in {"pending", "dead"}:
                bad.append(f"{key} is {row['status']} after {row['attempts']} attempts: {row['error']}")
            elif row["kind"] != "answer" and row["status"] == "sent":
                if (row["channel_id"], row["ts"]) not in stands:
                    bad.append(f"{key} should stand at {row['channel_id']} {row['ts']}")
                if row["shown"] < row["wanted"]:
                    bad.append(f"{key} shows {row['shown']} of {row['wanted']} changes")
        self._note("messages left over", bad)
        self.facts["rows of the outbox"] = len(self._letters)

    def _stale_cards(self) -> None:
        """What is acknowledged has no Acknowledge button any more, and what is not has one."""
        stale = []
        states = {f"alert:{row['id']}": row["status"] == "firing" for row in self._groups.values()}
        for row in self._tables["incident"]:
            states[f"incident:{row['id']}"] = row["acknowledged_at"] is None and row["status"] != "resolved"
        for group in self._groups.values():
            states[f"alert:{group['id']}"] &= states.get(f"incident:{group['incident_id']}", True)
        for key, asks in states.items():
            for post in self._posts[key]:
                shown = {element.get("action_id") for element in buttons(self._slack.message(post))}
                if bool(shown & set(ACKNOWLEDGE)) != asks:
                    wish = "should" if asks else "should not"
                    stale.append(f"{key} {wish} ask to be acknowledged, has {sorted(map(str, shown))}")
        self._note("stale cards", stale)
        self._note("cards missing", (key for key in states if not self._posts[key]))

    def _clicks_without_effect(self) -> None:
        titles = Counter(row["title"] for row in self._tables["incident"])
        bad = [click for click in self._clicks if not self._had_effect(click, titles)]
        self._note("clicks without an effect", bad)
        self.facts["clicks accepted"] = len(self._clicks)

    def _had_effect(self, click: Click, titles: Counter[str]) -> bool:
        if click.what == "declare":
            return titles[click.target] > 0
        if click.what == "press":
            return any(self._taken(subject) for subject in self._subjects(click.target))
        number = f"incident:{click.target.removeprefix('INC-')}"
        return (
            self._happened[number, "incident.resolved"] > 0
            if click.what == "resolve"
            else self._taken(number)
        )

    def _taken(self, subject: str) -> bool:
        kind = subject.partition(":")[0]
        return any(self._happened[subject, f"{kind}.{what}"] for what in ("acknowledged", "resolved"))

    def _subjects(self, subject: str) -> list[str]:
        """What a button speaks of: a page of its ladder's subject, an alert of its incident too."""
        kind, _, number = subject.partition(":")
        if kind == "page":
            ladder = next(row["escalation_id"] for row in self._tables["page"] if row["id"] == int(number))
            return [row["subject"] for row in self._tables["escalation"] if row["id"] == ladder]
        if kind == "alert":
            return [subject, f"incident:{self._groups[int(number)]['incident_id']}"]
        return [subject]
