"""Text from outside is never live markup."""

import re

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
        ("5 *", "5 ∗"),
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


@pytest.mark.parametrize(
    "text",
    ["deploy :fire: now", ":+1:", "a:smile:b", ":skin-tone-2::wave:", ":障害:", "::x::", ":100: %", ":1234:"],
)
def test_14_9_emoji_codes_from_outside_are_shown_as_they_were_written(text):
    for shown in (mrkdwn(text), line(text), header(text)["text"]["text"]):
        assert not re.search(r":[\w'+-]*[^\W\d][\w'+-]*:|:100:|:1234:|:\+1:", shown), shown
        assert len(shown) == len(text)


@pytest.mark.parametrize("text", ["at 12:30:45", "http://x:8080/a", "a: b: c", "2026-11-30T01:02:03Z"])
def test_14_9_times_and_addresses_keep_their_colons(text):
    assert mrkdwn(text) == text


def test_14_9_our_own_mark_of_a_header_stays_an_emoji():
    assert header("a :fire: b", ":red_circle:")["text"]["text"] == ":red_circle: a ∶fire: b"


@pytest.mark.parametrize("mark", ["*", "`", "~", "> "])
def test_14_9_a_lone_mark_changes_nothing_around_it(mark):
    """It would open what the next mark of our own closes, or quote the line."""
    for text in (f"{mark}disk", f"disk{mark}", f"{mark}", f"disk\n{mark}full"):
        shown = f"*ours* {mrkdwn(text)} *ours* `ours`"
        assert shown.count("*") == 4 and shown.count("`") == 2 and "~" not in shown, shown
        assert not re.search(r"^\s*&gt;", mrkdwn(text), re.MULTILINE), shown


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "127.0.0.1", "127.1", "0x7f000001", "0x7f.1", "2130706433", "017700000001"),
        *("localhost", "LOCALHOST", "api.localhost", "localhost.", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"),
        *(
            "[fe80::1]",
            "[::ffff:169.254.169.254]",
            "[fd00:ec2::254]",
            "metadata.google.internal",
            "１２７.0.0.1",
        ),
    ],
)
def test_14_9_an_address_of_the_machine_itself_is_named_and_no_link(host):
    made = Links(None).outside(f"http://{host}:8080/admin", "Open")
    assert made is None or ("<" not in made and "Open (" in made), made


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "grafana.corp.example", "192.168.0.7", "[2001:db8::1]", "127.example"]
)
def test_14_9_other_addresses_stay_links(host):
    made = Links(None).outside(f"https://{host}/d/1", "Open")
    assert made is not None and made.startswith("<https://")
