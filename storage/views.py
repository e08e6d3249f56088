"""What a card shows, gathered in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from domain.alerts import Alert, AlertGroup, headed
from domain.effects import Subject, SubjectKind
from domain.escalation import Escalation, Page
from domain.holding import SHOWN_AFTER
from domain.incidents import Incident
from domain.rollouts import Rollout, Stage, rollout_group
from domain.views import AlertView, BackupView, DrillView, IncidentView, OpenNow, PageView, RolloutView, View
from storage.alerts import AlertQueries
from storage.backups import BackupQueries
from storage.drills import DrillQueries
from storage.escalations import EscalationQueries
from storage.findings import FindingQueries
from storage.incidents import IncidentQueries
from storage.outbox import OutboxQueries
from storage.rollouts import RolloutQueries

DEPLOY_COUNTS_FOR = timedelta(hours=6)
"""So long after a deploy began to move traffic, an alert on its service names it and offers the way back."""

BEGAN = f"deploy.{Stage.SHIFTING.value}"
"""What the timeline says of the moment in which a deploy begins to move traffic."""

RECENT_DEPLOYS = 5
"""Deploys among which it is looked for: those that were rejected or failed gave nothing any traffic."""

FIRING_SHOWN = 5
"""So many alerts of a group are named on its card; the rest is counted."""

GROUPS_LINKED = 10
"""So many alerts of an incident are linked on its card."""

PAGES_LISTED = 10
"""So many pages are named in one message; the rest is counted."""


class ViewQueries(
    AlertQueries,
    IncidentQueries,
    EscalationQueries,
    FindingQueries,
    RolloutQueries,
    BackupQueries,
    DrillQueries,
    OutboxQueries,
):
    """What the renderer asks."""

    async def view(self, subject: Subject) -> View | None:
        """What the card of a subject shows now; ``None`` where there is no such subject."""
        match subject.kind:
            case SubjectKind.ALERT:
                return await self._alert(subject.id)
            case SubjectKind.INCIDENT:
                return await self._incident(subject.id)
            case SubjectKind.PAGE:
                return await self._page(subject.id)
            case SubjectKind.FINDING:
                return await self.finding(subject.id)
            case SubjectKind.ROLLOUT:
                return await self._rollout(subject.id)
            case SubjectKind.BACKUP:
                return await self._backup(subject.id)
            case SubjectKind.DRILL:
                return await self._drill(subject.id)
            case SubjectKind.DELIVERY | SubjectKind.DETECTOR:
                return None

    async def open_now(self, at: datetime) -> OpenNow:
        """What is open."""
        found = await self.open_incidents()
        recovered = await self.recovered([one.subject.id for one in found])
        return OpenNow(incidents=tuple(found), recovered=recovered, at=at)

    async def _alert(self, group_id: int) -> AlertView | None:
        group = (await self.groups([group_id])).get(group_id)
        if group is None:
            return None
        incident = await self.incident(group.incident_id) if group.incident_id is not None else None
        incident_at = None
        if incident is not None:
            incident_at = (await self.posted([incident.subject.key])).get(incident.subject.key)
        escalation = await self._ladder(group.subject, incident.subject if incident else None)
        firing = tuple(await self.firing_alerts(group_id, FIRING_SHOWN))
        over: tuple[Alert, ...] = ()
        if not firing and group.total > 1:
            over = tuple(await self.alerts_of(group_id, FIRING_SHOWN + 1))
        deploy, deploy_since = await self._deploy_behind(group)
        return AlertView(
            group=headed(group, firing),
            firing=firing,
            over=over,
            incident=incident,
            incident_at=incident_at,
            escalation=escalation,
            pages=tuple(await self.pages(escalation.id)) if escalation and escalation.id else (),
            deploy=deploy,
            deploy_since=deploy_since,
        )

    async def _deploy_behind(self, group: AlertGroup) -> tuple[Rollout, datetime] | tuple[None, None]:
        """The deploy that may be why, and since when it has traffic: the newest of those that had some when
        the alert began, not long before. What fires again or joins the alert later counts as its beginning.
        """
        if group.service is None or not group.is_open:
            return None, None
        recent = await self.rollouts_of(group.service, RECENT_DEPLOYS)
        touched = [(one, one.shifted_at) for one in recent if one.shifted_at is not None]
        began = (await self.fired_last(group.subject.id) if touched else None) or group.opened_at
        for one, shifted_at in touched:
            # ``shifted_at`` is the newest step's, and an alert may have begun in the first one.
            since = await self.first_time(one.subject, BEGAN) or shifted_at
            if not since <= began <= since + DEPLOY_COUNTS_FOR:
                continue
            is_back = one.stage.is_over and one.stage is not Stage.DONE
            if not is_back or one.ended_at is None or one.ended_at + SHOWN_AFTER >= began:
                return one, since
        return None, None

    async def _ladder(self, group: Subject, incident: Subject | None) -> Escalation | None:
        """The one that still asks, else that of the incident."""
        found = await self.latest_escalation(incident) if incident else None
        if found is not None and found.is_running:
            return found
        own = await self.latest_escalation(group)
        return own if own is not None and (found is None or own.is_running) else found

    async def _incident(self, incident_id: int) -> IncidentView | None:
        incident = await self.incident(incident_id)
        if incident is None:
            return None
        escalation = await self.latest_escalation(incident.subject)
        groups = await self.groups_of_incident(incident_id)
        groups.sort(key=lambda one: (one.is_open, one.level.rank, one.changed_at), reverse=True)
        for place, group in enumerate(groups[:GROUPS_LINKED]):
            if group.is_open and group.total > 1:
                groups[place] = headed(group, await self.firing_alerts(group.subject.id, FIRING_SHOWN))
        return IncidentView(
            incident=incident,
            groups=tuple(groups),
            posted=await self.posted([one.subject.key for one in groups[:GROUPS_LINKED]]),
            escalation=escalation,
            pages=tuple(await self.pages(escalation.id)) if escalation and escalation.id else (),
        )

    async def _page(self, page_id: int) -> PageView | None:
        page = await self.page(page_id)
        if page is None:
            return None
        if page.listed_in is not None:
            return next(iter(await self._pages_alone([page])), None)
        listed, waiting, newest = await self.listed(page_id, PAGES_LISTED)
        views = await self._pages_alone([page, *listed])
        if not views or views[0].page != page:
            return None
        view = views[0] if waiting else await self._page_in_full(views[0])  # A list names titles only.
        more = {"listed": tuple(views[1:]), "waiting": waiting, "newest": newest}
        return view.model_copy(update=more) if newest else view

    async def _page_in_full(self, view: PageView) -> PageView:
        """With the alert that fires now, and with who was paged before."""
        page = view.page
        more: dict[str, Any] = {}
        if view.group is not None and view.group.is_open:
            firing = await self.firing_alerts(view.group.subject.id, FIRING_SHOWN)
            more["group"] = headed(view.group, firing)
        if view.incident is not None and view.incident.is_open:
            firing_too, count = await self.troubles(view.incident.subject.id, FIRING_SHOWN + 1)
            shown = view.group.id if view.group is not None else None
            others = [group for group in firing_too if group.id != shown][:FIRING_SHOWN]
            is_shown = view.group is not None and view.group.is_open
            more |= {"others": tuple(others), "others_more": count - is_shown - len(others)}
        if view.escalation.is_running and (page.round > 1 or page.step > 0):
            first: dict[str, datetime] = {}
            for one in await self.pages(page.escalation_id):
                if one.delivered_at is not None and one.subject.id < page.subject.id:
                    first.setdefault(one.person, one.delivered_at)
            more["again_since"] = first.pop(page.person, None)
            more["unanswered"] = tuple(first.items())
        return view.model_copy(update=more)

    async def _pages_alone(self, pages: Sequence[Page]) -> list[PageView]:
        """Pages as they are without their lists; those whose ladder cannot be read are left out."""
        ladders = await self.escalations([page.escalation_id for page in pages])
        subjects = {ladder.of for ladder in ladders.values()}
        incidents = await self.incidents({one.id for one in subjects if one.kind is SubjectKind.INCIDENT})
        ids = {one.id for one in subjects if one.kind is SubjectKind.ALERT}
        ids |= {incident.born_of for incident in incidents.values() if incident.born_of is not None}
        groups = await self.groups(sorted(ids))
        newest = await self.newest_trouble(incidents)
        at = await self.posted([subject.key for subject in subjects])
        found = []
        for page in pages:
            ladder = ladders.get(page.escalation_id)
            if ladder is None:
                continue
            incident = incidents.get(ladder.of.id) if ladder.of.kind is SubjectKind.INCIDENT else None
            group_id = ladder.of.id if ladder.of.kind is SubjectKind.ALERT else None
            if incident is not None:
                group_id = incident.born_of
            group = groups.get(group_id) if group_id is not None else None
            view = PageView(
                page=page,
                escalation=ladder,
                group=newest.get(incident.subject.id, group) if incident is not None else group,
                incident=incident,
                subject_at=at.get(ladder.of.key),
                paged_at=page.delivered_at or page.queued_at,
            )
            found.append(view)
        return found

    async def _rollout(self, rollout_id: int) -> RolloutView | None:
        rollout = await self.rollout(rollout_id)
        if rollout is None:
            return None
        ahead = await self.queued_rollouts(rollout.service) if rollout.stage is Stage.QUEUED else []
        live = await self.live_rollout(rollout.service) if rollout.stage is Stage.QUEUED else None
        return RolloutView(
            rollout=rollout,
            lock=await self.lock_of(rollout.service),
            behind=live,
            ahead=sum((one.id or 0) < rollout_id for one in ahead),
            incident=await self._incident_of_rollout(rollout),
        )

    async def _backup(self, backup_id: int) -> BackupView | None:
        backup = await self.backup(backup_id)
        if backup is None:
            return None
        newest = await self.verified_backups(backup.plan, 1)
        return BackupView(backup=backup, verified=next(iter(newest), None))

    async def _drill(self, drill_id: int) -> DrillView | None:
        drill = await self.drill(drill_id)
        if drill is None:
            return None
        return DrillView(drill=drill, backup=await self.backup(drill.backup_id))

    async def _incident_of_rollout(self, rollout: Rollout) -> Incident | None:
        if not rollout.alerted:
            return None
        key = rollout_group(rollout.service)
        group = (await self.newest_groups([key])).get(key)
        return await self.incident(group.incident_id) if group and group.incident_id is not None else None
