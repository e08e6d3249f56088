"""Text from outside is never live markup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.views import Posted
from notify.slack.blocks import button, confirm, context, fields, header, said, section
from notify.slack.escape import clamp, line, mrkdwn, paragraph, plain
from notify.slack.limits import BadBlocks, check_message
from notify.slack.links import Links


@given(st.text(max_size=300))
def test_nothing_from_outside_opens_a_tag_in_markup(text):
    shown = mrkdwn(text)
    assert "<" not in shown
    assert ">" not in shown
    assert shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0


@given(st.text(max_size=4000), st.integers(min_value=1, max_value=500))
def test_what_is_cut_fits_and_says_so(text, limit):
    assert len(clamp(text, limit)) <= limit
    assert 1 <= len(plain(text, limit)) <= limit
    assert 1 <= len(paragraph(text, limit)) <= limit


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("a & b", "a &amp; b"),
        ("<!channel>", "&lt;!channel&gt;"),
        ("snake_case_name", "snake_case_name"),
        ("_italic_", "ˍitalicˍ"),
        ("*bold*", "∗bold∗"),
        ("2 * 3", "2 * 3"),
        ("`code`", "ˋcodeˋ"),
        ("\u202eevil\u202c", " evil "),
        ("a\x00b", "a b"),
    ],
)
def test_markup_from_outside_is_shown_as_it_was_written(given_, shown):
    assert mrkdwn(given_) == shown


def test_a_line_has_no_breaks():
    assert line("a\nb\tc") == "a b c"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://x.example",
        "https://good.example@evil.example/",
        "https://",
        "",
    ],
)
def test_an_address_that_is_no_plain_web_page_is_no_link(address):
    assert Links(None).outside(address, "Open") is None


def test_a_link_shows_its_host_and_cannot_be_broken_open():
    made = Links(None).outside("https://evil.example/a|b>c<d&e f", "Open")
    assert made == "<https://evil.example/a%7Cb%3Ec%3Cd&amp;ef|Open (evil.example)>"


def test_a_link_to_our_own_message_names_channel_and_thread():
    posted = Posted(channel_id="C1", ts="17.000001", thread_ts="16.000002")
    made = Links("https://team.slack.com/").message(posted, "INC-1")
    assert made == "<https://team.slack.com/archives/C1/p17000001?thread_ts=16.000002&amp;cid=C1|INC-1>"


@given(st.text(max_size=6000))
def test_our_blocks_fit_slack_whatever_the_text(text):
    blocks = [
        header(text),
        said(text),
        fields([(line(text), line(text))] * 10),
        context(line(text), "x"),
        section(line(text) or "x"),
    ]
    check_message(line(text) or "x", blocks)


def test_a_danger_button_without_a_question_is_refused():
    row = {"type": "actions", "elements": [button("Drop", "x", "1", style="danger")]}
    with pytest.raises(BadBlocks, match="danger"):
        check_message("x", [row])
    sure = confirm("Sure?", "It is gone then.", "Drop", "Keep")
    row = {"type": "actions", "elements": [button("Drop", "x", "1", style="danger", confirm=sure)]}
    check_message("x", [row])
