"""A YAML file read node by node, so that whatever is wrong with it is said with its line."""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

DURATION = re.compile(r"(?:([0-9]{1,5})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,5})m)?(?:([0-9]{1,5})s)?")

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to mend. ``line`` and ``column`` count from 1, as editors do."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Entry:
    """One ``key: value`` of a mapping."""

    key: Node
    value: Node


@dataclass
class Sheet:
    """The file being read: turns nodes into plain values and collects what is wrong."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def wrong(self, at: Node | int | None, message: str) -> None:
        """Note a problem at a node, at a line, or at the whole file. What it quotes stays on one line."""
        line, column = at if isinstance(at, int) else 1, 1
        if isinstance(at, Node):
            line, column = at.start_mark.line + 1, at.start_mark.column + 1
        clean = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)
        self.problems.append(Problem(self.file, line, column, clean))

    def entries(self, node: Node | None, where: str) -> dict[str, Entry]:
        """A mapping's entries in their order. A key that stands twice is a problem."""
        if node is None or is_null(node):
            return {}
        if not isinstance(node, MappingNode):
            self.wrong(node, f"{where} must be a mapping of `key: value` lines, not {kind(node)}")
            return {}
        found: dict[str, Entry] = {}
        for key, value in own(node):
            name = self.text(key, f"a key of {where}")
            if name is None:
                continue
            if name in found:
                first = found[name].key.start_mark.line + 1
                self.wrong(key, f'"{name}" stands twice in {where}; the first is on line {first}. Keep one')
                continue
            found[name] = Entry(key, value)
        for key, value in merged(node):
            found.setdefault(str(key.value), Entry(key, value))
        return found

    def fields(self, node: Node | None, where: str, allowed: Iterable[str]) -> dict[str, Node]:
        """A mapping's values by key; a key that nobody reads is a problem. An empty value is left out."""
        allowed = tuple(allowed)
        found = {}
        for name, entry in self.entries(node, where).items():
            if name not in allowed:
                self.wrong(entry.key, f'unknown key "{name}" in {where}{hint(name, allowed)}')
            elif not is_null(entry.value):
                found[name] = entry.value
        return found

    def items(self, node: Node, where: str) -> list[Node]:
        """A list's nodes."""
        if isinstance(node, SequenceNode):
            return list(node.value)
        self.wrong(node, f"{where} must be a list (lines that begin with `- `), not {kind(node)}")
        return []

    def text(self, node: Node | None, where: str) -> str | None:
        """A scalar as it is written; numbers count as text, since YAML takes many a name for one."""
        if node is None:
            return None
        if not isinstance(node, ScalarNode):
            self.wrong(node, f"{where} must be text, not {kind(node)}")
        elif node.tag not in _TEXT_TAGS:
            self.wrong(node, f'{where} must be text; `{node.value}` means {kind(node)}. Put it into "quotes"')
        elif not node.value.strip():
            self.wrong(node, f"{where} is empty. Fill it in, or remove it")
        else:
            return str(node.value).strip()
        return None

    def texts(self, node: Node | None, where: str) -> list[tuple[str, Node]]:
        """One text or a list of them, each once, with their nodes."""
        if node is None:
            return []
        found: dict[str, Node] = {}
        for item in node.value if isinstance(node, SequenceNode) else (node,):
            text = self.text(item, where)
            if text in found:
                self.wrong(item, f'"{text}" stands twice in {where}. Keep one')
            elif text is not None:
                found[text] = item
        return list(found.items())

    def shaped(self, node: Node | None, where: str, shape: re.Pattern[str], otherwise: str) -> str | None:
        """A text of a known shape."""
        text = self.text(node, where)
        if text is None or shape.fullmatch(text):
            return text
        assert node is not None
        self.wrong(node, f'{where}: "{text}" {otherwise}')
        return None

    def member(self, word: str, node: Node, where: str, kinds: type[E]) -> E | None:
        """A word of a closed set."""
        try:
            return kinds(word)
        except ValueError:
            self.wrong(node, f'{where}: unknown "{word}"{hint(word, list(kinds))}')
            return None

    def duration(self, node: Node | None, where: str) -> timedelta | None:
        """Such as 30s, 5m, 1h, 2d or 1h30m, and longer than nothing."""
        text = self.text(node, where)
        if text is None:
            return None
        assert node is not None
        match = DURATION.fullmatch(text)
        if match is None:
            example = f"{text}s or {text}m" if text.isdecimal() else "30s, 5m, 1h, 2d or 1h30m"
            self.wrong(node, f'{where}: "{text}" is not a duration. Write for example {example}')
            return None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if not length:
            self.wrong(node, f"{where} must be longer than nothing. Give it a length, or remove it")
            return None
        return length


_TEXT_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "timestamp")}
_NULL, _BOOL, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "merge"))


def is_null(node: Node) -> bool:
    return bool(node.tag == _NULL)


def kind(node: Node) -> str:
    """What a node is, in a person's words."""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    return {_NULL: "nothing", _BOOL: "yes or no"}.get(node.tag, "text")


def own(node: MappingNode) -> Iterator[tuple[Node, Node]]:
    return ((key, value) for key, value in node.value if key.tag != _MERGE)


def merged(node: MappingNode, seen: set[int] | None = None) -> Iterator[tuple[Node, Node]]:
    """What ``<<: *anchor`` brings in, nearest first. Each source once: no knot of anchors is endless."""
    seen = {id(node)} if seen is None else seen
    for key, value in node.value:
        if key.tag != _MERGE:
            continue
        for source in value.value if isinstance(value, SequenceNode) else (value,):
            if isinstance(source, MappingNode) and id(source) not in seen:
                seen.add(id(source))
                yield from own(source)
                yield from merged(source, seen)


def hint(word: str, allowed: Iterable[str]) -> str:
    """Did you mean that? And all that would be right."""
    known = {choice.casefold(): str(choice) for choice in allowed}
    near = difflib.get_close_matches(word.casefold(), known, n=1)
    guess = f'; did you mean "{known[near[0]]}"?' if near else "."
    return f"{guess} Allowed: {', '.join(known.values()) or 'none yet'}"


def compose(path: Path, sheet: Sheet) -> Node | None:
    """The file as a tree of nodes; ``None`` for an empty one."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        sheet.wrong(
            None, f"there is no such file. Copy the example and make it yours: cp toban.example.yaml {path}"
        )
    except OSError as error:
        sheet.wrong(None, f"cannot be read: {error.strerror}. Name a readable file in TOBAN_POLICY")
    except UnicodeDecodeError as error:
        sheet.wrong(
            data[: error.start].count(b"\n") + 1, "this line is not UTF-8 text. Save the file as UTF-8"
        )
    else:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            why = ", ".join(part for part in (error.context, error.problem) if part)
            advice = "Look at the indentation, colons and quotes here and on the line above"
            sheet.wrong(mark.line + 1 if mark else None, f"this is not YAML: {why}. {advice}")
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            sheet.wrong(line, f"the character U+{error.character:04X} is not allowed in YAML. Remove it")
        except RecursionError:
            sheet.wrong(None, "lists and mappings are nested far too deeply. A policy needs five levels")
    return None
