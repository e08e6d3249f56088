"""Who and where in Slack: channels by name, people by account or e-mail, their language."""

import asyncio
from functools import partial
from typing import Any

import structlog

from domain.accounts import Found
from domain.approvals import Account, standing
from domain.errors import Outage, Undeliverable
from domain.policy import Person, Policy
from domain.ports import Accounts
from notify.slack.client import ALREADY, Api
from notify.texts import language

log = structlog.get_logger(__name__)

RECOGNISE_WITHIN = 0.5
"""Seconds that a click waits for the look-up of whose account it seems to be; the look-up goes on."""

PAGE = 200
"""Channels in one answer of ``conversations.list``."""


class Directory:
    """Looked up when first needed, then remembered; ``forget`` makes it look again."""

    def __init__(self, api: Api, policy: Policy, default_locale: str) -> None:
        self._api = api
        self._policy = policy
        self._default = default_locale
        self._channels: dict[str, str] = {}
        self._accounts: dict[str, str] = {}
        self.accounts: Accounts | None = None
        self._direct: dict[str, str] = {}
        self._locales: dict[str, str] = {}
        self._met: set[str] = set()
        self._lock = asyncio.Lock()
        self.team_url: str | None = None
        self.team_id: str | None = None
        self.enterprise_id: str | None = None
        self.listed_team_id: str | None = None
        """The token's own workspace as the list of channels names it, for while ``auth.test`` fails."""
        self.greeted = False
        self._binding = asyncio.Lock()
        self._recognising: dict[str, asyncio.Task[bool]] = {}
        self._unsettled: set[str] = set()
        self.bot_user_id: str | None = None

    def use(self, policy: Policy) -> None:
        """Go by a new policy: what followed from the old one is looked up anew."""
        self._policy = policy
        self._channels.clear()
        self._accounts.clear()

    async def greet(self, *, aside: bool = False) -> None:
        """Learn who we are. Raises ``Outage`` and ``Undeliverable``.

        ``aside``: in the middle of something else, so that a failure is no sign that messages fail, too.
        """
        ask = self._api.ask if aside else self._api.call
        answer = await ask(self._api.web.auth_test)
        self._api.heard()
        self.team_url = answer.get("url")
        self.greeted = True
        self.team_id = answer.get("team_id")
        self.enterprise_id = answer.get("enterprise_id") or None
        self.bot_user_id = answer.get("user_id")

    def known_channel(self, named: str) -> str:
        """The id of a channel that is called ``#name`` in the policy, or the name while it is not known."""
        return self._channels.get(named.removeprefix("#"), named)

    async def channel(self, place: str) -> str:
        """The id of the conversation of a place: ``alerts``, ``@kenji``, ``#performance``, an id."""
        if place.startswith("@"):
            return await self._direct_channel(place[1:])
        wanted: str = getattr(self._policy.channels, place, place)
        if not wanted.startswith("#"):
            return wanted
        async with self._lock:
            if wanted[1:] not in self._channels:
                await self._load_channels(wanted[1:])
        found = self._channels.get(wanted[1:])
        if found is None:
            raise Undeliverable(f"there is no channel {wanted}", homeless=True)
        return found

    async def _load_channels(self, also: str) -> None:
        cursor = ""
        wanted = {also, *(name.removeprefix("#") for name in self._policy.channels.model_dump().values())}
        while True:
            params: dict[str, Any] = {"limit": PAGE, "types": "public_channel,private_channel"}
            if cursor:
                params["cursor"] = cursor
            answer = await self._api.call(self._api.web.conversations_list, exclude_archived=True, **params)
            for channel in answer.get("channels", []):
                self.listed_team_id = self.listed_team_id or channel.get("context_team_id")
                self._channels[channel["name"]] = channel["id"]
                if channel["name"] in wanted and not channel.get("is_member"):
                    await self._join(channel["id"], channel["name"])
            cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return

    async def _join(self, channel_id: str, name: str) -> None:
        """A member may look up its own messages; posting works without, so a refusal is only told."""
        try:
            await self._api.call(self._api.web.conversations_join, channel=channel_id)
        except Undeliverable as refusal:
            if refusal.reason not in ALREADY:
                log.warning("slack.not_joined", channel=name, error=refusal.reason)

    async def _direct_channel(self, name: str) -> str:
        account = await self.account(name)
        if account not in self._direct:
            answer = await self._api.call(self._api.web.conversations_open, users=account)
            self._direct[account] = answer["channel"]["id"]
        return self._direct[account]

    async def account(self, name: str) -> str:
        """The Slack account of a person of the policy; a page goes there and nowhere else."""
        person = self._policy.people.get(name)
        if person is None:
            raise Undeliverable(f"nobody is called {name}")
        if self.accounts is not None:
            try:
                self._accounts[name] = await self.accounts(name)
            except Undeliverable:
                self._accounts.pop(name, None)
                raise
            return self._accounts[name]
        found = await self.find(person)
        if found.account is None or found.refusal is not None:
            raise Undeliverable(found.refusal or "users_not_found")
        return found.account.id

    def known_account(self, name: str) -> str:
        """The account of a person of the policy, or the name while none is known."""
        person = self._policy.people.get(name)
        named = person.slack[0] if person is not None and person.slack else None
        return self._accounts.get(name) or named or name

    async def find(self, person: Person) -> Found:
        """The account of a person as Slack knows it now. Raises ``Outage``, and ``Undeliverable`` where
        Slack does not answer for a reason that people can mend.
        """
        if person.slack:
            return await self._find_by_id(person)
        if person.email is None:
            return Found(reason="neither a Slack account nor an e-mail address")
        if not self.team_id:
            await self.greet(aside=True)
        try:
            answer = await self._api.call(self._api.web.users_lookupByEmail, email=person.email)
        except Undeliverable as refusal:
            if refusal.mendable:
                raise
            return Found(reason=refusal.reason)
        user: dict[str, Any] = answer.get("user") or {}
        account = self._described(user)
        owner = self._policy.person_of(account.id)
        if owner is not None and owner.name != person.name:
            return Found(reason=f"the account is {owner.name}'s")
        if user.get("is_email_confirmed") is False:
            return Found(reason="the e-mail address is not confirmed")
        return Found(account=account)

    async def _find_by_id(self, person: Person) -> Found:
        """The first account of those that the policy names which may be paged; else why the first may not.

        One of which Slack cannot say anything counts only where none is known to be right.
        """
        first: Found | None = None
        unknown: Found | None = None
        for number in person.slack:
            try:
                if not self.team_id:
                    await self.greet(aside=True)
                answer = await self._api.call(self._api.web.users_info, user=number)
                found = Found(account=self._described(answer.get("user") or {"id": number}), by_id=True)
            except Outage:
                found = Found(account=Account(id=number, known=False), by_id=True)
            except Undeliverable as refusal:
                known = None if not refusal.mendable else Account(id=number, known=False)
                found = Found(account=known, reason=refusal.reason, by_id=True)
            if found.refusal is None and found.account is not None and found.account.known:
                return found
            if found.refusal is None:
                unknown = unknown or found
            first = first or found
        assert first is not None
        return unknown or first

    async def is_member(self, account: str) -> bool:
        """Whether an account is a full, active member of our own workspace now."""
        if not self.team_id:
            await self.greet(aside=True)
        try:
            answer = await self._api.call(self._api.web.users_info, user=account)
        except Undeliverable as refusal:
            if refusal.mendable:
                raise
            return False
        return standing(self._described(answer.get("user") or {})) is None

    def _described(self, user: dict[str, Any]) -> Account:
        """An account as Slack describes it. Of our own workspace, or of our own organisation."""
        number = str(user.get("id") or "")
        above = user.get("enterprise_user")
        enterprise = str(above.get("enterprise_id") or "") if isinstance(above, dict) else ""
        home = str(user.get("team_id") or "")
        organisation = self.enterprise_id is not None and self.enterprise_id in {enterprise, home}
        return Account(
            id=number,
            known=bool(number and home and self.team_id),
            ours=(home == self.team_id or organisation) and not user.get("is_stranger"),
            deleted=bool(user.get("deleted") or user.get("is_invited_user")),
            guest=bool(user.get("is_restricted") or user.get("is_ultra_restricted")),
            bot=bool(user.get("is_bot") or user.get("is_workflow_bot")) or number == "USLACKBOT",
        )

    def person_of(self, account: str) -> Person | None:
        """The person to whom an account belongs, as far as it is known already."""
        named = self._policy.person_of(account)
        if named is not None:
            return named
        name = next((name for name, known in self._accounts.items() if known == account), None)
        return self._policy.people.get(name) if name else None

    async def locale(self, place: str) -> str:
        """The channels' language, or a person's own."""
        if place.startswith("answer:"):
            return await self.locale_of(place.removeprefix("answer:"))
        if not place.startswith("@"):
            return self._default
        person = self._policy.people.get(place[1:])
        if person is not None and person.locale is not None:
            return language(person.locale, self._default)
        return await self.locale_of(await self.account(place[1:]))

    async def locale_of(self, account: str) -> str:
        """An account's language; the channels' where Slack does not say."""
        person = self.person_of(account)
        if person is not None and person.locale is not None:
            return language(person.locale, self._default)
        if account not in self._locales:
            try:
                answer = await self._api.ask(self._api.web.users_info, user=account, include_locale=True)
            except (Outage, Undeliverable) as error:
                log.info("slack.locale_unknown", error=str(error))
                return self._default
            user = answer.get("user") or {}
            self._locales[account] = language(user.get("locale"), self._default)
            await self._recognise(account, (user.get("profile") or {}).get("email"))
            person = self.person_of(account)
            if person is not None and person.locale is not None:
                return language(person.locale, self._default)
        return self._locales[account]

    async def look_up(self, account: str) -> dict[str, Any]:
        """The account as Slack has it now, such as ``deleted``. Raises ``Outage`` and ``Undeliverable``."""
        answer = await self._api.ask(self._api.web.users_info, user=account)
        user: dict[str, Any] = answer.get("user") or {}
        await self._recognise(account, (user.get("profile") or {}).get("email"))
        return user

    async def _recognise(self, account: str, email: str | None) -> None:
        """An e-mail address in a profile binds nobody: it only says whose account to look up properly."""
        named = [
            person.name
            for person in self._policy.people.values()
            if email and not person.slack and person.email and person.email.casefold() == email.casefold()
        ]
        for name in named:
            if name not in self._recognising:
                task = asyncio.create_task(self._bind(name, account), name=f"recognise-{name}")
                self._recognising[name] = task
                task.add_done_callback(partial(self._recognised, name))
        waited_for = [self._recognising[name] for name in named]
        if waited_for:
            done, pending = await asyncio.wait(waited_for, timeout=RECOGNISE_WITHIN)
            is_settled = not pending and all(not task.cancelled() and task.result() for task in done)
            (self._unsettled.discard if is_settled else self._unsettled.add)(account)

    def is_settled(self, account: str) -> bool:
        """False while the look-up of the person behind an account has not come to an end."""
        return account not in self._unsettled

    def _recognised(self, name: str, _task: asyncio.Task[bool]) -> None:
        self._recognising.pop(name, None)

    async def _bind(self, name: str, account: str) -> bool:
        """Look up a person's account, one at a time. False where nobody could be asked.

        Never cancelled for being slow: a database that is locked takes seconds to let go of a transaction,
        and the click that asked has to be acknowledged within three.
        """
        try:
            async with self._binding:
                await self.account(name)
        except Undeliverable as refusal:
            log.info("slack.not_recognised", account=account, person=name, error=repr(refusal))
        except Outage as outage:
            log.warning("slack.not_recognised", account=account, person=name, error=repr(outage))
            return False
        except Exception:
            log.exception("slack.recognising_failed", account=account, person=name)
            return False
        return True

    async def stop(self) -> None:
        """End the look-ups that are still under way."""
        tasks = list(self._recognising.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def meet(self, account: str) -> None:
        """Learn once who an account is; a failure is not asked again, the channels' language will do."""
        if account and account not in self._met:
            self._met.add(account)
            await self.locale_of(account)

    def known_locale(self, account: str) -> str:
        """The same without asking Slack: for answers inside the three seconds."""
        person = self.person_of(account)
        if person is not None and person.locale is not None:
            return language(person.locale, self._default)
        return self._locales.get(account, self._default)

    def forget(self, place: str) -> None:
        """A conversation was not where it was said to be: look again next time."""
        if place.startswith("@"):
            self._direct.clear()
        else:
            self._channels.clear()
