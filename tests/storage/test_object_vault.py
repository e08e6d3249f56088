"""Copies of our own database in a bucket: sent whole, read back whole, and nothing left on this machine."""

import stat
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.backup_plans import Part, Source
from domain.backups import Began, Broke, Finished, Order
from domain.errors import Outage
from domain.evidence import Evidence, Flaw
from gcp.buckets import Buckets
from sandbox.cloud.buckets import PretendStorage, why_not
from storage.copies import Copies
from storage.folder_vault import FolderVault
from storage.object_vault import ObjectVault, TobanVault
from tests.storage.test_copies import filled, tools

AT = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
BUCKET = "bondpoint-backups"


@pytest.fixture
async def storage() -> AsyncIterator[PretendStorage]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    made = PretendStorage()
    await made.start()
    await made.make(BUCKET)
    yield made
    await made.stop()


def ordered(destination: str = f"gs://{BUCKET}/nightly/1/toban") -> Order:
    part = Part(name="toban", source=Source.TOBAN)
    return Order(key="toban/nightly/1/toban", part=part, at=AT, destination=destination)


async def vault_of(url: str, storage: PretendStorage) -> tuple[ObjectVault, Buckets]:
    await (await filled(url, 50)).dispose()
    buckets = Buckets(storage.url)
    return ObjectVault(Copies(url, tools()), buckets, lambda: AT), buckets


def flaws(evidence: Evidence) -> list[Flaw]:
    return [one.flaw for one in evidence.findings]


async def test_seed_defect_72_a_copy_passes_through_a_folder_of_ours_alone_and_leaves_nothing_in_it(
    database_url: str, storage: PretendStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft sent whatever lay in a folder for everybody, under names that anybody could guess."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "temporary" / "strangers.json").write_text("credentials")
    vault, buckets = await vault_of(database_url, storage)
    modes: list[int] = []
    upload = buckets.upload

    async def watched(bucket: str, name: str, file: Path) -> object:
        modes.extend(stat.S_IMODE(one.stat().st_mode) for one in (file.parent, file))
        return await upload(bucket, name, file)

    monkeypatch.setattr(buckets, "upload", watched)
    assert await vault.find(ordered()) is None
    begun = await vault.begin(ordered())
    assert isinstance(begun, Began)
    assert modes == [0o700, 0o600]
    assert await vault.look(ordered(), begun.operation) == Finished()
    evidence = await vault.prove(ordered(), begun.operation)
    assert (evidence.findings, evidence.sampled) == ((), 1)
    async with vault.fetched(ordered()) as found:
        assert found is not None
        assert found[1].stat().st_size == found[0].bytes
    names = await storage.names(BUCKET)
    assert [name.rpartition("/")[2].partition("-")[0] for name in names] == ["manifest.json", "toban"]
    assert [one.name for one in (tmp_path / "temporary").iterdir()] == ["strangers.json"]
    await vault.remove(ordered())
    await vault.remove(ordered())
    assert await storage.names(BUCKET) == []
    await buckets.close()


async def test_who_died_before_the_manifest_begins_anew_over_the_remains(
    sqlite_only: str, storage: PretendStorage
) -> None:
    vault, buckets = await vault_of(sqlite_only, storage)
    await storage.write(BUCKET, "nightly/1/toban/toban-0123456789abcdef.sqlite3", b"of an earlier moment")
    assert await vault.find(ordered()) is None
    await vault.begin(ordered())
    assert flaws(await vault.prove(ordered(), "")) == []
    await vault.remove(ordered())
    assert await storage.names(BUCKET) == []
    await buckets.close()


@pytest.mark.parametrize(
    ("harm", "flaw"),
    [
        ("cut", Flaw.SIZE),
        ("changed", Flaw.CHECKSUM),
        ("empty", Flaw.EMPTY),
        ("missing", Flaw.MISSING),
        ("no manifest", Flaw.UNFINISHED),
        ("broken manifest", Flaw.UNFINISHED),
    ],
)
async def test_every_harm_to_a_copy_is_found(
    sqlite_only: str, storage: PretendStorage, harm: str, flaw: Flaw
) -> None:
    vault, buckets = await vault_of(sqlite_only, storage)
    await vault.begin(ordered())
    manifest, name = await storage.names(BUCKET)
    whole = await storage.read(BUCKET, name)
    assert whole is not None
    changes = {
        "cut": (name, whole[:-1]),
        "changed": (name, whole[:-1] + b"x"),
        "empty": (name, b""),
        "broken manifest": (manifest, b"{"),
    }
    if harm in changes:
        await storage.write(BUCKET, *changes[harm])
    else:
        await storage.erase(BUCKET, name if harm == "missing" else manifest)
    assert flaws(await vault.prove(ordered(), "")) == [flaw]
    if harm == "no manifest":
        assert isinstance(await vault.look(ordered(), ""), Broke)
        async with vault.fetched(ordered()) as found:
            assert found is None
    await buckets.close()


async def test_one_vault_keeps_it_wherever_the_plan_says(
    sqlite_only: str, storage: PretendStorage, tmp_path: Path
) -> None:
    objects, buckets = await vault_of(sqlite_only, storage)
    vault = TobanVault(FolderVault(Copies(sqlite_only), lambda: AT), objects)
    here = ordered(str(tmp_path / "kept"))
    for order in (here, ordered()):
        begun = await vault.begin(order)
        assert isinstance(begun, Began)
        assert await vault.find(order) == begun
        assert flaws(await vault.prove(order, begun.operation)) == []
        async with vault.fetched(order) as found:
            assert found is not None
    await vault.remove(here)
    assert await vault.find(here) is None
    assert isinstance(await vault.find(ordered()), Began)
    with pytest.raises(Outage, match=r"^missing: no-such-bucket"):
        await vault.begin(ordered("gs://no-such-bucket/x"))
    await buckets.close()
