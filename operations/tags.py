"""The images that a service may be deployed with, by tag: what a person picks from while asking."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from domain.cloudrun import RunRefused
from domain.errors import Outage, Refused
from domain.images import LATEST, BadReference, ImageProblem, Reference, Tag, is_short
from domain.policy import Service
from operations.deploys import target_of
from operations.world import World

log = structlog.get_logger(__name__)

FRESH = timedelta(seconds=30)
"""A list is good for so long: a person who types asks with every letter."""

WITHIN = 2.0
"""Seconds: Slack gives a menu three, and goes on without its choices."""


NEWEST = 3
"""Tags that are named to whoever typed one that there is not."""

Tagged = list[tuple[Reference, Tag]]
"""Images by tag, with what the registry says of each."""


class Catalogue:
    """The tags of each service's repository, remembered for a moment and asked for once at a time."""

    def __init__(self, world: World, later: Callable[[Awaitable[None]], None]) -> None:
        """``later`` sees to it that what is still asked for is waited for at the end."""
        self._world = world
        self._later = later
        self._asked: dict[str, tuple[datetime, asyncio.Task[Tagged]]] = {}

    async def find(self, services: list[Service], typed: str) -> dict[str, Tagged]:
        """For each service the tags that contain what was typed, newest first.

        A service whose list does not come in time, or that nobody may read, has none: what is slow now is
        there at the next letter.
        """
        tasks = {service.name: self._task(service) for service in services}
        await asyncio.wait(tasks.values(), timeout=WITHIN)
        wanted, found = typed.strip().casefold(), {}
        for name, task in tasks.items():
            read = task.result() if task.done() and not task.cancelled() else []
            found[name] = [one for one in read if wanted in (one[0].tag or "").casefold()]
        return found

    async def demand(self, service: Service, image: str) -> None:
        """Refuse an image that cannot be: a name that is none, or a tag that the repository does not have.

        What cannot be told in time, or lies elsewhere, passes: the plan looks it up.
        """
        try:
            if not is_short(image):
                Reference.parse(image)
        except BadReference as bad:
            raise Refused("refused.bad_image", given=image[:100] or "—", why=str(bad)) from bad
        known, began = self._asked.get(service.name), self._world.clock.monotonic()
        tags = (await self.find([service], ""))[service.name]
        if tags and not self._has(tags, image) and self._asked[service.name] is known:
            if self._world.clock.monotonic() - began > WITHIN / 2:
                return
            del self._asked[service.name]  # What was just pushed is not in a list that was read before.
            tags = (await self.find([service], ""))[service.name]
        if not tags or self._has(tags, image):
            return
        newest = [tag.name for _, tag in tags[:NEWEST]]
        params = {"given": image[:100], "repository": tags[0][0].name, "tags": newest}
        raise Refused("refused.no_such_tag", **params)

    def _has(self, tags: Tagged, image: str) -> bool:
        """Whether an image may be there: by one of these tags, by its digest, or in another repository."""
        of = tags[0][0]
        try:
            found = Reference.read(image, of.name)
        except BadReference:
            return False
        if found.name != of.name or found.digest is not None:
            return True
        return (found.tag or LATEST) in {tag.name for _, tag in tags}

    def _task(self, service: Service) -> asyncio.Task[Tagged]:
        now = self._world.clock.now()
        at, task = self._asked.get(service.name, (now, None))
        if task is None or (task.done() and now - at >= FRESH):
            task = asyncio.create_task(self._read(service))
            self._later(_ended(task))
            self._asked[service.name] = (now, task)
        return task

    async def _read(self, service: Service) -> Tagged:
        try:
            seen = await self._world.run.service(target_of(service))
            if seen is None:
                return []
            image = Reference.parse(seen.template.image)
            tags = await self._world.images.tags(image.name)
        except (Outage, RunRefused, ImageProblem, BadReference) as why:
            log.warning("deploy.no_tags", service=service.name, error=str(why))
            return []
        return [(Reference(host=image.host, repository=image.repository, tag=tag.name), tag) for tag in tags]


async def _ended(task: asyncio.Task[Tagged]) -> None:
    await asyncio.wait({task})
