"""Decides which message a new page is shown in: its own, or in a storm the newest list of its person."""

from datetime import datetime

from domain import page_lists as rules
from domain.effects import Effect
from domain.escalation import Page
from domain.levels import Level
from domain.page_lists import PageList
from domain.ports import Tx
from operations.places import page_card


class Placing:
    """Places the pages of one transaction; ``expected`` says how many each person gets in it."""

    def __init__(self, tx: Tx, expected: dict[str, int], at: datetime) -> None:
        self._tx = tx
        self._expected = expected
        self._at = at
        self._newest: dict[str, PageList | None] = {}
        self.joined: list[Page] = []
        """Pages for the lists of others, which the caller stores."""

    async def place(self, page: Page, level: Level) -> Effect:
        """Store a new page that gets its own message. Returns the card that shows it."""
        if page.person not in self._newest:
            self._newest[page.person] = await self._tx.page_list(page.person)
        newest = self._newest[page.person]
        others = self._expected.get(page.person, 0) - 1
        if others < rules.FEW:
            others += await self._tx.pages_lately(page.person, level, self._at)
        if newest is not None and rules.joins(newest, level, others, self._at):
            self.joined.append(page.model_copy(update={"listed_in": newest.page_id}))
            # Not a refresh: somebody may withdraw that message just now, and then it is said all the same.
            top = page.model_copy(update={"id": newest.page_id})
            return page_card(top, newest.level)
        stored = await self._tx.add_page(page)
        if newest is not None and rules.follows(newest, level, self._at):
            await self._tx.renew_list(newest.page_id, stored.subject.id)
        self._newest[page.person] = PageList(page_id=stored.subject.id, level=level)
        return page_card(stored, level)
