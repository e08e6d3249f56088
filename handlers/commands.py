"""The commands and their verbs: which act each is, and which one a person meant."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from domain.authority import Act
from domain.effects import Subject
from domain.errors import Refused
from handlers.typed import END, Line, said


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of a command.

    ``harms``: it ends, moves or silences something, so no typo is ever answered with it. ``also``: what else
    people call it.
    """

    act: Act
    harms: bool = False
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """One command. ``verbs``: by their words, ``""`` for the command alone."""

    name: str
    verbs: Mapping[str, Verb]

    def among(self, before: str) -> dict[str, str]:
        """The next words that follow ``before``, each with the verb that it makes of it."""
        found: dict[str, str] = {}
        for name, verb in self.verbs.items():
            first, _, last = name.rpartition(" ")
            if first == before and last:
                found |= dict.fromkeys((last, *verb.also), name)
        return found


INCIDENT = Command(
    "/incident",
    MappingProxyType(
        {
            "": Verb(Act.READ_INCIDENTS),
            "declare": Verb(Act.INCIDENT_DECLARE, also=("宣言",)),
            "list": Verb(Act.READ_INCIDENTS, also=("一覧",)),
            "show": Verb(Act.READ_INCIDENTS, also=("表示", "詳細")),
            "ack": Verb(Act.ACKNOWLEDGE, also=("acknowledge", "対応", "対応する")),
            "resolve": Verb(Act.INCIDENT_RESOLVE, harms=True, also=("解決", "解決済み")),
            "help": Verb(Act.READ_HELP, also=("ヘルプ",)),
        }
    ),
)
DEPLOY = Command(
    "/deploy",
    MappingProxyType(
        {
            "": Verb(Act.DEPLOY_REQUEST),
            "status": Verb(Act.READ_DEPLOYS, also=("状態", "状況")),
            "pause": Verb(Act.DEPLOY_PAUSE, also=("一時停止",)),
            "resume": Verb(Act.DEPLOY_RESUME, harms=True, also=("再開",)),
            "promote": Verb(Act.DEPLOY_PROMOTE, harms=True),
            "abort": Verb(Act.DEPLOY_ABORT, harms=True, also=("中止",)),
            "rollback": Verb(Act.DEPLOY_REQUEST, harms=True, also=("ロールバック",)),
            "lock": Verb(Act.SERVICE_LOCK, also=("ロック",)),
            "unlock": Verb(Act.SERVICE_UNLOCK, harms=True, also=("ロック解除",)),
            "freeze": Verb(Act.READ_DEPLOYS),
            "history": Verb(Act.READ_DEPLOYS, also=("履歴",)),
            "diff": Verb(Act.DEPLOY_PLAN, also=("差分",)),
            "help": Verb(Act.READ_HELP, also=("ヘルプ",)),
        }
    ),
)
"""A service that bears the name of a verb is reached by the form."""

TOBAN = Command(
    "/toban",
    MappingProxyType(
        {
            "": Verb(Act.READ_HELP),
            "health": Verb(Act.READ_HEALTH, also=("ヘルス", "状態")),
            "anomalies": Verb(Act.READ_ANOMALIES, also=("anomaly", "異常")),
            "anomalies list": Verb(Act.READ_ANOMALIES),
            "anomalies explain": Verb(Act.READ_ANOMALIES),
            "anomalies mute": Verb(Act.SERVICE_MUTE, harms=True),
            "anomalies unmute": Verb(Act.SERVICE_UNMUTE),
            "backup": Verb(Act.READ_BACKUPS, also=("backups", "バックアップ")),
            "backup status": Verb(Act.READ_BACKUPS),
            "backup list": Verb(Act.READ_BACKUPS),
            "backup history": Verb(Act.READ_BACKUPS),
            "backup run": Verb(Act.BACKUP_RUN),
            "backup drill": Verb(Act.DRILL_REQUEST, harms=True),
            "backup accept": Verb(Act.BACKUP_ACCEPT, harms=True),
            "capacity": Verb(Act.READ_CAPACITY, also=("容量", "キャパシティ")),
            "jobs": Verb(Act.READ_JOBS, also=("ジョブ",)),
            "quiet": Verb(Act.READ_JOBS),
            "quiet end": Verb(Act.QUIET_END, harms=True),
            "help": Verb(Act.READ_HELP, also=("ヘルプ",)),
        }
    ),
)


ANOTHER = Command("", MappingProxyType({"": Verb(Act.READ_HELP)}))
"""A command that Slack sends us and that we do not know."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A command that was typed: its verb, ``None`` for a word that is none, and the line behind it.

    ``subject``: what a number in front of the verb names.
    """

    command: Command
    verb: str | None
    act: Act
    line: Line
    subject: Subject | None = None

    def demand_end(self) -> None:
        """Refused for words that the verb would ignore, as if it did what they say."""
        if not self.line.is_over:
            command = f"{self.command.name} {self.verb}"
            raise Refused("refused.not_understood", given=self.line.rest()[:60], command=command)

    def unknown(self) -> Refused:
        """What to answer where the next word is no verb: the nearest harmless one, or the list."""
        name, before = self.command.name, self.verb or ""
        word = self.line.peek() or self.line.text.strip()
        given = " ".join(filter(None, (name, before, word)))[:60]
        meant = nearest(word.casefold(), self.command.among(before))
        verb = None if meant is None else self.command.verbs[meant]
        if verb is None or verb.harms:
            return Refused("refused.unknown_command", given=given, command=name)
        return Refused("refused.unknown_command_near", given=given, meant=f"{name} {meant}", command=name)


def read(command: Command, text: str) -> Typed:
    """Read the verb of a command as Slack sends its text."""
    line = Line(said(text))
    verb = ""
    while (found := next_verb(line, command, verb)) is not None:
        verb = found
    if not verb and not line.is_empty:
        return Typed(command, None, Act.READ_HELP, line)
    return Typed(command, verb, command.verbs[verb].act, line)


def next_verb(line: Line, command: Command, before: str = "") -> str | None:
    """The verb that the next word makes of the one before it, which is taken."""
    words = command.among(before)
    if not words:
        return None
    found = line.take(re.compile(f"(?:{'|'.join(words)}){END}", re.IGNORECASE))
    return words[found[0].casefold()] if found is not None else None


def nearest(word: str, words: Mapping[str, str]) -> str | None:
    """The verb that a typo is near to: one slip in a short word, two in a long one; else ``None``.

    Two that are as near are none: nobody knows which was meant.
    """
    slips = 0 if len(word) < 3 else 1 if len(word) < 6 else 2
    found = {
        verb: min(_slips(word, one) for one, of in words.items() if of == verb) for verb in words.values()
    }
    near = min(found.values(), default=slips + 1)
    best = [verb for verb, far in found.items() if far == near]
    return best[0] if near <= slips and len(best) == 1 else None


def _slips(one: str, other: str) -> int:
    """Letters that are missing, too many, wrong or in the wrong order."""
    if abs(len(one) - len(other)) > 2:
        return 3
    before, row = [], list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        before, last, row = row, before, [at]
        for place, wanted in enumerate(other, 1):
            cost = min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != wanted))
            if at > 1 and place > 1 and letter == other[place - 2] and one[at - 2] == wanted:
                cost = min(cost, last[place - 2] + 1)
            row.append(cost)
    return row[-1]
