"""Who and where in Slack: channels by name, people by account or e-mail, their language."""

import asyncio
from typing import Any

import structlog

from domain.errors import Outage, Undeliverable
from domain.policy import Person, Policy
from notify.slack.client import ALREADY, Api
from notify.texts import language

log = structlog.get_logger(__name__)

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
        self._direct: dict[str, str] = {}
        self._locales: dict[str, str] = {}
        self._met: set[str] = set()
        self._lock = asyncio.Lock()
        self.team_url: str | None = None
        self.team_id: str | None = None
        self.bot_user_id: str | None = None

    async def greet(self) -> None:
        """Learn who we are. Raises ``Outage`` and ``Undeliverable``."""
        answer = await self._api.call(self._api.web.auth_test)
        self.team_url = answer.get("url")
        self.team_id = answer.get("team_id")
        self.bot_user_id = answer.get("user_id")

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
        """The Slack account of a person of the policy."""
        person = self._policy.people.get(name)
        if person is None:
            raise Undeliverable(f"nobody is called {name}")
        if person.slack:
            return person.slack[0]
        if name not in self._accounts:
            if person.email is None:
                raise Undeliverable(f"{name} has neither a Slack account nor an e-mail address")
            answer = await self._api.call(self._api.web.users_lookupByEmail, email=person.email)
            self._accounts[name] = answer["user"]["id"]
        return self._accounts[name]

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
                answer = await self._api.call(self._api.web.users_info, user=account, include_locale=True)
            except (Outage, Undeliverable) as error:
                log.info("slack.locale_unknown", error=str(error))
                return self._default
            user = answer.get("user") or {}
            self._locales[account] = language(user.get("locale"), self._default)
            self._recognise(account, (user.get("profile") or {}).get("email"))
            person = self.person_of(account)
            if person is not None and person.locale is not None:
                return language(person.locale, self._default)
        return self._locales[account]

    async def look_up(self, account: str) -> dict[str, Any]:
        """The account as Slack has it now, such as ``deleted``. Raises ``Outage`` and ``Undeliverable``."""
        answer = await self._api.call(self._api.web.users_info, user=account)
        user: dict[str, Any] = answer.get("user") or {}
        self._recognise(account, (user.get("profile") or {}).get("email"))
        return user

    def _recognise(self, account: str, email: str | None) -> None:
        """An account with the e-mail address of a person of the policy is that person's."""
        for person in self._policy.people.values():
            if email and person.email and person.email.casefold() == email.casefold():
                self._accounts.setdefault(person.name, account)

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
            self._accounts.pop(place[1:], None)
        else:
            self._channels.clear()
