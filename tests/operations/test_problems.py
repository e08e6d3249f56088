"""Open problems are counted once and closed once."""

from operations.problems import Problems


def test_a_problem_is_new_once_keeps_its_newest_reason_and_is_closed_once() -> None:
    problems = Problems()

    assert problems.report("slack.missing_scope", "chat:write is missing")
    assert not problems.report("slack.missing_scope", "files:write is missing")

    assert problems.current() == {"slack.missing_scope": "files:write is missing"}
    assert problems.clear("slack.missing_scope")
    assert not problems.clear("slack.missing_scope")
    assert problems.current() == {}
