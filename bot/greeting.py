"""Makes Slack's acquaintance beside everything else: alerts are accepted before Slack has answered."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from domain.errors import Outage, Undeliverable
from operations.problems import Problems

log = structlog.get_logger(__name__)

REFUSED = ("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired")
"""Slack knows the token, or knows that there is none such: waiting does not help."""

AT_START = 30.0
"""Seconds after the start within which a refused token ends the program; later its alerts are worth more."""

FIRST_WAIT = 1.0
LONGEST_WAIT = 30.0
"""Seconds between two tries; doubled from the first to the longest."""


class Greeting:
    """Asks Slack who we are until it says so."""

    def __init__(self, greet: Callable[[], Awaitable[None]], problems: Problems) -> None:
        self._greet = greet
        self._problems = problems
        self._task: asyncio.Task[None] | None = None
        self.refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Has a result where Slack refuses the token at the start: the sentence for the operator."""

    def start(self) -> None:
        """Begin to ask; returns at once."""
        self._task = asyncio.create_task(self._run(), name="greeting")

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def once(self) -> bool:
        """Ask. True where Slack said who we are."""
        try:
            await self._greet()
        except (Outage, Undeliverable) as error:
            reason = str(error)
            log.warning("slack.not_reached", error=reason)
            self._problems.report("slack.not_greeted", reason)
            return False
        self._problems.clear("slack.not_greeted")
        return True

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began, wait = loop.time(), FIRST_WAIT
        while not await self.once():
            reason = self._problems.current().get("slack.not_greeted", "")
            code = next((code for code in REFUSED if code in reason), None)
            if code is not None and loop.time() - began < AT_START and not self.refused.done():
                self.refused.set_result(
                    f"Slack refuses SLACK_BOT_TOKEN ({code}). Copy the bot token (xoxb-…) anew from OAuth &"
                    " Permissions of your Slack app, and install the app where it is not."
                )
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)
