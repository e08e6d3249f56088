"""Cloud Storage through Google's client against a program that keeps its preconditions; copies of buckets."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domain.backup_plans import Part, Source
from domain.backups import Began, Broke, Finished, Going, Order
from domain.errors import Outage
from domain.evidence import Evidence, Flaw
from domain.objects import StoredObject
from domain.ports import Objects, Rehearsal, Vault
from domain.questions import Question
from domain.rehearsal import Restore
from gcp import bucket_rehearsal, bucket_vault
from gcp.bucket_rehearsal import BucketRehearsal
from gcp.bucket_vault import BucketVault, sampled
from gcp.buckets import Buckets
from sandbox.cloud.buckets import PretendStorage, why_not

AT = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
SOURCE, KEPT, SCRATCH = "bondpoint-images", "bondpoint-backups", "bondpoint-scratch"


@pytest.fixture
async def storage() -> AsyncIterator[PretendStorage]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    made = PretendStorage()
    await made.start()
    for bucket in (SOURCE, KEPT, SCRATCH):
        await made.make(bucket)
    yield made
    await made.stop()


@pytest.fixture
async def buckets(storage: PretendStorage) -> AsyncIterator[Objects]:
    made = Buckets(storage.url)
    yield made
    await made.close()


def ordered(night: int = 22, **part: Any) -> Order:
    fields = {"name": "bucket-images", "source": Source.BUCKET, "of": SOURCE} | part
    key = f"nightly/202611{night:02}T180000Z"
    return Order(
        key=f"toban/{key}/bucket-images",
        part=Part.model_validate(fields),
        at=AT,
        destination=f"gs://{KEPT}/prod/{key}/bucket-images",
    )


def restored(order: Order, *questions: Question, **changes: Any) -> Restore:
    fields = {"key": f"drill/{order.key}", "copy_of": order, "operation": "", "at": AT}
    fields |= {"scratch": f"gs://{SCRATCH}/drills", "questions": questions}
    return Restore.model_validate(fields | changes)


async def finished(vault: Vault, order: Order) -> Evidence:
    """Begun, looked at until it is over, and proven."""
    begun = await vault.begin(order)
    assert isinstance(begun, Began), begun
    for _ in range(100):
        if isinstance(await vault.look(order, begun.operation), Finished):
            return await vault.prove(order, begun.operation)
    raise AssertionError("it never ended")


async def pool(storage: PretendStorage) -> list[str]:
    found = await storage.names(KEPT, "prod/nightly/pool/")
    return [name.removeprefix("prod/nightly/pool/bucket-images/").rpartition("/")[0] for name in found]


def flaws(evidence: Evidence) -> list[Flaw]:
    return [one.flaw for one in evidence.findings]


# Objects.


async def test_an_object_is_written_once_and_never_over_another(buckets: Objects, tmp_path: Path) -> None:
    written = await buckets.write(KEPT, "a/one", b"hello")
    assert (written.size, written.crc32c) == (5, "mnG7TA==")
    assert await buckets.write(KEPT, "a/one", b"hello") == written, "an answer that was lost"
    with pytest.raises(Outage, match=r"^conflict: bondpoint-backups/a/one"):
        await buckets.write(KEPT, "a/one", b"other")
    (tmp_path / "file").write_bytes(b"x" * 300_000)
    sent = await buckets.upload(KEPT, "a/two", tmp_path / "file")
    assert await buckets.upload(KEPT, "a/two", tmp_path / "file") == sent
    assert [one.name for one in await buckets.list(KEPT, "a/")] == ["a/one", "a/two"]
    assert len(await buckets.list(KEPT, "", limit=1)) == 1
    await buckets.download(sent, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x" * 300_000
    assert await buckets.read(written) == b"hello"


async def test_bytes_that_are_not_those_of_the_listing_are_no_answer(
    buckets: Objects, tmp_path: Path
) -> None:
    written = await buckets.write(KEPT, "one", b"hello")
    lying = written.model_copy(update={"crc32c": "AAAAAA=="})
    with pytest.raises(Outage, match=r"^checksum: bondpoint-backups/one"):
        await buckets.read(lying)
    with pytest.raises(Outage, match=r"^checksum: bondpoint-backups/one"):
        await buckets.download(lying, tmp_path / "file")


async def test_a_copy_goes_over_nothing_and_is_compared(buckets: Objects, storage: PretendStorage) -> None:
    source = await buckets.write(SOURCE, "one", b"hello")
    copied = await buckets.copy(source, KEPT, "copy")
    assert await buckets.copy(source, KEPT, "copy") == copied
    await buckets.write(KEPT, "taken", b"somebody's")
    with pytest.raises(Outage, match=r"^conflict: bondpoint-backups/taken"):
        await buckets.copy(source, KEPT, "taken")
    await storage.write(SOURCE, "one", b"changed since")
    with pytest.raises(Outage, match=r"^missing: bondpoint-images/one"):
        await buckets.copy(source, KEPT, "later")
    assert await buckets.stat(KEPT, "later") is None


async def test_what_is_not_there_is_said(buckets: Objects) -> None:
    assert await buckets.stat(KEPT, "nothing") is None
    for call in (buckets.list("no-such-bucket", ""), buckets.write("no-such-bucket", "x", b"")):
        with pytest.raises(Outage, match=r"^missing: no-such-bucket"):
            await call
    gone = StoredObject(bucket=KEPT, name="gone", generation=1, size=1, crc32c="", at=AT)
    with pytest.raises(Outage, match=r"^missing: bondpoint-backups/gone"):
        await buckets.read(gone)
    await buckets.delete(gone)


async def test_nobody_listening_is_an_outage(buckets: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcp.buckets.REPEATED", 0.2)
    silent = Buckets("http://127.0.0.1:9")
    with pytest.raises(Outage, match=r"^unavailable"):
        await silent.list(KEPT, "")
    await silent.close()


# Copies.


async def test_a_copy_is_a_manifest_over_a_pool_that_holds_each_generation_once(
    buckets: Objects, storage: PretendStorage
) -> None:
    """Seed defect 78: the draft copied all pictures each day, and beside the originals."""
    vault: Vault = BucketVault(buckets)
    for name in ("a.png", "b/c.png", "empty"):
        await storage.write(SOURCE, name, name.encode() if name != "empty" else b"")
    evidence = await finished(vault, ordered(22))
    assert (evidence.findings, evidence.objects, evidence.bytes, evidence.sampled) == ((), 3, 12, 3)
    before = await storage.names(KEPT, "prod/nightly/pool/")
    await storage.write(SOURCE, "a.png", b"a new one")
    await storage.erase(SOURCE, "b/c.png")
    evidence = await finished(vault, ordered(23))
    assert (evidence.findings, evidence.objects) == ((), 2)
    after = await storage.names(KEPT, "prod/nightly/pool/")
    assert len(set(after) - set(before)) == 1, "only what is new was copied"
    assert (await vault.prove(ordered(22), "")).findings == (), "the older one is whole still"


async def test_who_is_killed_anywhere_goes_on_with_the_same_list(
    buckets: Objects, storage: PretendStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_vault, "SLICE", 4)
    monkeypatch.setattr(bucket_vault, "AT_ONCE", 2)
    for number in range(11):
        await storage.write(SOURCE, f"{number:02}", b"x" * number)
    order = ordered()
    assert await BucketVault(buckets).find(order) is None
    await BucketVault(buckets).begin(order)
    await storage.write(SOURCE, "later", b"not of this backup")
    found = await BucketVault(buckets).find(order)
    assert isinstance(found, Began)
    seen = []
    while not isinstance(now := await BucketVault(buckets).look(order, found.operation), Finished):
        assert isinstance(now, Going)
        seen.append((now.done, now.total))
    assert seen == [(4, 11), (8, 11)]
    assert await BucketVault(buckets).look(order, found.operation) == Finished()
    assert (await BucketVault(buckets).prove(order, "")).objects == 11


async def test_what_vanished_or_changed_meanwhile_is_noted_and_holds_nothing_up(
    buckets: Objects, storage: PretendStorage
) -> None:
    vault = BucketVault(buckets)
    for name in ("stays", "goes", "changes"):
        await storage.write(SOURCE, name, name.encode())
    order = ordered()
    await vault.begin(order)
    await storage.erase(SOURCE, "goes")
    await storage.write(SOURCE, "changes", b"other bytes")
    assert await vault.look(order, "") == Finished()
    listing = await vault.listing(order)
    assert listing is not None
    assert ([one.name for one in listing.entries], listing.gone) == (["stays"], ("changes", "goes"))


@pytest.mark.parametrize(
    ("harm", "flaw"),
    [
        ("missing", Flaw.MISSING),
        ("other size", Flaw.SIZE),
        ("other bytes", Flaw.CHECKSUM),
        ("zero bytes", Flaw.SIZE),
        ("no manifest", Flaw.UNFINISHED),
        ("broken manifest", Flaw.UNFINISHED),
    ],
)
async def test_every_harm_to_a_copy_is_found(
    buckets: Objects, storage: PretendStorage, harm: str, flaw: Flaw
) -> None:
    vault = BucketVault(buckets)
    await storage.write(SOURCE, "a.png", b"picture")
    order = ordered()
    assert flaws(await finished(vault, order)) == []
    (name,) = await storage.names(KEPT, "prod/nightly/pool/")
    manifest = f"prod/{order.key.removeprefix('toban/')}/manifest.json"
    changes = {
        "other size": (name, b"pictures"),
        "other bytes": (name, b"pictuRe"),
        "zero bytes": (name, b""),
        "broken manifest": (manifest, b"{"),
    }
    if harm in changes:
        await storage.write(KEPT, *changes[harm])
    else:
        await storage.erase(KEPT, name if harm == "missing" else manifest)
    assert flaw in flaws(await vault.prove(order, ""))


async def test_an_empty_bucket_is_a_flaw_and_a_bucket_into_itself_is_refused(
    buckets: Objects, storage: PretendStorage
) -> None:
    vault = BucketVault(buckets)
    assert flaws(await finished(vault, ordered())) == [Flaw.EMPTY]
    assert isinstance(await vault.begin(ordered(of=KEPT)), Broke)
    with pytest.raises(Outage, match=r"^missing: typo-bucket"):
        await vault.begin(ordered(of="typo-bucket"))


async def test_a_prefix_alone_can_be_copied(buckets: Objects, storage: PretendStorage) -> None:
    for name in ("users/1", "users/2", "cache/1"):
        await storage.write(SOURCE, name, b"x")
    assert (await finished(BucketVault(buckets), ordered(of=f"{SOURCE}/users/"))).objects == 2


async def test_deleting_a_backup_leaves_what_others_need(buckets: Objects, storage: PretendStorage) -> None:
    vault = BucketVault(buckets)
    await storage.write(SOURCE, "old", b"1")
    await storage.write(SOURCE, "both", b"2")
    await finished(vault, ordered(22))
    await storage.erase(SOURCE, "old")
    await storage.write(SOURCE, "new", b"3")
    await finished(vault, ordered(23))
    assert await pool(storage) == ["both", "new", "old"]
    await vault.remove(ordered(22))
    await vault.remove(ordered(22))
    assert await pool(storage) == ["both", "new"]
    assert flaws(await vault.prove(ordered(22), "")) == [Flaw.UNFINISHED]
    assert flaws(await vault.prove(ordered(23), "")) == []
    await storage.erase(SOURCE, "new")
    await vault.begin(ordered(24))
    await vault.remove(ordered(23))
    assert await pool(storage) == ["both"], "a copy on its way needs it, though nothing is copied yet"


async def test_nothing_of_the_pool_goes_while_another_manifest_cannot_be_read(
    buckets: Objects, storage: PretendStorage
) -> None:
    vault = BucketVault(buckets)
    await storage.write(SOURCE, "one", b"1")
    await finished(vault, ordered(22))
    await finished(vault, ordered(23))
    await storage.write(KEPT, "prod/nightly/20261123T180000Z/bucket-images/manifest.json", b"{")
    with pytest.raises(Outage, match="cannot be read"):
        await vault.remove(ordered(22))
    assert await pool(storage) == ["one"]


def test_the_sample_differs_from_night_to_night_and_has_a_bound() -> None:
    found = [
        StoredObject(bucket=KEPT, name=f"{n}", generation=1, size=20 * 1024 * 1024, crc32c="", at=AT)
        for n in range(50)
    ]
    first, second = sampled(found, "one"), sampled(found, "two")
    assert len(first) == 3, "64 MiB hold three of 20"
    assert first == sampled(found, "one")
    assert first != second


# Drills.


async def test_a_copy_is_restored_into_a_scratch_bucket_compared_and_removed(
    buckets: Objects, storage: PretendStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_vault, "SLICE", 3)
    monkeypatch.setattr(bucket_rehearsal, "AT_ONCE", 2)
    vault = BucketVault(buckets)
    rehearsal: Rehearsal = BucketRehearsal(buckets, vault)
    for number in range(7):
        await storage.write(SOURCE, f"users/{number}", b"x" * number)
    await storage.write(SCRATCH, "drills/somebody-elses", b"stays")
    order = ordered()
    await finished(vault, order)
    many = Question(part="bucket-images", ask="users/", least=7)
    none = Question(part="bucket-images", ask="teams/", least=1)
    restore = restored(order, many, none)
    begun = await rehearsal.begin(restore)
    assert isinstance(begun, Began)
    looks = [await rehearsal.look(restore, begun.operation) for _ in range(3)]
    assert looks == [Going(done=3, total=7), Going(done=6, total=7), Finished()]
    evidence = await rehearsal.examine(restore, begun.operation)
    assert (flaws(evidence), evidence.objects) == ([Flaw.TOO_FEW], 7)
    (spoilt, *_) = [name for name in await storage.names(SCRATCH) if name.endswith("/3")]
    await storage.write(SCRATCH, spoilt, b"yyy")
    assert Flaw.CHECKSUM in flaws(await rehearsal.examine(restore, begun.operation))
    await rehearsal.remove(restore)
    await rehearsal.remove(restore)
    assert await storage.names(SCRATCH) == ["drills/somebody-elses"]


async def test_a_drill_never_restores_into_the_real_bucket_or_the_backups(
    buckets: Objects, storage: PretendStorage
) -> None:
    vault = BucketVault(buckets)
    rehearsal = BucketRehearsal(buckets, vault)
    await storage.write(SOURCE, "one", b"1")
    order = ordered()
    await finished(vault, order)
    for place in (f"gs://{SOURCE}/x", f"gs://{KEPT}/x", ""):
        assert isinstance(await rehearsal.begin(restored(order, scratch=place)), Broke)
    (name,) = await storage.names(KEPT, "prod/nightly/pool/")
    await storage.erase(KEPT, name)
    lost = await rehearsal.look(restored(order), "")
    assert lost == Broke(why="one is missing from the pool")


async def test_many_calls_at_once_share_one_client(buckets: Objects) -> None:
    await asyncio.gather(*(buckets.write(KEPT, f"many/{n}", b"x") for n in range(40)))
    assert len(await buckets.list(KEPT, "many/")) == 40
