"""A strict judge of Block Kit: what Slack would accept in a message, a modal or a Home tab, and why not."""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from sandbox.slack.blockkit_elements import (
    ACCESSORY,
    ACTION,
    CONTEXT_ACTION,
    CONTEXT_ELEMENT,
    INPUT,
    SLACK_FILE,
    one_source,
)
from sandbox.slack.blockkit_rich import RICH_ELEMENT
from sandbox.slack.blockkit_shape import (
    Check,
    Problem,
    Report,
    anything,
    boolean,
    by_type,
    items,
    one_of,
    plain,
    shape,
    string,
    text,
    web_address,
)

Json = dict[str, Any]
Surface = Literal["message", "modal", "home"]

MOST_BLOCKS: Mapping[Surface, int] = {"message": 50, "modal": 100, "home": 100}
MOST_LETTERS = 13_000  # Undocumented; msg_blocks_too_long was seen near 13,200 (slackapi/bolt-js#2509).
MOST_VIEW_BYTES = 250_000


def _block(
    kind: str, required: dict[str, Check], optional: dict[str, Check] | None = None, then: Any = None
) -> Check:
    return shape({"type": one_of(kind), **required}, {"block_id": _block_id, **(optional or {})}, then)


def _block_id(value: Any, at: str, report: Report) -> None:
    string(255)(value, at, report)
    if isinstance(value, str):
        if value in report.block_ids:
            report.fault(at, f"block_id already exists: {value}", "unique", value)
        report.block_ids.add(value)


def _section(value: Json, at: str, report: Report) -> None:
    if "text" not in value and "fields" not in value:
        report.fault(at, "missing required field: text or fields", "required", "text")


def _input(value: Json, at: str, report: Report) -> None:
    report.inputs += 1


def _markdown(value: Any, at: str, report: Report) -> None:
    string(12_000)(value, at, report)
    if isinstance(value, str):
        report.markdown += len(value)
        report.letters += len(value)
        if report.markdown > 12_000:
            report.fault(at, "markdown blocks may hold 12000 characters together", "max_length", 12_000)


_CELL = by_type(
    {
        "raw_text": shape({"type": one_of("raw_text"), "text": string(10_000)}),
        "raw_number": anything,
        "rich_text": shape({"type": one_of("rich_text"), "elements": items(RICH_ELEMENT, 1, 100)}),
    }
)


def _table(value: Json, at: str, report: Report) -> None:
    report.tables += 1
    if report.tables > 1 and report.surface == "message":
        report.fault(at, "only one table allowed per message", "max_items", 1)
    if len(orjson.dumps(value.get("rows", []))) > 40_000 or _letters_of(value.get("rows")) > 10_000:
        report.fault(at, "a table may hold 10000 characters", "max_length", 10_000)


def _letters_of(value: Any) -> int:
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(_letters_of(inner) for inner in value.values())
    return sum(_letters_of(inner) for inner in value) if isinstance(value, list) else 0


def _loose(kind: str, *required: str) -> Check:
    """Return a check for the newer blocks, of which only the required keys are judged."""

    def check(value: Any, at: str, report: Report) -> None:
        report.letters += _letters_of(value)
        if "block_id" in value:
            _block_id(value["block_id"], f"{at}/block_id", report)
        for key in required:
            if key not in value:
                report.fault(at, f"missing required field: {key}", "required", key)

    return check


_EVERYWHERE: dict[str, Check] = {
    "section": _block(
        "section",
        {},
        {"text": text(3000), "fields": items(text(2000), 1, 10), "accessory": ACCESSORY, "expand": boolean},
        _section,
    ),
    "header": _block("header", {"text": plain(150)}),
    "divider": _block("divider", {}),
    "context": _block("context", {"elements": items(CONTEXT_ELEMENT, 1, 10)}),
    "actions": _block("actions", {"elements": items(ACTION, 1, 25)}),
    "image": _block(
        "image",
        {"alt_text": string(2000)},
        {"image_url": web_address(), "slack_file": SLACK_FILE, "title": plain(2000)},
        one_source,
    ),
    "input": _block(
        "input",
        {"label": plain(2000), "element": INPUT},
        {"hint": plain(2000), "optional": boolean, "dispatch_action": boolean},
        _input,
    ),
    "rich_text": _block("rich_text", {"elements": items(RICH_ELEMENT, 0, 1000)}),
    "video": _loose("video", "alt_text", "title", "thumbnail_url", "video_url"),
    "card": _loose("card"),
}
_WIDE: dict[str, Check] = {
    "table": _block(
        "table",
        {"rows": items(items(_CELL, 1, 20), 1, 100)},
        {"column_settings": items(anything, 0, 20)},
        _table,
    ),
    "carousel": _loose("carousel", "elements"),
    "container": _loose("container", "child_blocks"),
    "data_table": _loose("data_table", "rows", "caption"),
    "data_visualization": _loose("data_visualization", "title"),
}
BLOCKS: Mapping[Surface, Mapping[str, Check]] = {
    "message": {
        **_EVERYWHERE,
        **_WIDE,
        "markdown": _block("markdown", {"text": _markdown}),
        "context_actions": _block("context_actions", {"elements": items(CONTEXT_ACTION, 1, 5)}),
        "plan": _loose("plan", "title"),
        "task_card": _loose("task_card", "task_id", "title"),
        "file": _loose("file", "external_id", "source"),
    },
    "modal": {
        **_EVERYWHERE,
        "alert": _block(
            "alert", {"text": text(200)}, {"level": one_of("default", "info", "warning", "error", "success")}
        ),
    },
    "home": {**_EVERYWHERE, **_WIDE},
}
_ONE: Mapping[Surface, Check] = {surface: by_type(table) for surface, table in BLOCKS.items()}


def _judge(blocks: Any, surface: Surface, at: str, report: Report) -> None:
    if not isinstance(blocks, list):
        report.fault(at, "must be an array", "type", "array")
        return
    if len(blocks) > MOST_BLOCKS[surface]:
        most = MOST_BLOCKS[surface]
        report.fault(at, f"no more than {most} items allowed", "max_items", most)
    for index, block in enumerate(blocks):
        report.action_ids = set()
        _ONE[surface](block, f"{at}/{index}", report)


def judge_blocks(blocks: Any, surface: Surface, at: str = "") -> list[Problem]:
    """Return every fault of a list of blocks on a surface; an empty list means that Slack would take it."""
    report = Report(surface)
    _judge(blocks, surface, at, report)
    return report.problems


def letters(blocks: Any) -> int:
    """Return how many characters of text the blocks hold together."""
    return _letters_of(blocks)


_VIEW_COMMON: dict[str, Check] = {
    "private_metadata": string(3000, 0),
    "callback_id": string(255, 0),
    "external_id": string(255, 0),
}
_MODAL = shape(
    {"type": one_of("modal"), "title": plain(24), "blocks": anything},
    {
        **_VIEW_COMMON,
        "submit": plain(24),
        "close": plain(24),
        "clear_on_close": boolean,
        "notify_on_close": boolean,
        "submit_disabled": boolean,
    },
)
_HOME = shape({"type": one_of("home"), "blocks": anything}, _VIEW_COMMON)


def judge_view(view: Any, kinds: tuple[str, ...] = ("modal", "home"), at: str = "") -> list[Problem]:
    """Return every fault of a modal or Home view; ``kinds`` are the types that the method accepts."""
    kind = view.get("type") if isinstance(view, dict) else None
    if kind not in kinds:
        return [Problem(f"{at}/type", f"unsupported type: {kind}", "enum", list(kinds))]
    surface: Surface = "modal" if kind == "modal" else "home"
    report = Report(surface)
    (_MODAL if kind == "modal" else _HOME)(view, at, report)
    if isinstance(view, dict) and "blocks" in view:
        _judge(view["blocks"], surface, f"{at}/blocks", report)
        if kind == "modal" and report.inputs and "submit" not in view:
            report.fault(at, "missing required field: submit", "required", "submit")
    return report.problems


_METADATA = shape({"event_type": string(255), "event_payload": anything}, {"entities": anything})


def judge_metadata(metadata: Any) -> bool:
    """Say whether message metadata has Slack's shape: event_type and an object event_payload."""
    if metadata == {}:
        return True
    report = Report("message")
    _METADATA(metadata, "", report)
    if isinstance(metadata, dict) and not isinstance(metadata.get("event_payload"), dict):
        return bool(metadata.get("entities")) and not report.problems
    return not report.problems
