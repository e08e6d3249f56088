"""Backups of Cloud SQL instances, which they keep themselves, and restores over a scratch instance."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from domain.backup_plans import Part
from domain.backups import Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.evidence import Doubt, Evidence, Finding, Flaw
from domain.rehearsal import Restore, answer_findings
from gcp.rest import Rejected
from gcp.sql_admin import HOST, Operation, SqlAdmin

RUN, OPERATION = "backupRuns/", "operations/"
"""How a copy on its way is named: by its run where that is known, else by the operation that makes it."""

GONE = frozenset({"FAILED", "SKIPPED", "DELETED", "DELETION_PENDING", "DELETION_FAILED"})
"""States of a backup run that never become a backup (again)."""

APART = timedelta(minutes=1)
"""So far may Google's clock be behind ours."""

DONE = "SUCCESSFUL"

READY = "RUNNABLE"

PASSING = frozenset({"MAINTENANCE", "PENDING_CREATE", "ONLINE_MAINTENANCE"})
"""States of an instance out of which it comes by itself."""

Ask = Callable[[str], Awaitable[object]]
"""Puts one query to the scratch instance's database, and returns the first value. Raises ``Outage``."""


class SqlVault:
    """Fulfils ``Vault``: on-demand backups that the instance itself keeps, found again by their description.

    An instance makes one backup at a time; while it is busy nothing is begun, and it is asked again.
    """

    def __init__(self, admin: SqlAdmin) -> None:
        self._admin = admin

    async def find(self, order: Order) -> Began | None:
        """By the description, which is the order's key."""
        project, instance = _source(order.part)
        try:
            run = await self._admin.run(project, instance, order.key)
        except Rejected:
            return None  # No such instance, or no such name: ``begin`` says it in its own words.
        return None if run is None else Began(operation=f"{RUN}{run.id}")

    async def begin(self, order: Order) -> Began | Broke:
        """Ask for a backup."""
        project, instance = _source(order.part)
        try:
            operation = await self._admin.back_up(project, instance, order.key)
        except Rejected as refusal:
            return _refused(refusal)
        return Began(operation=f"{OPERATION}{operation.name}")

    async def look(self, order: Order, operation: str) -> Going | Finished | Broke:
        """The operation, or where that is not known (any more) the run. Neither says how far it is."""
        project, instance = _source(order.part)
        try:
            if operation.startswith(OPERATION):
                return _seen(await self._admin.operation(project, operation.removeprefix(OPERATION)))
        except Rejected as refusal:
            if refusal.status != 404:
                return _refused(refusal)
        try:
            run = await self._admin.run(project, instance, order.key)
        except Rejected as refusal:
            return _refused(refusal)
        if run is None:
            return Broke(why="the backup is not listed any more")
        if run.status in GONE:
            return Broke(why=f"{run.status}: {run.error.words if run.error else 'no reason given'}")
        return Finished() if run.status == DONE else Going()

    async def prove(self, order: Order, operation: str) -> Evidence:
        """The instance lists it as successful, as ours, and as begun no earlier than it was asked for."""
        project, instance = _source(order.part)
        try:
            run = await self._admin.run(project, instance, order.key)
        except Rejected as refusal:
            name = f"{project}/{instance}"
            return Evidence.of([Finding(flaw=Flaw.NOT_LISTED, name=name, found=refusal.message)])
        if run is None:
            return Evidence.of([Finding(flaw=Flaw.NOT_LISTED, name=order.key)])
        findings = []
        name = f"{RUN}{run.id}"
        if run.status != DONE:
            findings.append(Finding(flaw=Flaw.UNFINISHED, name=name, wanted=DONE, found=run.status))
        if run.instance != instance:
            findings.append(Finding(flaw=Flaw.ELSEWHERE, name=name, wanted=instance, found=run.instance))
        if run.type != "ON_DEMAND":
            findings.append(
                Finding(flaw=Flaw.ELSEWHERE, name=name, wanted="ON_DEMAND", found=run.type or "—")
            )
        if run.start_time is None or run.start_time < order.at - APART:
            found = f"{run.start_time:%Y-%m-%d %H:%M} UTC" if run.start_time else "—"
            wanted = f"{order.at:%Y-%m-%d %H:%M} UTC"
            findings.append(Finding(flaw=Flaw.ELSEWHERE, name=name, wanted=wanted, found=found))
        return Evidence.of(
            findings,
            objects=1,
            bytes=max(0, run.max_chargeable_bytes or 0),
            at=run.start_time,
            doubts=await self._doubts(project, instance),
        )

    async def remove(self, order: Order) -> None:
        """Delete the run, and one that was made twice twice. Raises ``Outage`` where that is refused."""
        project, instance = _source(order.part)
        try:
            for run in await self._admin.runs(project, instance, order.key):
                await self._admin.delete(project, instance, run.id)
        except Rejected as refusal:
            if refusal.status == 404:
                return  # No such instance: its backups went with it.
            raise Outage(f"refused: {HOST}: {refusal.message}") from refusal

    async def keys(self, part: Part) -> list[str]:
        """The keys of the orders by which the instance still has a backup, the newest first.

        There is none where there is no such instance. Raises ``Outage`` where nobody may look.
        """
        project, instance = _source(part)
        try:
            return await self._admin.descriptions(project, instance)
        except Rejected as refusal:
            if refusal.status == 404:
                return []
            raise Outage(f"refused: {HOST}: {refusal.message}") from refusal

    async def _doubts(self, project: str, instance: str) -> tuple[Doubt, ...]:
        try:
            settings = (await self._admin.instance(project, instance)).settings
        except Rejected:
            return ()  # That there is none is said by its backups.
        found = []
        backups = settings.backup_configuration
        if not (backups.point_in_time_recovery_enabled or backups.binary_log_enabled):
            found.append(Doubt.NO_RECOVERY)
        if not (settings.retain_backups_on_delete or settings.final_backup_config.enabled):
            found.append(Doubt.DIES_TOGETHER)
        return tuple(found)


class SqlRehearsal:
    """Fulfils ``Rehearsal``: a backup restored over a standing scratch instance in another project.

    ``restore.scratch`` is project/instance. The instance belongs to drills of one plan: everything in it is
    overwritten. It is not made and not deleted here, so that our identity needs no right to do either.
    ``ask`` puts the questions to its database.
    """

    def __init__(self, admin: SqlAdmin, ask: Ask | None) -> None:
        self._admin = admin
        self._ask = ask

    async def find(self, restore: Restore) -> Began | None:
        """The newest restore since the drill began that has not failed."""
        project, _, instance = restore.scratch.partition("/")
        try:
            found = await self._admin.restores(project, instance, restore.at - timedelta(seconds=5))
        except Rejected:
            return None
        going = next((one for one in found if one.error is None), None)
        return None if going is None else Began(operation=going.name)

    async def begin(self, restore: Restore) -> Began | Broke:
        """Ask for it; never over the instance that was backed up, nor over any in its project."""
        source_project, source = _source(restore.copy_of.part)
        project, _, instance = restore.scratch.partition("/")
        if not instance:
            return Broke(why="the policy names no scratch instance", blames_place=True)
        if project == source_project:
            return Broke(
                why=f"{restore.scratch} is in the project of {source}; drills never restore there",
                blames_place=True,
            )
        try:
            # The same project may be written in two ways, by its number too: Google says which they are.
            of_source = (await self._admin.instance(source_project, source)).project
            of_scratch = (await self._admin.instance(project, instance)).project
            if not of_source or not of_scratch or of_source == of_scratch:
                return Broke(
                    why=f"{restore.scratch} is not said to be in another project than {source}",
                    blames_place=True,
                )
            run = await self._admin.run(source_project, source, restore.copy_of.key)
            if run is None:
                return Broke(why="the backup is not listed any more")
            operation = await self._admin.restore(project, instance, restore.copy_of.part, run.id)
        except Rejected as refusal:
            return _refused(refusal)
        return Began(operation=operation.name)

    async def look(self, restore: Restore, operation: str) -> Going | Finished | Broke:
        """The operation."""
        try:
            return _seen(await self._admin.operation(restore.scratch.partition("/")[0], operation))
        except Rejected as refusal:
            return _refused(refusal)

    async def examine(self, restore: Restore, operation: str) -> Evidence:
        """The instance runs, and its database answers the questions.

        While it is still being worked on nothing is known of it: raises ``Outage``.
        """
        project, _, name = restore.scratch.partition("/")
        try:
            instance = await self._admin.instance(project, name)
        except Rejected as refusal:
            return Evidence.of([Finding(flaw=Flaw.MISSING, name=restore.scratch, found=refusal.message)])
        if instance.state in PASSING:
            raise Outage(f"busy: {restore.scratch}: {instance.state}")
        if instance.state != READY:
            return Evidence.of(
                [Finding(flaw=Flaw.ELSEWHERE, name=restore.scratch, wanted=READY, found=instance.state)]
            )
        answers: list[object] = []
        for question in restore.questions:
            try:
                answers.append(await self._answer(question.ask))
            except Outage as outage:
                answers.append(outage)
        findings = answer_findings(restore.questions, answers, restore.copy_of.at)
        return Evidence.of(findings, objects=1, at=restore.copy_of.at)

    async def _answer(self, query: str) -> object:
        if self._ask is None:
            raise Outage("nobody can ask it: set TOBAN_DRILL_SQL_URL")
        return await self._ask(query)

    async def remove(self, restore: Restore) -> None:
        """Nothing: the scratch instance stays, and the next drill overwrites it."""


def _source(part: Part) -> tuple[str, str]:
    return part.project or "", part.of


def _seen(operation: Operation) -> Going | Finished | Broke:
    if operation.status != "DONE":
        return Going()
    return Finished() if operation.error is None else Broke(why=operation.error.words)


def _refused(refusal: Rejected) -> Broke:
    """Raises ``Outage`` where the instance is only busy."""
    if refusal.status == 409:
        raise Outage(f"busy: {HOST}: {refusal.message}")
    return Broke(why=refusal.message)
