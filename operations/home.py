"""What needs one person first: the Home tab of whoever opens it."""

from datetime import datetime

from domain import drilling
from domain import rollouts as rules
from domain.drills import Drill, DrillState
from domain.incidents import Incident
from domain.policy import Person, Policy
from domain.ports import Tx
from domain.rollouts import Rollout, Stage
from domain.views import HomeView, PageView

LISTED = 10
"""Pages that are shown; who has more of them has other worries."""


async def home(tx: Tx, policy: Policy, person: Person | None, at: datetime) -> HomeView:
    """All that waits for this person, and what is open for everybody. ``None``: nobody of the policy."""
    open_now = await tx.open_now(at)
    rollouts: list[Rollout] = []
    drills: list[Drill] = []
    pages: list[PageView] = []
    if person is not None:
        rollouts = await _rollouts(tx, policy, person, at)
        drills = await _drills(tx, policy, person, at)
        pages = await _pages(tx, person)
    shown: list[Rollout | Drill | Incident] = [*rollouts, *drills, *open_now.incidents]
    return HomeView(
        at=at,
        person=person.name if person is not None else None,
        rollouts=tuple(rollouts),
        drills=tuple(drills),
        pages=tuple(pages),
        incidents=open_now.incidents,
        recovered=open_now.recovered,
        posted=await tx.posted([one.subject.key for one in shown]),
    )


async def _rollouts(tx: Tx, policy: Policy, person: Person, at: datetime) -> list[Rollout]:
    found = await tx.open_rollouts()
    mine = [one for one in found if rules.waits_for(one, policy.deploys.rule(one.service), person, at)]
    # What users already see comes first, then what runs out first.
    return sorted(mine, key=lambda one: (one.stage is not Stage.ASKING, one.expires_at or at, one.subject.id))


async def _drills(tx: Tx, policy: Policy, person: Person, at: datetime) -> list[Drill]:
    found = []
    for plan in policy.backups.plans:
        asked = await tx.drills_of(plan.name, 1, DrillState.ASKED)
        found += [one for one in asked if drilling.waits_for(one, plan, person, at)]
    return found


async def _pages(tx: Tx, person: Person) -> list[PageView]:
    views = [await tx.view(page.subject) for page in await tx.pages_waiting(person.name, LISTED)]
    return [view for view in views if isinstance(view, PageView)]
