"""Issue 21, 14: copies encrypted with age: whole or none, opened by their key alone, in streams."""

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.backup_plans import Part, Source
from domain.backups import Began, Broke, Order
from domain.copies import Manifest
from domain.errors import Outage
from domain.evidence import Doubt, Flaw
from domain.rehearsal import Restore
from gcp.buckets import Buckets
from sandbox.cloud.buckets import PretendStorage
from storage import private_folder
from storage.copies import Copies, sha256
from storage.encryption import Keyring, NoKey, Undecipherable, new_pair
from storage.folder_vault import FolderVault
from storage.object_vault import ObjectVault, TobanVault
from storage.rehearsal import TobanRehearsal
from tests.conftest import new_postgres
from tests.full_disk import full_at
from tests.storage.test_copies import filled, tools
from tests.storage.test_object_vault import BUCKET, storage  # noqa: F401 - a fixture.

AT = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
PUBLIC, PRIVATE = new_pair()
OTHER_PUBLIC, OTHER_PRIVATE = new_pair()
BOTH, WRITER, STRANGER = (
    Keyring([PUBLIC], [PRIVATE]),
    Keyring([PUBLIC]),
    Keyring([PUBLIC], [OTHER_PRIVATE]),
)
MARK = b"thing.7"
"""What the timeline of a filled database has in clear."""


def ordered(destination: str, *, encrypt: bool = True, installation: str = "0" * 12) -> Order:
    part = Part(name="toban", source=Source.TOBAN, encrypt=encrypt)
    return Order(key="toban/1", part=part, at=AT, destination=destination, installation=installation)


@pytest.fixture
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, for nobody else."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def own(copies: Copies, keys: Keyring, url: str) -> TobanVault:
    buckets = Buckets(url)
    return TobanVault(FolderVault(copies, lambda: AT, keys), ObjectVault(copies, buckets, lambda: AT, keys))


async def everything(folder: Path, pretend: PretendStorage) -> list[bytes]:
    """All that lies at either destination."""
    names = await pretend.names(BUCKET)
    kept = [await pretend.read(BUCKET, name) for name in names]
    return [one for one in kept if one] + [one.read_bytes() for one in folder.rglob("*") if one.is_file()]


@pytest.mark.parametrize("where", ["folder", "bucket"])
async def test_21_14_an_encrypted_copy_holds_nothing_in_clear_and_is_read_whole_with_its_key(
    database_url: str,
    storage: PretendStorage,  # noqa: F811
    tmp_path: Path,
    aside: Path,
    postgres: str,
    where: str,
) -> None:
    database = await filled(database_url, 50)
    await database.dispose()
    copies, kept = Copies(database_url, tools()), tmp_path / "kept"
    kept.mkdir()
    order = ordered(str(kept / "1" / "toban") if where == "folder" else f"gs://{BUCKET}/nightly/1/toban")
    vault = own(copies, BOTH, storage.url)
    assert isinstance(await vault.begin(order), Began)
    lying = await everything(kept, storage)
    assert len(lying) == 2, "the copy and its manifest"
    assert not any(MARK in one or b"SQLite format" in one or b"PGDMP" in one for one in lying)
    assert sum(one.startswith(b"age-encryption.org/v1") for one in lying) == 1
    told = next(json.loads(one) for one in lying if one.startswith(b"{"))
    assert told["recipients"] == [PUBLIC] and told["file"].endswith(".age")
    assert {one["digest"] for one in told["tables"]} == {""}, "no row can be guessed by its digest"
    evidence = await vault.prove(order, "")
    assert (evidence.findings, evidence.doubts) == ((), ())
    assert evidence.tables is not None and evidence.tables["timeline"] == 50
    async with vault.fetched(order) as found:
        assert found is not None
        manifest, file = found
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert MARK in file.read_bytes() or manifest.kind == "postgresql"
        assert all(one.digest for one in manifest.tables)
    assert list(aside.iterdir()) == []
    await vault.remove(order)
    assert await everything(kept, storage) == []


@pytest.mark.parametrize("keys", [WRITER, STRANGER], ids=["no key", "another key"])
async def test_21_14_without_its_key_a_copy_is_compared_and_no_more_and_says_which_key_is_missing(
    database_url: str, tmp_path: Path, aside: Path, keys: Keyring
) -> None:
    database = await filled(database_url, 50)
    await database.dispose()
    copies, folder = Copies(database_url, tools()), tmp_path / "kept" / "toban"
    vault, order = FolderVault(copies, lambda: AT, keys), ordered(str(folder))
    assert isinstance(await vault.begin(order), Began)
    evidence = await vault.prove(order, "")
    assert (evidence.findings, evidence.doubts) == ((), (Doubt.LOCKED,))
    with pytest.raises(NoKey, match=f"encrypted for {PUBLIC}; no key here opens it: set TOBAN_"):
        async with vault.fetched(order):
            pass
    file = next(folder.glob("*.age"))
    file.write_bytes(file.read_bytes()[:-20])
    evidence = await vault.prove(order, "")
    assert [one.flaw for one in evidence.findings] == [Flaw.SIZE], "rot is found without a key"
    assert list(aside.iterdir()) == []


async def test_21_14_a_rotated_key_opens_what_is_for_it_and_old_plain_copies_stay_readable(
    sqlite_only: str, tmp_path: Path
) -> None:
    database = await filled(sqlite_only, 50)
    await database.dispose()
    copies = Copies(sqlite_only)
    orders = [ordered(str(tmp_path / str(n) / "toban"), encrypt=n > 0) for n in range(3)]
    for order, keys in zip(orders, (Keyring(), BOTH, Keyring([OTHER_PUBLIC], [OTHER_PRIVATE])), strict=True):
        assert isinstance(await FolderVault(copies, lambda: AT, keys).begin(order), Began)
    rotated = FolderVault(copies, lambda: AT, Keyring([OTHER_PUBLIC], [OTHER_PRIVATE]))
    seen = [await rotated.prove(order, "") for order in orders]
    assert [one.doubts for one in seen] == [(), (Doubt.LOCKED,), ()]
    careful = FolderVault(copies, lambda: AT, Keyring([OTHER_PUBLIC], [OTHER_PRIVATE, PRIVATE]))
    for order in orders:
        async with careful.fetched(order) as found:
            assert found is not None
            assert found[1].read_bytes().startswith(b"SQLite format 3")


async def test_21_14_several_recipients_each_open_it(sqlite_only: str, tmp_path: Path) -> None:
    database = await filled(sqlite_only, 50)
    await database.dispose()
    order = ordered(str(tmp_path / "toban"))
    await FolderVault(Copies(sqlite_only), lambda: AT, Keyring([PUBLIC, OTHER_PUBLIC])).begin(order)
    for private in (PRIVATE, OTHER_PRIVATE):
        vault = FolderVault(Copies(sqlite_only), lambda: AT, Keyring([], [private]))
        assert (await vault.prove(order, "")).doubts == ()


@pytest.mark.parametrize("where", ["folder", "bucket"])
async def test_21_14_a_plan_that_encrypts_copies_nothing_without_a_recipient(
    sqlite_only: str,
    storage: PretendStorage,  # noqa: F811
    tmp_path: Path,
    where: str,
) -> None:
    database = await filled(sqlite_only, 50)
    await database.dispose()
    kept = tmp_path / "kept"
    kept.mkdir()
    order = ordered(str(kept / "toban") if where == "folder" else f"gs://{BUCKET}/nightly/1/toban")
    answer = await own(Copies(sqlite_only), Keyring(), storage.url).begin(order)
    assert isinstance(answer, Broke) and "TOBAN_BACKUP_AGE_RECIPIENTS is not set" in answer.why
    assert await everything(kept, storage) == []


HARMS = ["cut", "flipped", "sealed cut", "sealed of another", "swapped for another key", "never encrypted"]


@pytest.mark.parametrize("harm", HARMS)
async def test_21_14_what_was_forged_with_its_manifest_is_found_with_the_key(
    sqlite_only: str, tmp_path: Path, harm: str
) -> None:
    """Whoever may write at the destination can make the manifest fit: the sealed one tells."""
    database = await filled(sqlite_only, 50)
    await database.dispose()
    vault = FolderVault(Copies(sqlite_only), lambda: AT, BOTH)
    orders = [ordered(str(tmp_path / name / "toban")) for name in "ab"]
    for order in orders:
        await vault.begin(order)
    place = Path(orders[0].destination)
    file = next(place.glob("*.age"))
    told = Manifest.model_validate_json((place / "manifest.json").read_bytes())
    whole = file.read_bytes()
    other = Manifest.model_validate_json(Path(orders[1].destination, "manifest.json").read_bytes())
    match harm:
        case "cut":
            file.write_bytes(whole[: len(whole) // 2])
        case "flipped":
            file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        case "sealed cut":
            told = told.model_copy(update={"sealed": (told.sealed or "")[:200]})
        case "sealed of another":
            told = told.model_copy(update={"at": AT.replace(hour=3), "sealed": other.sealed})
        case "swapped for another key":
            file.unlink()
            (tmp_path / "x").write_bytes(b"forged")
            await Keyring([OTHER_PUBLIC]).encrypt(tmp_path / "x", file)
        case _:
            file.write_bytes(b"SQLite format 3\0" * 100)
    told = told.model_copy(update={"bytes": file.stat().st_size, "sha256": sha256(file)})
    (place / "manifest.json").write_text(told.model_dump_json())
    evidence = await vault.prove(orders[0], "")
    assert [one.flaw for one in evidence.findings] == [Flaw.UNDECIPHERABLE]
    async with vault.fetched(orders[0]) as found:
        assert found is None
    assert [one.flaw for one in (await vault.prove(orders[1], "")).findings] == []


async def plain_size(vault: FolderVault, order: Order) -> int:
    async with vault.fetched(order) as found:
        assert found is not None
        return found[1].stat().st_size


@pytest.mark.parametrize("room", [0, 150, 100_000])
async def test_21_14_a_disk_that_is_full_amid_the_encryption_leaves_nothing_and_says_so(
    tmp_path: Path, room: int
) -> None:
    plain, cipher = tmp_path / "plain", tmp_path / "cipher"
    plain.write_bytes(os.urandom(300_000))
    with full_at(room), pytest.raises(Outage, match="encryption: File too large"):
        await BOTH.encrypt(plain, cipher)
    assert not cipher.exists()
    await BOTH.encrypt(plain, cipher)
    await BOTH.decrypt(cipher, tmp_path / "again", [])
    assert (tmp_path / "again").read_bytes() == plain.read_bytes()


async def test_21_14_a_destination_with_room_for_the_plain_copy_only_is_left_empty(
    sqlite_only: str, tmp_path: Path, aside: Path
) -> None:
    database = await filled(sqlite_only, 50)
    await database.dispose()
    vault = FolderVault(Copies(sqlite_only), lambda: AT, BOTH)
    before, order = ordered(str(tmp_path / "before" / "toban")), ordered(str(tmp_path / "kept" / "toban"))
    await vault.begin(before)
    with full_at(await plain_size(vault, before)), pytest.raises(Outage, match="encryption: File too large"):
        await vault.begin(order)
    assert list(Path(order.destination).iterdir()) == []
    assert list(aside.iterdir()) == []
    assert isinstance(await vault.begin(order), Began)


async def test_21_14_a_disk_that_is_full_while_a_copy_is_opened_proves_nothing_against_it(
    sqlite_only: str, tmp_path: Path, aside: Path
) -> None:
    database = await filled(sqlite_only, 50)
    await database.dispose()
    vault, order = FolderVault(Copies(sqlite_only), lambda: AT, BOTH), ordered(str(tmp_path / "toban"))
    await vault.begin(order)
    with full_at(await plain_size(vault, order) // 2), pytest.raises(Outage, match="File too large"):
        await vault.prove(order, "")
    assert list(aside.iterdir()) == []
    assert (await vault.prove(order, "")).findings == ()


async def test_21_14_who_gives_up_waiting_ends_the_encryption_and_the_loop_goes_on_meanwhile(
    tmp_path: Path,
) -> None:
    """pyrage's own functions for files hold Python's lock from their first byte to their last."""
    plain = tmp_path / "plain"
    with plain.open("wb") as file:
        file.truncate(256 << 20)
    working = asyncio.create_task(BOTH.encrypt(plain, tmp_path / "cipher"))
    turns = 0
    while not (tmp_path / "cipher").exists() or turns < 20:
        await asyncio.sleep(0.001)
        turns += 1
        assert not working.done()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    for _ in range(1000):
        if not any(one.name == "own-_encrypt" for one in threading.enumerate()):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("the thread goes on")
    assert not (tmp_path / "cipher").exists()


async def test_21_14_a_large_copy_passes_in_pieces(tmp_path: Path) -> None:
    """The peak of a process that encrypts and decrypts 512 MB is far below that."""
    child = f"""
import asyncio, resource, sys
from pathlib import Path
from storage.encryption import Keyring
keys, folder = Keyring([{PUBLIC!r}], [{PRIVATE!r}]), Path(sys.argv[1])
with (folder / "plain").open("wb") as file:
    file.truncate(512 << 20)
async def main():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await keys.encrypt(folder / "plain", folder / "cipher")
    await keys.decrypt(folder / "cipher", folder / "again", [])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", child, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 64 << 20
    assert (tmp_path / "again").stat().st_size == 512 << 20


KILLED = """
import asyncio, sys
from datetime import UTC, datetime
from domain.backup_plans import Part, Source
from domain.backups import Order
from storage.copies import Copies, sha256
from storage.encryption import Keyring
from storage.folder_vault import FolderVault

at = datetime(2026, 11, 22, 18, tzinfo=UTC)
part = Part(name="toban", source=Source.TOBAN, encrypt=True)
order = Order(key="k", part=part, at=at, destination=sys.argv[2])
vault = FolderVault(Copies(sys.argv[1]), lambda: at, Keyring(sys.argv[3:4], sys.argv[4:5]))
if sys.argv[5] == "encrypt":
    asyncio.run(vault.begin(order))
else:
    async def read():
        async with vault.fetched(order):
            print("amid it", flush=True)
            await asyncio.sleep(60)
    asyncio.run(read())
"""


async def grows(file: Path) -> None:
    """Wait until there is something of it."""
    async with asyncio.timeout(60):
        while not file.exists() or file.stat().st_size < 100_000:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("amid", ["encrypt", "restore"])
async def test_21_14_after_a_real_sigkill_what_is_plain_is_removed_by_whoever_comes_next(
    sqlite_only: str, tmp_path: Path, aside: Path, amid: str
) -> None:
    database = await filled(sqlite_only, 2000)
    await database.dispose()
    if amid == "encrypt":  # So large that whoever sees the first bytes of it can kill before the last.
        with sqlite3.connect(sqlite_only.partition(":///")[2]) as direct:
            direct.execute("CREATE TABLE ballast AS SELECT zeroblob(200000000) AS bytes")
        direct.close()
    order = ordered(str(tmp_path / "kept" / "toban"), installation="")
    vault = FolderVault(Copies(sqlite_only), lambda: AT, BOTH)
    if amid == "restore":
        await vault.begin(order)
    arguments = [sqlite_only, order.destination, PUBLIC, PRIVATE, amid]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, *arguments),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(aside)},
    )
    assert child.stdout is not None
    if amid == "restore":
        assert (await child.stdout.readline()).strip() == b"amid it"
    else:
        await grows(Path(order.destination) / "toban.sqlite3.age.part")
    child.send_signal(signal.SIGKILL)
    await child.wait()
    (left,) = aside.iterdir()
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    assert any(one.read_bytes().startswith(b"SQLite format 3") for one in left.iterdir()), "it was plain"
    assert not any(b"SQLite format" in one.read_bytes() for one in Path(order.destination).iterdir())
    private_folder.sweep()
    assert list(aside.iterdir()) == []
    if amid == "encrypt":
        assert await vault.find(order) is None, "half a copy is none"
        await vault.begin(order)
    assert (await vault.prove(order, "")).findings == ()
    assert sorted(one.name for one in Path(order.destination).iterdir()) == [
        "manifest.json",
        "toban.sqlite3.age",
    ]


def forgetful(folder: Path) -> str:
    """PostgreSQL's tools, with a ``pg_dump`` that silently leaves out a table."""
    real = Path(tools() or "/usr/bin")
    folder.mkdir()
    for name, left_out in (("pg_dump", "--exclude-table=finding"), ("pg_restore", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {real / name} {left_out} "$@"\n')
        script.chmod(0o755)
    return str(folder)


async def test_21_14_a_dump_that_lacks_a_table_is_not_encrypted(
    postgres: str, tmp_path: Path, aside: Path
) -> None:
    """Later nobody might be able to look into it."""
    url = new_postgres(postgres)
    await (await filled(url, 5)).dispose()
    copies = Copies(url, forgetful(tmp_path / "tools"))
    answer = await FolderVault(copies, lambda: AT, WRITER).begin(ordered(str(tmp_path / "kept")))
    assert answer == Broke(why="the copy does not hold finding: it is missing")
    assert list((tmp_path / "kept").iterdir()) == [] == list(aside.iterdir())


def test_21_14_texts_are_sealed_for_their_key_alone() -> None:
    sealed = WRITER.seal("rows")
    assert BOTH.unseal(sealed, [PUBLIC]) == "rows"
    with pytest.raises(NoKey, match="no key here opens it"):
        STRANGER.unseal(sealed, [PUBLIC])
    with pytest.raises(Undecipherable):
        BOTH.unseal(sealed[:-60], [PUBLIC])
    with pytest.raises(NoKey):
        Keyring().unseal(sealed, [PUBLIC, OTHER_PUBLIC])


async def test_21_14_a_drill_without_the_key_blames_the_place_and_names_the_key(
    sqlite_only: str, tmp_path: Path
) -> None:
    await (await filled(sqlite_only, 5)).dispose()
    order = ordered(str(tmp_path / "kept"))
    vault = FolderVault(Copies(sqlite_only), lambda: AT, WRITER)
    await vault.begin(order)
    rehearsal = TobanRehearsal(vault.fetched, tmp_path, None, None)
    answer = await rehearsal.begin(Restore(key="k", copy_of=order, operation="", at=AT))
    assert isinstance(answer, Broke) and answer.blames_place and PUBLIC in answer.why
