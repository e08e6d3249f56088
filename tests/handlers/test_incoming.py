"""13.7: what Slack sends is cleaned once, before any listener."""

from handlers.incoming import cleaned


def test_texts_lose_controls_and_lone_surrogates_at_any_depth_13_7() -> None:
    sent = {
        "text": "a\0b\r\nc\td",
        "view": {"state": {"values": {"title": {"value": {"value": "\ud800disk\x1b[2J\x9f"}}}}},
        "actions": [{"value": "alert:1\0"}, 7, None, True],
    }
    assert cleaned(sent) == {
        "text": "ab\nc\td",
        "view": {"state": {"values": {"title": {"value": {"value": "disk[2J"}}}}},
        "actions": [{"value": "alert:1"}, 7, None, True],
    }


def test_what_people_write_stays_as_it_is_13_7() -> None:
    for text in ("障害です 🚒", "e\u0301 👨‍👩‍👧", "שלום", "a\u00a0b", "𝔸"):
        assert cleaned(text) == text
