"""Block Kit's composition objects and interactive elements as tables; limits: Slack's reference, 2026-11."""

from typing import Any

from sandbox.slack.blockkit_shape import (
    Check,
    Report,
    anything,
    boolean,
    by_type,
    integer,
    items,
    one_of,
    pattern,
    plain,
    shape,
    string,
    text,
    web_address,
)

Json = dict[str, Any]

CONFIRM = shape(
    {"title": plain(100), "text": text(300), "confirm": plain(30), "deny": plain(30)},
    {"style": one_of("primary", "danger")},
)


def _action_id(value: Any, at: str, report: Report) -> None:
    string(255)(value, at, report)
    if isinstance(value, str):
        if value in report.action_ids:
            report.fault(at, f"action_id already exists in this block: {value}", "unique", value)
        report.action_ids.add(value)


def _focus(value: Any, at: str, report: Report) -> None:
    boolean(value, at, report)
    if value is True:
        report.focused += 1
        if report.focused > 1:
            report.fault(at, "only one element can have focus_on_load", "unique", "focus_on_load")


def _option(*kinds: str, url: bool = False) -> Check:
    extra: dict[str, Check] = {"description": text(75, *kinds)}
    if url:
        extra["url"] = web_address()
    return shape({"text": text(75, *kinds), "value": string(150)}, extra)


_CHOICE = _option("plain_text")
_MARKED = _option()
_GROUP = shape({"label": plain(75), "options": items(_CHOICE, 1, 100)})


def _distinct(key: str) -> Any:
    def check(value: Json, at: str, report: Report) -> None:
        options = value.get(key)
        values = [o.get("value") for o in options if isinstance(o, dict)] if isinstance(options, list) else []
        for initial in _initials(value):
            if values and initial not in values:
                report.fault(at, "initial option(s) must match one of the options", "initial", initial)

    return check


def _initials(value: Json) -> list[Any]:
    one, many = value.get("initial_option"), value.get("initial_options")
    chosen = [one] if isinstance(one, dict) else []
    chosen += many if isinstance(many, list) else []
    return [option.get("value") for option in chosen if isinstance(option, dict)]


def _options_or_groups(value: Json, at: str, report: Report) -> None:
    if ("options" in value) == ("option_groups" in value):
        report.fault(at, "must provide exactly one of options or option_groups", "required", "options")
    _distinct("options")(value, at, report)


def _element(kind: str, required: dict[str, Check], optional: dict[str, Check], then: Any = None) -> Check:
    common: dict[str, Check] = {"action_id": _action_id}
    return shape({"type": one_of(kind), **required}, {**common, **optional}, then)


def _menu(
    kind: str, extra: dict[str, Check], required: dict[str, Check] | None = None, then: Any = None
) -> Check:
    common: dict[str, Check] = {"placeholder": plain(150), "confirm": CONFIRM, "focus_on_load": _focus}
    if kind.startswith("multi_"):
        common["max_selected_items"] = integer(1, 10_000)
    return _element(kind, required or {}, {**common, **extra}, then)


_ID = string(255)
_IDS = items(_ID, 0, 100)
_STATIC: dict[str, Check] = {"options": items(_CHOICE, 1, 100), "option_groups": items(_GROUP, 1, 100)}
_FILTER: dict[str, Check] = {"default_to_current_conversation": boolean, "filter": anything}
_RESPONSE_URL: dict[str, Check] = {"response_url_enabled": boolean}

SELECTS: dict[str, Check] = {
    "static_select": _menu("static_select", {**_STATIC, "initial_option": _CHOICE}, then=_options_or_groups),
    "external_select": _menu(
        "external_select", {"initial_option": _CHOICE, "min_query_length": integer(0, 1000)}
    ),
    "users_select": _menu("users_select", {"initial_user": _ID}),
    "channels_select": _menu("channels_select", {"initial_channel": _ID, **_RESPONSE_URL}),
    "conversations_select": _menu(
        "conversations_select", {"initial_conversation": _ID, **_RESPONSE_URL, **_FILTER}
    ),
    "multi_static_select": _menu(
        "multi_static_select", {**_STATIC, "initial_options": items(_CHOICE, 1, 100)}, then=_options_or_groups
    ),
    "multi_external_select": _menu(
        "multi_external_select",
        {"initial_options": items(_CHOICE, 1, 100), "min_query_length": integer(0, 1000)},
    ),
    "multi_users_select": _menu("multi_users_select", {"initial_users": _IDS}),
    "multi_channels_select": _menu("multi_channels_select", {"initial_channels": _IDS}),
    "multi_conversations_select": _menu(
        "multi_conversations_select", {"initial_conversations": _IDS, **_FILTER}
    ),
}


def _ticks(kind: str, initial: dict[str, Check]) -> Check:
    common: dict[str, Check] = {"confirm": CONFIRM, "focus_on_load": _focus}
    return _element(kind, {"options": items(_MARKED, 1, 10)}, {**initial, **common}, _distinct("options"))


def _picker(kind: str, initial: dict[str, Check]) -> Check:
    common: dict[str, Check] = {"confirm": CONFIRM, "focus_on_load": _focus, "placeholder": plain(150)}
    return _element(kind, {}, {**common, **initial})


def _typed(kind: str, extra: dict[str, Check], required: dict[str, Check] | None = None) -> Check:
    common: dict[str, Check] = {
        "placeholder": plain(150),
        "focus_on_load": _focus,
        "dispatch_action_config": shape(
            {"trigger_actions_on": items(one_of("on_enter_pressed", "on_character_entered"), 1, 2)}
        ),
    }
    return _element(kind, required or {}, {**common, **extra}, _length_order)


def _length_order(value: Json, at: str, report: Report) -> None:
    low, high = value.get("min_length"), value.get("max_length")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        report.fault(at, "min_length must not exceed max_length", "range", [low, high])


BUTTON = _element(
    "button",
    {"text": plain(75)},
    {
        "value": string(2000, 0),
        "url": web_address(),
        "style": one_of("primary", "danger"),
        "confirm": CONFIRM,
        "accessibility_label": string(75),
        "agent_prompt": string(4000),
        "agent_prompt_display": anything,
        "visible_to_user_ids": items(_ID, 1, 10),
    },
)
OVERFLOW = _element(
    "overflow", {"options": items(_option("plain_text", url=True), 1, 5)}, {"confirm": CONFIRM}
)


def one_source(value: Json, at: str, report: Report) -> None:
    """Check that a picture has an address or a file, not both."""
    if ("image_url" in value) == ("slack_file" in value):
        report.fault(at, "must provide exactly one of image_url or slack_file", "required", "image_url")


def _id_or_url(value: Json, at: str, report: Report) -> None:
    if ("id" in value) == ("url" in value):
        report.fault(at, "must provide exactly one of id or url", "required", "id")


SLACK_FILE = shape({}, {"id": pattern(r"^[F][A-Z0-9]{8,}$"), "url": web_address()}, _id_or_url)
IMAGE = shape(
    {"type": one_of("image"), "alt_text": string(2000)},
    {"image_url": web_address(), "slack_file": SLACK_FILE},
    one_source,
)
_DATE = {"initial_date": string(10, 10)}
_TIME = {"initial_time": string(5, 5), "timezone": string(255)}

_SHARED: dict[str, Check] = {
    **SELECTS,
    "checkboxes": _ticks("checkboxes", {"initial_options": items(_MARKED, 1, 10)}),
    "radio_buttons": _ticks("radio_buttons", {"initial_option": _MARKED}),
    "datepicker": _picker("datepicker", dict(_DATE)),
    "timepicker": _picker("timepicker", dict(_TIME)),
}
_PRESSED: dict[str, Check] = {
    "button": BUTTON,
    "overflow": OVERFLOW,
    "workflow_button": _element(
        "workflow_button",
        {"text": plain(75), "workflow": anything},
        {"style": one_of("primary", "danger"), "accessibility_label": string(75)},
    ),
}
_MOMENT = _element(
    "datetimepicker",
    {},
    {"initial_date_time": integer(0, 9_999_999_999), "confirm": CONFIRM, "focus_on_load": _focus},
)

ACCESSORY = by_type({**_SHARED, **_PRESSED, "image": IMAGE})
ACTION = by_type({**_SHARED, **_PRESSED, "datetimepicker": _MOMENT})
INPUT = by_type(
    {
        **_SHARED,
        "datetimepicker": _MOMENT,
        "plain_text_input": _typed(
            "plain_text_input",
            {
                "multiline": boolean,
                "initial_value": string(3000, 0),
                "min_length": integer(0, 3000),
                "max_length": integer(1, 3000),
            },
        ),
        "rich_text_input": _typed("rich_text_input", {"initial_value": anything}),
        "email_text_input": _typed("email_text_input", {"initial_value": string(3000, 0)}),
        "url_text_input": _typed("url_text_input", {"initial_value": string(3000, 0)}),
        "number_input": _typed(
            "number_input",
            {"initial_value": string(3000, 0), "min_value": string(64), "max_value": string(64)},
            {"is_decimal_allowed": boolean},
        ),
        "file_input": _element("file_input", {}, {"filetypes": anything, "max_files": integer(1, 10)}),
    }
)
CONTEXT_ELEMENT = by_type({"image": IMAGE, "plain_text": text(3000), "mrkdwn": text(3000)})
CONTEXT_ACTION = by_type(
    {
        "feedback_buttons": _element(
            "feedback_buttons", {"positive_button": anything, "negative_button": anything}, {}
        ),
        "icon_button": _element(
            "icon_button",
            {"icon": string(255), "text": plain(75)},
            {
                "value": string(2000, 0),
                "confirm": CONFIRM,
                "accessibility_label": string(75),
                "visible_to_user_ids": items(_ID, 1, 10),
            },
        ),
    }
)
