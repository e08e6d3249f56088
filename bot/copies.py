"""Reads which things a backup plan copies, and where to."""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from yaml import MappingNode, Node, SequenceNode

from bot.sheet import Sheet
from domain.backup_plans import Part, Source
from domain.objects import in_bucket
from domain.policy import Service

NAMED = frozenset({Source.CLOUD_SQL, Source.FIRESTORE, Source.BUCKET})
"""Of these there are several in a project, so that it must be said which one."""

OF_PROJECT = frozenset({Source.CLOUD_SQL, Source.FIRESTORE, Source.SECRETS})

TO_BUCKET = frozenset({Source.FIRESTORE, Source.BUCKET})
"""Google copies these by itself, and only into a bucket."""

NAMES = {
    Source.CLOUD_SQL: (re.compile(r"[a-z][a-z0-9-]{0,97}"), "an instance such as bondpoint-db"),
    Source.FIRESTORE: (
        re.compile(r"\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9]"),
        '"(default)" or the id of a database',
    ),
    Source.BUCKET: (
        re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\\\s]*)?"),
        "a bucket such as bondpoint-images, or bucket/prefix",
    ),
}
"""Google's rules for instances, databases and buckets."""

BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\\\s?#]*)?")


def read_destination(node: Node | None, where: str, sheet: Sheet) -> str | None:
    """A folder by its absolute path, or ``gs://bucket/prefix`` without a slash at its end."""
    text = sheet.text(node, where)
    if text is None:
        return None
    assert node is not None
    if in_bucket(text):
        if BUCKET.fullmatch(text) and ".." not in text.split("/"):
            return text.rstrip("/")
        sheet.wrong(
            node, f'{where}: "{text}" is not a bucket with a prefix, such as gs://bondpoint-backups/db'
        )
        return None
    path = PurePosixPath(text)
    if path.is_absolute() and ".." not in path.parts and len(path.parts) > 1:
        return str(path)
    sheet.wrong(
        node,
        f'{where}: "{text}" is neither a folder by its absolute path, such as /var/backups/toban, '
        "nor gs://bucket/prefix",
    )
    return None


def read_copies(
    node: Node | None, project: str | None, where: str, sheet: Sheet
) -> tuple[tuple[Part, Node], ...]:
    """The parts in their order, each with its place in the file. ``project``: whose they are."""
    found: dict[str, tuple[Part, Node]] = {}
    for word, of, at in _items(node, where, sheet):
        source = sheet.member(word, at, where, Source)
        if source is None:
            continue
        part = _part(source, of, project, at, where, sheet)
        if part is None:
            continue
        if part.name in found:
            sheet.wrong(at, f"{where}: {part.name} stands twice. Keep one")
        found.setdefault(part.name, (part, at))
    if node is not None and not found and not sheet.problems:
        sheet.wrong(node, f"{where} is empty: nothing would be copied. Allowed: {', '.join(Source)}")
    return tuple(found.values())


def _items(node: Node | None, where: str, sheet: Sheet) -> Iterator[tuple[str, str | None, Node]]:
    """One item or a list of them; each a word, or ``word: which one``."""
    if node is None:
        return
    for item in node.value if isinstance(node, SequenceNode) else (node,):
        if not isinstance(item, MappingNode):
            word = sheet.text(item, where)
            if word is not None:
                yield word, None, item
            continue
        entries = sheet.entries(item, where)
        if len(entries) != 1:
            sheet.wrong(item, f"{where}: write one thing in each item, such as `- cloud-sql: bondpoint-db`")
            continue
        for word, entry in entries.items():
            of = sheet.text(entry.value, f"{where}.{word}")
            if of is not None:
                yield word, of, entry.key


def _part(
    source: Source, of: str | None, project: str | None, at: Node, where: str, sheet: Sheet
) -> Part | None:
    if source not in NAMED:
        if of is not None:
            sheet.wrong(at, f"{where}: {source.value} stands alone. Write `- {source.value}`")
            return None
    else:
        shape, words = NAMES[source]
        if of is None:
            sheet.wrong(at, f"{where}: say which one. Write for example `- {source.value}: …`, {words}")
            return None
        if not shape.fullmatch(of):
            sheet.wrong(at, f'{where}: "{of}" is not {words}')
            return None
    if source in OF_PROJECT and project is None:
        sheet.wrong(at, f"{where}: whose {source.value}? Write `project:` into the plan")
        return None
    return Part(name=_name(source, of), source=source, of=of or "", project=project)


def _name(source: Source, of: str | None) -> str:
    """One within the plan, and good as a folder's name."""
    if of is None:
        return source.value
    return f"{source.value}-{re.sub(r'[^A-Za-z0-9._-]+', '-', of).strip('-.')}"


def only_project(services: Iterable[Service]) -> str | None:
    """The project of all services that name one, where that is one."""
    projects = {service.project for service in services if service.project}
    return projects.pop() if len(projects) == 1 else None
