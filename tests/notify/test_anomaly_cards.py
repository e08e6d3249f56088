"""What is said of anomalies and people's words on them (14.7, user 20)."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.effects import By
from domain.findings import Explained, ExplainedColumn, Finding, Verdict
from notify.slack.cards.anomalies import explained_card
from notify.slack.cards.findings import finding_card
from notify.texts import LOCALES, amounts, voice

AT = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)


def explained(value: float, score: float) -> str:
    column = ExplainedColumn(
        metric="latency", value=(value, "seconds"), low=(0.1, "seconds"), high=(0.5, "seconds"), score=score
    )
    at = int(AT.timestamp())
    one = Explained(service="api", at=at, ready_at=at - 60, threshold=4.5, columns=(column,))
    return str(explained_card(voice("en"), one).blocks)


def test_14_7_a_value_inside_its_own_band_is_not_called_rare_by_itself():
    said = explained(0.3, 6.2)
    assert "unusual over the last hour (rarer than 1 in 1,000,000)" in said
    assert "(rarer than" not in explained(0.3, 0.5)
    outside = explained(0.9, 6.2)
    assert "500 ms" in outside and "last hour" not in outside


def finding(verdict: Verdict | None) -> Finding:
    return Finding(
        id=3,
        service="api",
        driver="latency",
        direction="up",
        score=5.0,
        started_at=AT,
        seen_at=AT,
        verdict=verdict,
        verdict_by=By(id="U1", name="mika") if verdict else None,
        verdict_at=AT + timedelta(minutes=1) if verdict else None,
    )


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("said", list(Verdict))
def test_14_7_a_word_can_be_changed(said: Verdict, locale: str):
    def labels(one: Finding) -> list[str]:
        buttons = next(b for b in finding_card(voice(locale), one).blocks if b["type"] == "actions")
        return [button["text"]["text"] for button in buttons["elements"]]

    own = voice(locale).plain(f"button.{said.value}")
    assert own in labels(finding(None))
    assert own not in labels(finding(said))
    assert len(labels(finding(said))) == len(labels(finding(None))) - 1


@pytest.mark.parametrize(
    ("score", "en", "ja"),
    [
        (1.0, "1 in 10", "10回に1回"),
        (3.5, "1 in 3,000", "3,000回に1回"),
        (4.5, "1 in 30,000", "3万回に1回"),
        (6.0, "rarer than 1 in 1,000,000", "100万回に1回未満"),
        (99.0, "rarer than 1 in 1,000,000", "100万回に1回未満"),
        (-1.0, "1 in 1", "1回に1回"),
    ],
)
def test_14_8_how_rare_it_is(score: float, en: str, ja: str):
    assert (amounts.rarity(score, "en"), amounts.rarity(score, "ja")) == (en, ja)
