"""The sandbox's Block Kit judge accepts what Slack accepts and refuses what Slack refuses."""

import copy
from typing import Any

import pytest
import slackblocks
from slackblocks import _limits
from slackblocks._core import resolve
from slackblocks._surfaces import _BLOCK_TYPES_BY_SURFACE

from sandbox.slack.blockkit import BLOCKS, judge_blocks, judge_view


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def option(text: str = "One", value: str = "1") -> dict[str, Any]:
    return {"text": plain(text), "value": value}


def button(**more: Any) -> dict[str, Any]:
    return {"type": "button", "action_id": "go", "text": plain("Go"), **more}


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "actions", "elements": list(elements)}


def section(text: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn(text), **more}


def field(element: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "input", "label": plain("Name"), "element": element, **more}


CONFIRM = {"title": plain("Sure?"), "text": mrkdwn("*Really*"), "confirm": plain("Yes"), "deny": plain("No")}
SELECT = {"type": "static_select", "action_id": "s", "options": [option()]}
TYPED = {"type": "plain_text_input", "action_id": "t"}

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("a section at its longest", section("x" * 3000)),
    ("ten fields", {"type": "section", "fields": [mrkdwn("x" * 2000)] * 10}),
    ("a header", {"type": "header", "text": plain("x" * 150)}),
    ("a button with a confirm dialog", actions(button(style="danger", confirm=CONFIRM))),
    ("twenty-five buttons", actions(*[button(action_id=str(n)) for n in range(25)])),
    (
        "an overflow menu",
        section(accessory={"type": "overflow", "action_id": "o", "options": [option()] * 5}),
    ),
    ("a select with its initial option", actions({**SELECT, "initial_option": option()})),
    (
        "a context with an image",
        {
            "type": "context",
            "elements": [
                mrkdwn("x"),
                {"type": "image", "image_url": "https://e.example/i.png", "alt_text": "i"},
            ],
        },
    ),
    ("an input", field(TYPED, optional=True, hint=plain("h"))),
    (
        "rich text",
        {
            "type": "rich_text",
            "elements": [
                {
                    "type": "rich_text_section",
                    "elements": [{"type": "text", "text": "x", "style": {"bold": True}}],
                }
            ],
        },
    ),
    (
        "a picture",
        {"type": "image", "image_url": "https://e.example/i.png", "alt_text": "i", "title": plain("t")},
    ),
]

BAD: list[tuple[str, dict[str, Any]]] = [
    ("an unknown block", {"type": "banner"}),
    ("no type", {"text": plain("x")}),
    ("not an object", "x"),  # type: ignore[list-item]
    ("an unknown key", section(colour="red")),
    ("a section too long", section("x" * 3001)),
    ("an empty text", section("")),
    ("a blank text", section("   ")),
    ("a section of nothing", {"type": "section"}),
    ("eleven fields", {"type": "section", "fields": [mrkdwn("x")] * 11}),
    ("a field too long", {"type": "section", "fields": [mrkdwn("x" * 2001)]}),
    ("a header in mrkdwn", {"type": "header", "text": mrkdwn("x")}),
    ("a header too long", {"type": "header", "text": plain("x" * 151)}),
    ("a mrkdwn text with emoji", section(text="x") | {"text": {**mrkdwn("x"), "emoji": True}}),
    ("a button in mrkdwn", actions(button(text=mrkdwn("x")))),
    ("a button too long", actions(button(text=plain("x" * 76)))),
    ("a button value too long", actions(button(value="x" * 2001))),
    ("an unknown style", actions(button(style="green"))),
    ("twenty-six buttons", actions(*[button(action_id=str(n)) for n in range(26)])),
    ("no buttons", actions()),
    ("one action_id twice in a block", actions(button(), button())),
    ("a script as address", actions(button(url="javascript:alert(1)"))),
    (
        "a confirm without deny",
        actions(button(confirm={key: CONFIRM[key] for key in ("title", "text", "confirm")})),
    ),
    ("a select without options", actions({**SELECT, "options": []})),
    (
        "a select with options and groups",
        actions({**SELECT, "option_groups": [{"label": plain("g"), "options": [option()]}]}),
    ),
    ("a select with a foreign initial option", actions({**SELECT, "initial_option": option("Two", "2")})),
    (
        "an option in mrkdwn in a select",
        actions({**SELECT, "options": [{"text": mrkdwn("x"), "value": "1"}]}),
    ),
    ("an option value too long", actions({**SELECT, "options": [option(value="x" * 151)]})),
    ("a hundred and one options", actions({**SELECT, "options": [option(value=str(n)) for n in range(101)]})),
    (
        "six overflow options",
        section(accessory={"type": "overflow", "action_id": "o", "options": [option()] * 6}),
    ),
    (
        "eleven radio buttons",
        actions(
            {"type": "radio_buttons", "action_id": "r", "options": [option(value=str(n)) for n in range(11)]}
        ),
    ),
    ("a text input among actions", actions(TYPED)),
    ("an input label in mrkdwn", field(TYPED) | {"label": mrkdwn("x")}),
    ("an input without element", {"type": "input", "label": plain("x")}),
    ("a max_length too high", field({**TYPED, "max_length": 3001})),
    ("eleven context elements", {"type": "context", "elements": [mrkdwn("x")] * 11}),
    ("an image without alt text", {"type": "image", "image_url": "https://e.example/i.png"}),
    ("an image without address", {"type": "image", "alt_text": "x"}),
    ("a block_id too long", section(block_id="x" * 256)),
    ("an unknown rich text element", {"type": "rich_text", "elements": [{"type": "paragraph"}]}),
    ("a null accessory", section(accessory=None)),
]


@pytest.mark.parametrize(("name", "block"), GOOD, ids=[name for name, _ in GOOD])
@pytest.mark.parametrize("surface", ["message", "modal", "home"])
def test_a_legal_block_passes_on_every_surface(name, block, surface):
    assert judge_blocks([copy.deepcopy(block)], surface) == []


@pytest.mark.parametrize(("name", "block"), BAD, ids=[name for name, _ in BAD])
def test_an_illegal_block_is_refused_with_a_pointer_to_the_fault(name, block):
    problems = judge_blocks([copy.deepcopy(block)], "message")
    assert problems
    assert all(problem.pointer.startswith("/0") for problem in problems)


def test_a_message_holds_fifty_blocks_and_a_modal_a_hundred():
    assert judge_blocks([section()] * 50, "message") == []
    assert judge_blocks([section()] * 51, "message")
    assert judge_blocks([section()] * 100, "modal") == []
    assert judge_blocks([section()] * 101, "modal")


def test_a_block_id_is_unique_in_the_whole_message_but_an_action_id_only_in_its_block():
    assert judge_blocks([section(block_id="a"), section(block_id="a")], "message")
    assert judge_blocks([actions(button()), actions(button())], "message") == []


def test_an_alert_block_belongs_in_modals_and_a_table_does_not():
    alert = {"type": "alert", "text": plain("x")}
    table = {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}]]}
    assert judge_blocks([alert], "message")
    assert judge_blocks([alert], "modal") == []
    assert judge_blocks([table], "modal")
    assert judge_blocks([table], "message") == []
    assert judge_blocks([table, table], "message")


def test_a_modal_with_an_input_needs_a_submit_button_and_its_titles_are_short():
    modal = {"type": "modal", "title": plain("T"), "blocks": [field(TYPED)]}
    assert judge_view(modal)
    assert judge_view({**modal, "submit": plain("Go")}) == []
    assert judge_view({**modal, "submit": plain("x" * 25)})
    assert judge_view({**modal, "submit": plain("Go"), "title": plain("x" * 25)})
    assert judge_view({**modal, "submit": plain("Go"), "private_metadata": "x" * 3001})
    assert judge_view({"type": "home", "blocks": [section()], "title": plain("T")})


def test_the_surfaces_agree_with_those_of_slackblocks():
    for surface, table in BLOCKS.items():
        assert set(table) == set(_BLOCK_TYPES_BY_SURFACE[surface]), surface


def test_what_slackblocks_builds_is_accepted():
    sb = slackblocks
    built = [
        sb.HeaderBlock("Critical"),
        sb.SectionBlock("*p95* is high", fields=["a", "b"]),
        sb.DividerBlock(),
        sb.ActionsBlock([sb.Button("Acknowledge", action_id="ack", value="1", style="primary")]),
        sb.ContextBlock(elements=[sb.Text("Paged")]),
    ]
    assert judge_blocks([resolve(block) for block in built], "message") == []


LIMITS = [
    (_limits.TEXT_MAX_LENGTH, lambda n: section("x" * n)),
    (_limits.BUTTON_TEXT_MAX_LENGTH, lambda n: actions(button(text=plain("x" * n)))),
    (_limits.BUTTON_VALUE_MAX_LENGTH, lambda n: actions(button(value="x" * n))),
    (_limits.ACTION_ID_MAX_LENGTH, lambda n: actions(button(action_id="x" * n))),
    (_limits.BLOCK_ID_MAX_LENGTH, lambda n: section(block_id="x" * n)),
    (
        _limits.CONFIRMATION_TITLE_MAX_LENGTH,
        lambda n: actions(button(confirm={**CONFIRM, "title": plain("x" * n)})),
    ),
    (
        _limits.CONFIRMATION_TEXT_MAX_LENGTH,
        lambda n: actions(button(confirm={**CONFIRM, "text": plain("x" * n)})),
    ),
    (
        _limits.CONFIRMATION_DENY_MAX_LENGTH,
        lambda n: actions(button(confirm={**CONFIRM, "deny": plain("x" * n)})),
    ),
    (_limits.OPTION_TEXT_MAX_LENGTH, lambda n: actions({**SELECT, "options": [option(text="x" * n)]})),
    (_limits.OPTION_VALUE_MAX_LENGTH, lambda n: actions({**SELECT, "options": [option(value="x" * n)]})),
    (
        _limits.SELECT_OPTIONS_MAX_ITEMS,
        lambda n: actions({**SELECT, "options": [option(value=str(i)) for i in range(n)]}),
    ),
    (_limits.SELECT_PLACEHOLDER_MAX_LENGTH, lambda n: actions({**SELECT, "placeholder": plain("x" * n)})),
    (_limits.OVERFLOW_OPTIONS_MAX_ITEMS, lambda n: actions({"type": "overflow", "options": [option()] * n})),
    (_limits.ACTIONS_ELEMENTS_MAX_ITEMS, lambda n: actions(*[button(action_id=str(i)) for i in range(n)])),
    (_limits.CONTEXT_ELEMENTS_MAX_ITEMS, lambda n: {"type": "context", "elements": [mrkdwn("x")] * n}),
    (
        _limits.TABLE_ROWS_MAX_ITEMS,
        lambda n: {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}]] * n},
    ),
]


@pytest.mark.parametrize(("limit", "build"), LIMITS)
def test_our_limits_are_those_of_slackblocks_to_the_character(limit, build):
    assert judge_blocks([build(limit)], "message") == []
    assert judge_blocks([build(limit + 1)], "message")
