"""Names and hashes of what a template holds beyond the domain's model, so that no edit rides along unseen."""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any

DIGITS = 32
"""Hexadecimal digits of a hash: 128 bits."""

NOT_SETTINGS = frozenset(
    (
        *("name", "uid", "generation", "create_time", "update_time", "delete_time", "expire_time", "service"),
        *("launch_stage", "reconciling", "conditions", "observed_generation", "log_uri", "satisfies_pzs"),
        *("scaling_status", "creator", "etag", "revision"),
    )
)
"""Of a revision: its name, its state, and what became of it. Of a template: the next revision's name."""

MODELLED = frozenset(
    (
        *("service_account", "max_instance_request_concurrency", "timeout", "session_affinity"),
        *("containers", "volumes", "labels", "annotations"),
    )
)
"""Read by name elsewhere, or taken apart below."""


def hashed(value: str, salt: str) -> str:
    """A value's hash under a plan's salt: enough to tell values apart, and nothing else of them."""
    return hmac.new(salt.encode(), value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[
        :DIGITS
    ]


def container_keys(containers: list[Any], main: Any) -> list[str]:
    """What each container is called: "" for the one that gets the requests, else its name or its place.

    ``#2`` can be nobody's name: names of containers are made of letters, digits and hyphens.
    """
    return ["" if one is main else (one.name or f"#{place}") for place, one in enumerate(containers, start=1)]


def details(source: Any, keys: Mapping[int, str], is_googles: Any, salt: str) -> dict[str, str]:
    """Hashes by the setting's name. ``source`` is the protobuf message; ``keys`` names containers by place.

    Fields that this client does not know are part of it too, by their number, but for those of the message
    itself, whose numbers mean different things in a template and in a revision.
    """
    found: dict[str, list[str]] = {}

    def note(name: str, leaves: Iterator[str]) -> None:
        for leaf in leaves:
            found.setdefault(name, []).append(leaf)

    for field, value in source.ListFields():
        if field.name in NOT_SETTINGS or field.name in MODELLED:
            continue
        if field.name == "scaling":
            note("scaling", (leaf for leaf in _leaves(value) if not leaf.startswith(_BOUNDS)))
        elif field.name == "execution_environment":
            found[field.name] = [str(value)]
        else:
            for inner, leaves in _by_field(value, field):
                note(f"{field.name}{inner}", leaves)
    for kind in ("labels", "annotations"):
        for key, value in getattr(source, kind).items():
            if not is_googles(key):
                # Brackets, since a container may be called "labels", and its settings begin with its name.
                found[f"{kind}[{key}]"] = [value]
    for volume in source.volumes:
        note(f"volume {volume.name}", (leaf for leaf in _leaves(volume) if not _SECRET.match(leaf)))
    for place, container in enumerate(source.containers):
        of = f"{keys[place]}: " if keys[place] else ""
        if of:
            found[f"{of}container"] = ["there"]
        for field, value in container.ListFields():
            if field.name in {"name", "image", "env", "build_info"}:
                continue
            if field.name == "resources":
                main = not of
                note(
                    f"{of}resources",
                    (leaf for leaf in _leaves(value) if not (main and leaf.startswith(_LIMITS))),
                )
            else:
                note(f"{of}{field.name}", _values(field, value, ""))
        for variable in container.env:
            note(f"{of}variable {variable.name}: unknown fields", _beyond(variable))
        note(f"{of}unknown fields", _unknown(container, ""))
    return {name: hashed("\n".join(sorted(leaves)), salt) for name, leaves in sorted(found.items()) if leaves}


_BOUNDS = ("min_instance_count=", "max_instance_count=")
_SECRET = re.compile(r"name=|secret\.secret=|secret\.items\[\d+\]\.version=")
_LIMITS = ("limits[cpu]=", "limits[memory]=")


def _beyond(variable: Any) -> Iterator[str]:
    """What a variable holds beside its name, its value, and the secret that it is read from."""
    yield from _unknown(variable, "")
    yield from _unknown(variable.value_source, "value_source.")
    yield from _unknown(variable.value_source.secret_key_ref, "value_source.secret_key_ref.")


def unknown_contents(source: Any, salt: str) -> tuple[str, ...]:
    """Hashes of the same without their numbers, which are others in a template and in a revision."""
    return tuple(sorted(hashed(leaf.partition("=")[2], salt) for leaf in _unknown(source, "")))


def unknown_fields(source: Any) -> tuple[str, ...]:
    """What the message itself holds that this client does not know; of a template, for its fingerprint."""
    return tuple(sorted(_unknown(source, "")))


def _by_field(value: Any, field: Any) -> Iterator[tuple[str, Iterator[str]]]:
    """The leaves of a message by its own fields, as ``vpc_access.connector``; of anything else as one."""
    if field.message_type is None or field.is_repeated:
        yield "", _values(field, value, "")
        return
    yield "", iter(["set"])
    for inner, content in value.ListFields():
        yield f".{inner.name}", _values(inner, content, "")
    yield ".unknown fields", _unknown(value, "")


def _leaves(message: Any) -> Iterator[str]:
    for field, value in message.ListFields():
        yield from _values(field, value, "")
    yield from _unknown(message, "")


def _values(field: Any, value: Any, path: str) -> Iterator[str]:
    """Every value below a field as ``path=value``; an empty message that is set counts as well."""
    here = f"{path}{field.name}"
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map:
        for key, item in value.items():
            yield f"{here}[{key}]={item!r}"
    elif field.is_repeated:
        for place, item in enumerate(value):
            yield from _item(field, item, f"{here}[{place}]")
    else:
        yield from _item(field, value, here)


def _item(field: Any, value: Any, path: str) -> Iterator[str]:
    if field.message_type is None:
        yield f"{path}={value!r}"
        return
    yield f"{path}="
    for inner, content in value.ListFields():
        yield from _values(inner, content, f"{path}.")
    yield from _unknown(value, f"{path}.")


def _unknown(message: Any, path: str) -> Iterator[str]:
    from google.protobuf.unknown_fields import UnknownFieldSet  # type: ignore[import-untyped]

    for field in UnknownFieldSet(message):
        yield f"{path}#{field.field_number}={_bytes(field.data)}"


def _bytes(data: Any) -> str:
    if isinstance(data, bytes | int):
        return repr(data)
    return repr([(inner.field_number, _bytes(inner.data)) for inner in data])
