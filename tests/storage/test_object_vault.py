"""Copies of our own database in a bucket: sent whole, read back whole, and nothing left on this machine."""

import stat
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.backup_plans import Part, Source
from domain.backups import Began, Broke, Finished, Order
from domain.copies import Manifest
from domain.errors import Outage
from domain.evidence import Evidence, Flaw
from gcp.buckets import Buckets
from sandbox.cloud.buckets import PretendStorage, why_not
from storage import space
from storage.copies import Copies
from storage.encryption import Keyring, new_pair
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


def ours(url: str, buckets: Buckets, *, later: int = 0, keys: Keyring | None = None) -> TobanVault:
    """The vault of a bot, whose clock is so many hours later."""
    copies, at = Copies(url, tools()), AT + timedelta(hours=later)
    return TobanVault(FolderVault(copies, lambda: at, keys), ObjectVault(copies, buckets, lambda: at, keys))


async def said(vault: TobanVault, order: Order) -> tuple[Manifest, bytes]:
    """What lies there: a whole copy, as its manifest describes it."""
    assert flaws(await vault.prove(order, "")) == []
    async with vault.lent(order) as found:
        assert found is not None
        return found[0], found[1].read_bytes()


@pytest.mark.parametrize("places", [("a", "b"), ("a", "gs"), ("gs", "a"), ("gs", "gs")])
async def test_21_14_a_copy_is_taken_from_another_destination_byte_for_byte(
    database_url: str, storage: PretendStorage, tmp_path: Path, places: tuple[str, str]
) -> None:
    await (await filled(database_url, 50)).dispose()
    buckets = Buckets(storage.url)
    orders = [
        ordered(f"gs://{BUCKET}/{number}/toban" if one == "gs" else str(tmp_path / one))
        for number, one in enumerate(places)
    ]
    await ours(database_url, buckets).begin(orders[0])
    vault = ours(database_url, buckets, later=1)
    assert isinstance(await vault.begin(orders[1].model_copy(update={"first": orders[0]})), Began)
    first, second = [await said(vault, one) for one in orders]
    assert first[1] == second[1]
    assert first[0].at == second[0].at, "no dump of its own was made"
    if places[1] == "gs":  # Whoever died before the manifest was there.
        await storage.erase(BUCKET, "1/toban/manifest.json")
    else:
        Path(orders[1].destination, "manifest.json").unlink()
        Path(orders[1].destination, f"{second[0].file}.part").write_text("half")
    assert await vault.find(orders[1]) is None
    assert isinstance(await vault.begin(orders[1].model_copy(update={"first": orders[0]})), Began)
    assert await said(vault, orders[1]) == second
    if places[1] == "b":
        assert stat.S_IMODE((tmp_path / "b" / second[0].file).stat().st_mode) == 0o600
        assert list(tmp_path.rglob("*.part")) == []
    await buckets.close()


@pytest.mark.parametrize(
    "harm", ["nothing there", "no manifest", "cut", "changed", "no bucket", "another's", "to be encrypted"]
)
async def test_21_14_what_cannot_be_taken_is_made_anew(
    sqlite_only: str, storage: PretendStorage, tmp_path: Path, harm: str
) -> None:
    await (await filled(sqlite_only, 50)).dispose()
    buckets = Buckets(storage.url)
    keys = Keyring([new_pair()[0]])
    first, here = ordered(str(tmp_path / "a")), ordered(str(tmp_path / "b"))
    if harm == "another's":
        here = here.model_copy(update={"installation": "0123456789ab"})
        first = first.model_copy(update={"installation": "ba9876543210"})
    await ours(sqlite_only, buckets).begin(first)
    file = tmp_path / "a" / "toban.sqlite3"
    match harm:
        case "nothing there":
            first = ordered(str(tmp_path / "c"))
        case "no manifest":
            (tmp_path / "a" / "manifest.json").unlink()
        case "cut":
            file.write_bytes(file.read_bytes()[:-1])
        case "changed":
            file.write_bytes(file.read_bytes()[:-1] + b"x")
        case "no bucket":
            first = ordered("gs://no-such-bucket/x")
        case "to be encrypted":
            part = here.part.model_copy(update={"encrypt": True})
            here = here.model_copy(update={"part": part})
    vault = ours(sqlite_only, buckets, later=1, keys=keys)
    assert isinstance(await vault.begin(here.model_copy(update={"first": first})), Began)
    manifest, _ = await said(vault, here)
    assert manifest.at == AT + timedelta(hours=1)
    assert manifest.is_encrypted is (harm == "to be encrypted")
    await buckets.close()


async def test_21_14_a_disk_without_room_for_what_is_taken_is_told(
    sqlite_only: str, storage: PretendStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun, and the copy that was to be taken is as it was."""
    await (await filled(sqlite_only, 50)).dispose()
    buckets = Buckets(storage.url)
    vault = ours(sqlite_only, buckets)
    first, here = ordered(str(tmp_path / "a")), ordered(str(tmp_path / "b"))
    await vault.begin(first)
    monkeypatch.setattr(space, "RESERVE", 1 << 60)
    broke = await vault.begin(here.model_copy(update={"first": first}))
    assert isinstance(broke, Broke) and "MB are needed. Make room there" in broke.why
    assert not (tmp_path / "b").exists()
    assert flaws(await vault.prove(first, "")) == []
    await buckets.close()
