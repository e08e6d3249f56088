"""``toban backup adopt``: brings copies back into the database that it does not know (any more)."""

import aiohttp

from bot.clock import SteadyClock, SystemClock
from bot.settings import Settings
from bot.vaults import Vaults, make_vaults
from domain.backup_plans import BackupPlan, Source
from domain.errors import Outage
from domain.policy import Policy
from gcp.clients import GcpClients
from gcp.identity import Identity
from gcp.shelves import Shelf
from operations.adopting import Found, adopt, kept_elsewhere, places
from storage.database import Database
from storage.migrating import HEAD, revision
from storage.store import Store


async def adopt_all(settings: Settings, policy: Policy, name: str | None, from_: str | None) -> list[str]:
    """What came of each copy that lies at the plans' destinations. Raises ``Outage``."""
    wanted = None if name is None else policy.backups.plan(name)
    plans = [one for one in policy.backups.plans if name is None or _is_of(one, wanted)]
    if not plans:
        names = ", ".join(one.name for one in policy.backups.plans) or "none"
        raise Outage(f"the policy has no plan {name}. There are: {names}")
    database = Database(settings.database)
    clients = GcpClients(settings.gcp_endpoint)
    clock = SteadyClock(SystemClock())
    session = aiohttp.ClientSession()
    lines = []
    try:
        at_revision = await revision(database)
        if at_revision != HEAD:
            raise Outage(
                f"the database is at revision {at_revision}, this version needs {HEAD}: toban migrate"
            )
        identity = Identity(settings.gcp_http_endpoint, session, clock)
        kept = make_vaults(settings, clock, clients, identity, session)
        try:
            for plan in plans:
                try:
                    found = await _found(kept, plan)
                except Outage as outage:
                    if len(plans) == 1:
                        raise
                    lines.append(f"{plan.name}: {plan.destination} cannot be read ({outage.reason})")
                    continue
                done = adopt(Store(database), kept.vaults, found, from_, clock.now())
                lines += [f"{plan.name} {place}: {said}" async for place, said in done]
        finally:
            await kept.buckets.close()
    finally:
        await session.close()
        await clients.close()
        await database.dispose()
    return lines or ["Nothing lies at the destinations of these plans."]


def _is_of(plan: BackupPlan, wanted: BackupPlan | None) -> bool:
    """Whether it is the plan that is named, or its second destination."""
    return wanted is not None and wanted.name in {plan.name, plan.second_of}


async def _found(kept: Vaults, plan: BackupPlan) -> list[Found]:
    """What lies at a plan's destination or is kept by its instances, the oldest first. Raises ``Outage``."""
    instances = [part for part in plan.parts if part.source is Source.CLOUD_SQL]
    keys = [key for part in instances for key in await kept.sql.keys(part)]
    found: list[Found] = []
    for name in plan.names:
        below = await Shelf(kept.buckets).below(f"{plan.destination}/{name}")
        found += places(plan, name, [*below, *kept_elsewhere(name, keys)])
    return sorted(found, key=lambda place: place.backup.due_at)
