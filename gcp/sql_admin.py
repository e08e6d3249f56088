"""The Cloud SQL Admin API, which exists over REST only: backup runs, operations, restores."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from domain.backup_plans import Part
from domain.errors import Outage
from gcp.rest import Rejected, Rest

HOST = "sqladmin.googleapis.com"

PAGE = "500"
"""Backup runs or operations in one page."""

MOST_PAGES = 40

Answer = TypeVar("Answer", bound=BaseModel)
Page = TypeVar("Page", bound="_Page")


class _Read(BaseModel):
    model_config = ConfigDict(alias_generator=AliasGenerator(validation_alias=to_camel))


class Failure(_Read):
    class One(_Read):
        code: str = ""
        message: str = ""

    errors: list[One] = Field(default_factory=list)
    message: str = ""
    code: str = ""

    @property
    def words(self) -> str:
        found = [one.message or one.code for one in self.errors] or [self.message or self.code]
        return "; ".join(filter(None, found))[:300] or "no reason given"


class BackupRun(_Read):
    """One backup of an instance. Its id is a number, written as text."""

    id: str
    status: str
    instance: str
    type: str = ""
    description: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    enqueued_time: datetime | None = None
    max_chargeable_bytes: int | None = None
    error: Failure | None = None


class _Page(_Read):
    next_page_token: str | None = None


class _Runs(_Page):
    items: list[BackupRun] = Field(default_factory=list)


class Operation(_Read):
    name: str
    status: str
    operation_type: str = ""
    target_id: str = ""
    target_project: str = ""
    insert_time: datetime | None = None
    error: Failure | None = None


class _Operations(_Page):
    items: list[Operation] = Field(default_factory=list)


class Instance(_Read):
    class Settings(_Read):
        class Backups(_Read):
            point_in_time_recovery_enabled: bool = False
            binary_log_enabled: bool = False

        class Final(_Read):
            enabled: bool = False

        backup_configuration: Backups = Field(default_factory=Backups)
        final_backup_config: Final = Field(default_factory=Final)
        retain_backups_on_delete: bool = False

    name: str
    project: str = ""
    """By its id, even where it was asked for by its number."""
    state: str = ""
    database_version: str = ""
    settings: Settings = Field(default_factory=Settings)


class SqlAdmin:
    """The calls, each made once, and their answers as values. All raise ``Outage`` and ``Rejected``."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def back_up(self, project: str, instance: str, description: str) -> Operation:
        """Begin an on-demand backup."""
        body = {"description": description}
        return _read(Operation, await self._rest.call("POST", f"{_path(project, instance)}/backupRuns", body))

    async def run(self, project: str, instance: str, description: str) -> BackupRun | None:
        """The newest backup run of that description which is not deleted; ``None`` without."""
        async for page in self._pages(_Runs, f"{_path(project, instance)}/backupRuns", {}):
            for one in page.items:
                if one.description == description and one.status != "DELETED":
                    return one
        return None

    async def runs(self, project: str, instance: str, description: str) -> list[BackupRun]:
        """All backup runs of that description which are neither deleted nor about to be."""
        gone = {"DELETED", "DELETION_PENDING"}
        return [
            one
            async for page in self._pages(_Runs, f"{_path(project, instance)}/backupRuns", {})
            for one in page.items
            if one.description == description and one.status not in gone
        ]

    async def descriptions(self, project: str, instance: str) -> list[str]:
        """Of all successful on-demand backup runs, the newest first."""
        return [
            one.description
            async for page in self._pages(_Runs, f"{_path(project, instance)}/backupRuns", {})
            for one in page.items
            if (one.status, one.type) == ("SUCCESSFUL", "ON_DEMAND")
        ]

    async def delete(self, project: str, instance: str, run: str) -> None:
        """Delete a backup run; one that is gone is no error."""
        try:
            await self._rest.call("DELETE", f"{_path(project, instance)}/backupRuns/{run}")
        except Rejected as refusal:
            if refusal.status != 404:
                raise

    async def operation(self, project: str, name: str) -> Operation:
        """An operation as it stands."""
        return _read(Operation, await self._rest.call("GET", f"/v1/projects/{project}/operations/{name}"))

    async def restores(self, project: str, instance: str, since: datetime) -> list[Operation]:
        """The restores of an instance that were begun since, newest first."""
        found: list[Operation] = []
        path = f"/v1/projects/{project}/operations"
        async for page in self._pages(_Operations, path, {"instance": instance}):
            young = [one for one in page.items if one.insert_time is not None and one.insert_time >= since]
            found += [
                one for one in young if one.operation_type == "RESTORE_VOLUME" and one.target_id == instance
            ]
            # They come newest first: behind a page without a young one there are old ones only.
            if page.items and not young:
                break
        return sorted(found, key=lambda one: one.insert_time or since, reverse=True)

    async def restore(self, project: str, instance: str, source: Part, run: str) -> Operation:
        """Begin to restore a backup run of another instance over this one."""
        context = {"backupRunId": run, "instanceId": source.of, "project": source.project}
        body = {"restoreBackupContext": context}
        return _read(
            Operation, await self._rest.call("POST", f"{_path(project, instance)}/restoreBackup", body)
        )

    async def instance(self, project: str, instance: str) -> Instance:
        """An instance and its settings."""
        return _read(Instance, await self._rest.call("GET", _path(project, instance)))

    async def _pages(self, kind: type[Page], path: str, query: Mapping[str, str]) -> AsyncIterator[Page]:
        """The pages of a list. Raises ``Rejected`` for its first page only.

        A later one that is refused, such as for a token that is too old, says nothing of what is in the list.
        """
        token: str | None = None
        for _ in range(MOST_PAGES):
            asked = {**query, "maxResults": PAGE} | ({"pageToken": token} if token else {})
            try:
                page = _read(kind, await self._rest.call("GET", path, query=asked))
            except Rejected as refusal:
                if token is None:
                    raise
                raise Outage(f"error: {HOST}: a later page: {refusal.message}") from refusal
            yield page
            token = page.next_page_token
            if not token:
                return
        raise Outage(f"error: {HOST}: the pages have no end")


def _path(project: str, instance: str) -> str:
    return f"/v1/projects/{project}/instances/{instance}"


def _read(kind: type[Answer], answer: dict[str, Any]) -> Answer:
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        raise Outage(f"error: {HOST}: broken answer") from error
