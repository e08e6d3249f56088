"""Every text that a person sees, by key, in every language; compiled into memory at the start."""

import re
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from domain.effects import TOBAN, Text
from domain.views import Posted
from notify.slack.escape import clamp, line, mrkdwn, plain
from notify.slack.links import Links
from notify.texts import amounts

LOCALES = ("en", "ja")
_ACCOUNT = re.compile(r"[UW][A-Z0-9]{2,20}")
_CHANNEL = re.compile(r"[CG][A-Z0-9]{8,20}")
HERE = Path(__file__).parent

WORDS = frozenset(
    (
        *("level", "severity", "status", "means", "place", "metric", "direction", "work", "stage"),
        *("change", "drift", "image", "backup_standing", "retention", "drill_state"),
    )
)
"""Formats of our own closed values: each value is a text, ``level.critical``."""


class MissingText(KeyError):
    """A key that a catalogue does not have, or a parameter that its message needs."""


@cache
def catalogue(locale: str) -> Mapping[str, str]:
    """All messages of a language. Raises ``MissingText`` for an empty or fuzzy one."""
    from babel.messages.pofile import read_po

    with (HERE / f"{locale}.po").open("rb") as file:
        found = read_po(file, locale=locale, abort_invalid=True)
    messages: dict[str, str] = {}
    for message in found:
        if not message.id:
            continue
        if not message.string or message.fuzzy:
            raise MissingText(f"{locale}: {message.id}")
        messages[str(message.id)] = str(message.string)
    return messages


def language(locale: str | None, default: str = "en") -> str:
    """The catalogue for a Slack locale such as ``ja-JP``; the default for a language we do not speak."""
    short = (locale or "").replace("_", "-").split("-")[0].casefold()
    return short if short in LOCALES else default


class _Formatter(string.Formatter):
    """``{at:time}`` and the like: the message says how a parameter is shown, and all is escaped once."""

    def __init__(self, voice: "Voice", *, markup: bool) -> None:
        self._voice = voice
        self._markup = markup

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if key not in kwargs:
            raise MissingText(f"parameter {key}")
        return kwargs[str(key)]

    def format_field(self, value: Any, format_spec: str) -> str:
        if not self._markup:
            return self._plain(value, format_spec)
        match format_spec:
            case "time":
                return moment(int(value), "{time}")
            case "when":
                return moment(int(value), "{date_short_pretty} {time}")
            case "day":
                return moment(int(value), "{date_num}")
            case "metrics":
                return self._voice.names([self._voice.plain_word("metric", str(key)) for key in value])
            case "skips":
                return self._voice.joint.join(self._voice.word("skip", str(key)) for key in value)
            case "people":
                return self._voice.people(value)
            case "names":
                return self._voice.names(value)
            case "person":
                return self._voice.person(str(value))
            case "title":
                return line(self._voice.title(value), 200)
            case "mentions":
                return self._voice.mentions(value)
            case "card":
                return self._voice.card(value)
            case "channel":
                return f"<#{value}>" if _CHANNEL.fullmatch(str(value)) else line(str(value), 80)
            case kind if kind in WORDS:
                return self._voice.word(kind, str(value))
            case "amount" | "span" | "rarity":
                return self._voice.quantity(format_spec, value)
            case "long":
                return mrkdwn(str(value), 2000)
            case "markup":
                return str(value)
            case "":
                return line(str(value), 200)
            case other:
                raise MissingText(f"format {other}")

    def _plain(self, value: Any, format_spec: str) -> str:
        if format_spec in {"amount", "span", "rarity"}:
            return self._voice.quantity(format_spec, value)
        if format_spec in WORDS:
            return self._voice.plain_word(format_spec, str(value))
        if format_spec == "card":
            return self._voice.title(value["title"])
        if format_spec == "title":
            return plain(self._voice.title(value), 200)
        if format_spec == "person":
            return self._voice.plain_person(str(value))
        if format_spec == "people":
            return self._voice.joint.join(self._voice.plain_person(str(name)) for name in value)
        if format_spec == "skips":
            return self._voice.joint.join(self._voice.plain_word("skip", str(key)) for key in value)
        if format_spec in {"names", "metrics", "mentions"}:
            return self._voice.joint.join(plain(str(name), 80) for name in value)
        return plain(str(value), 200)


class Voice:
    """One language."""

    def __init__(self, locale: str, links: Links | None = None) -> None:
        self.locale = locale
        self._links = links or Links(None)
        self._messages = catalogue(locale)
        self._formatter = _Formatter(self, markup=True)
        self._plain = _Formatter(self, markup=False)

    def linking(self, links: Links) -> "Voice":
        """The same voice, which knows how our own messages are reached."""
        return Voice(self.locale, links)

    def mentions(self, accounts: Sequence[str]) -> str:
        """Slack accounts, so that each of them hears of it; what is no account is a name."""
        return self.joint.join(f"<@{one}>" if _ACCOUNT.fullmatch(one) else line(one, 80) for one in accounts)

    def card(self, of: Mapping[str, Any]) -> str:
        """The title of a card of ours, linked to where it is posted."""
        posted = Posted.model_validate(of["posted"]) if of["posted"] else None
        return self._links.message(posted, self.title(of["title"]))

    def title(self, title: str | Mapping[str, Any]) -> str:
        """A title from outside as it is, our own in this language."""
        return title if isinstance(title, str) else self.plain(title["key"], **title["params"])

    def __call__(self, key: str, **params: Any) -> str:
        """The message as Slack markup, its parameters escaped. Raises ``MissingText``."""
        try:
            message = self._messages[key]
        except KeyError:
            raise MissingText(f"{self.locale}: {key}") from None
        return self._formatter.vformat(message, (), params)

    def plain(self, key: str, **params: Any) -> str:
        """The message for a ``plain_text`` object, which knows no markup and needs no escape."""
        try:
            message = self._messages[key]
        except KeyError:
            raise MissingText(f"{self.locale}: {key}") from None
        return self._plain.vformat(message, (), params)

    def plain_word(self, kind: str, value: str) -> str:
        """``word`` without markup."""
        return self._messages.get(f"{kind}.{value}", plain(value, 60))

    def say(self, text: Text) -> str:
        """The same for a text that was stored."""
        return self(text.key, **text.params)

    def word(self, kind: str, value: str) -> str:
        """The word for one of our own closed values: ``level.critical``."""
        message = self._messages.get(f"{kind}.{value}")
        return message if message is not None else line(value, 60)

    def quantity(self, form: str, value: Any) -> str:
        """``amount`` of a pair (value, unit), ``span`` of seconds, ``rarity`` of a score."""
        if form == "amount":
            number, unit = value
            return amounts.amount(number, unit, self.locale)
        shown = amounts.span if form == "span" else amounts.rarity
        return shown(float(value), self.locale)

    @property
    def joint(self) -> str:
        """What stands between the parts of a list."""
        return self._messages["list.separator"].replace("␣", " ")

    def person(self, name: str) -> str:
        """A person as this language names them; Toban itself by its name."""
        return line(name, 80) if name == TOBAN.name else self("list.person", name=clamp(name, 80))

    def plain_person(self, name: str) -> str:
        """``person`` without markup."""
        return plain(name, 80) if name == TOBAN.name else self.plain("list.person", name=clamp(name, 80))

    def people(self, names: Sequence[str]) -> str:
        """Several people, as a list in this language."""
        return self.joint.join(self.person(str(name)) for name in names)

    def names(self, names: Sequence[str]) -> str:
        """Several names of things, as a list in this language."""
        return self.joint.join(line(str(name), 80) for name in names)


@cache
def voice(locale: str) -> Voice:
    """The voice of a language, made once."""
    return Voice(locale)


def moment(seconds: int, form: str) -> str:
    """A time that each reader sees in their own zone; UTC where it cannot be shown so."""
    at = datetime.fromtimestamp(seconds, UTC)
    fallback = at.strftime("%Y-%m-%d %H:%M UTC")
    return f"<!date^{seconds}^{form}|{fallback}>"
