"""Restores a copy of a bucket into a scratch bucket, looks at it, and deletes it again."""

import asyncio
import hashlib

from domain.backups import Began, Broke, Finished, Going
from domain.evidence import Evidence, Finding, Flaw
from domain.objects import bucket_of
from domain.ports import Objects
from domain.rehearsal import Restore, answer_findings
from gcp.bucket_vault import (
    AT_ONCE,
    MANIFEST,
    BucketVault,
    at_a_time,
    below,
    compare,
    pool_of,
    source_of,
)


class BucketRehearsal:
    """Fulfils ``Rehearsal``: a manifest's objects copied into a scratch bucket, compared, and deleted again.

    ``restore.scratch`` is ``gs://bucket/prefix``; each drill has a prefix of its own below it. A question
    asks for a prefix, and counts the restored objects below it.
    """

    def __init__(self, objects: Objects, vault: BucketVault) -> None:
        self._objects = objects
        self._vault = vault

    async def find(self, restore: Restore) -> Began | None:
        """Nothing is kept of it: ``begin`` does nothing that could be doubled."""
        return None

    async def begin(self, restore: Restore) -> Began | Broke:
        """Look whether it can be done at all."""
        scratch, _ = _place(restore)
        source, _ = source_of(restore.copy_of)
        kept, _ = bucket_of(restore.copy_of.destination)
        if not scratch or scratch in {source, kept}:
            return Broke(
                why=f"{scratch or '—'} is no scratch bucket: it is the real one, or the backups' own"
            )
        if await self._vault.listing(restore.copy_of) is None:
            return Broke(why=f"{MANIFEST} is gone, or cannot be read")
        return Began(operation=restore.key)

    async def look(self, restore: Restore, operation: str) -> Going | Finished | Broke:
        """Copy the next ones."""
        manifest = await self._vault.listing(restore.copy_of)
        if manifest is None:
            return Broke(why=f"{MANIFEST} is gone, or cannot be read")
        bucket, prefix = _place(restore)
        kept, _ = bucket_of(restore.copy_of.destination)
        pool = {one.name: one for one in await self._objects.list(kept, f"{pool_of(restore.copy_of)}/")}
        here = {one.name for one in await self._objects.list(bucket, f"{prefix}/")}
        missing = [one for one in manifest.entries if below(prefix, one.name) not in here]
        absent = next((one for one in missing if one.pool not in pool), None)
        if absent is not None:
            return Broke(why=f"{absent.name} is missing from the pool")
        most = at_a_time(len(manifest.entries))
        for start in range(0, min(len(missing), most), AT_ONCE):
            some = missing[start : min(start + AT_ONCE, most)]
            await asyncio.gather(
                *(self._objects.copy(pool[one.pool], bucket, below(prefix, one.name)) for one in some)
            )
        if len(missing) > most:
            done = len(manifest.entries) - len(missing) + most
            return Going(done=done, total=len(manifest.entries))
        return Finished()

    async def examine(self, restore: Restore, operation: str) -> Evidence:
        """Every restored object against the manifest."""
        manifest = await self._vault.listing(restore.copy_of)
        if manifest is None:
            return Evidence.of([Finding(flaw=Flaw.UNFINISHED, name=MANIFEST)])
        bucket, prefix = _place(restore)
        here = {one.name: one for one in await self._objects.list(bucket, f"{prefix}/")}
        restored = {one.name: here.get(below(prefix, one.name)) for one in manifest.entries}
        findings = compare(manifest.entries, restored)
        answers = [
            sum(one.name.startswith(question.ask) for one in manifest.entries if restored[one.name])
            for question in restore.questions
        ]
        findings += answer_findings(restore.questions, answers, restore.copy_of.at)
        sizes = [one.size for one in restored.values() if one is not None]
        return Evidence.of(findings, objects=len(sizes), bytes=sum(sizes))

    async def remove(self, restore: Restore) -> None:
        """Everything below this drill's own prefix."""
        bucket, prefix = _place(restore)
        if not bucket:
            return
        found = await self._objects.list(bucket, f"{prefix}/")
        for start in range(0, len(found), AT_ONCE):
            await asyncio.gather(*(self._objects.delete(one) for one in found[start : start + AT_ONCE]))


def _place(restore: Restore) -> tuple[str, str]:
    bucket, prefix = bucket_of(restore.scratch)
    own = f"toban-drill-{hashlib.sha256(restore.key.encode()).hexdigest()[:16]}"
    return bucket, f"{prefix}/{own}".strip("/")
