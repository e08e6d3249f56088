"""Cloud Storage over a wire on which all goes wrong that can: nothing is lost, doubled or called whole."""

import asyncio
import gc
import gzip
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from domain.backups import Began, Broke, Finished
from domain.errors import Outage
from domain.evidence import Flaw
from domain.objects import BucketHold
from gcp import bucket_vault, buckets
from gcp.bucket_rehearsal import BucketRehearsal
from gcp.bucket_vault import BucketVault, at_a_time
from gcp.buckets import Buckets
from sandbox.cloud.buckets import PretendStorage, why_not
from sandbox.cloud.faults import FOREVER
from sandbox.cloud.wire import Wire
from tests.contracts.test_buckets import KEPT, SCRATCH, SOURCE, finished, flaws, ordered, pool, restored

# Where a download is refused, Google's client leaves its connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*unclosed <socket")


@dataclass
class Far:
    """Cloud Storage at the far end of a wire: ``here`` speaks through it, ``storage`` is the way around."""

    storage: PretendStorage
    wire: Wire
    here: Buckets


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    why = why_not()
    if why is not None:
        pytest.skip(why)
    storage = PretendStorage()
    await storage.start()
    for bucket in (SOURCE, KEPT, SCRATCH):
        await storage.make(bucket)
    wire = Wire(storage.url)
    await wire.start()
    here = Buckets(wire.url)
    yield Far(storage, wire, here)
    await here.close()
    await wire.stop()
    await storage.stop()
    gc.collect()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's client gives up at its first trouble."""
    monkeypatch.setattr(buckets, "REPEATED", 0.01)


# Objects.


async def test_a_compressed_object_is_read_as_it_lies_there(far: Far, tmp_path: Path) -> None:
    lying = gzip.compress(b'{"user": 1}' * 500)
    await far.storage.write(SOURCE, "users.json", lying, encoding="gzip")
    found = await far.here.stat(SOURCE, "users.json")
    assert found is not None
    assert await far.here.read(found) == lying
    await far.here.download(found, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == lying
    evidence = await finished(BucketVault(far.here), ordered())
    assert (evidence.findings, evidence.sampled, evidence.bytes) == ((), 1, len(lying))


async def test_a_large_file_is_sent_in_pieces_and_one_that_is_cut_off_leaves_nothing(
    far: Far, impatient: None, tmp_path: Path
) -> None:
    """In one piece it had to be sent within the time of one connection, 5 s, which a slow line never does."""
    (tmp_path / "file").write_bytes(bytes(range(256)) * (20 << 12))
    far.wire.add("PUT", nth=2, count=FOREVER)
    with pytest.raises(Outage, match=r"^unavailable: bondpoint-backups/large"):
        await far.here.upload(KEPT, "large", tmp_path / "file")
    assert await far.storage.names(KEPT) == []
    far.wire.clear()
    sent = await far.here.upload(KEPT, "large", tmp_path / "file")
    assert sent.size == 20 << 20
    assert len([call for call in far.wire.calls if call.startswith("PUT")]) == 3
    await far.here.download(sent, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()


async def test_an_answer_that_is_lost_is_asked_for_again_and_finds_its_own_work(far: Far) -> None:
    """Google refuses to do it twice. The pretend one would, so that the second answer is laid for it."""
    far.wire.add("POST", "/upload/", is_lost=True)
    far.wire.add("POST", "/upload/", status=412)
    written = await far.here.write(KEPT, "one", b"hello")
    assert written.size == 5
    far.wire.clear()
    source = await far.here.write(SOURCE, "one", b"picture")
    far.wire.clear()
    far.wire.add("POST", "/rewriteTo/", is_lost=True)
    far.wire.add("POST", "/rewriteTo/", status=412)
    copied = await far.here.copy(source, KEPT, "copy")
    assert (copied.size, copied.crc32c) == (source.size, source.crc32c)
    far.wire.clear()
    far.wire.add("DELETE", is_lost=True)
    await far.here.delete(copied)
    assert await far.here.stat(KEPT, "copy") is None


async def test_a_copy_whose_source_is_another_one_by_now_is_not_made(far: Far) -> None:
    source = await far.here.write(SOURCE, "one", b"picture")
    far.wire.add("POST", "/rewriteTo/", status=412)
    with pytest.raises(Outage, match=r"^conflict: bondpoint-images/one"):
        await far.here.copy(source, KEPT, "copy")
    assert await far.here.stat(KEPT, "copy") is None


@pytest.mark.parametrize(
    ("status", "word"),
    [(403, "permission"), (429, "quota"), (500, "unavailable"), (503, "unavailable")],
)
@pytest.mark.parametrize("call", ["list", "stat", "read", "write", "copy", "delete", "hold"])
async def test_each_refusal_has_its_word(
    far: Far, impatient: None, call: str, status: int, word: str
) -> None:
    found = await far.here.write(KEPT, "one", b"hello")
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "list": lambda: far.here.list(KEPT, ""),
        "stat": lambda: far.here.stat(KEPT, "one"),
        "read": lambda: far.here.read(found),
        "write": lambda: far.here.write(KEPT, "two", b"hello"),
        "copy": lambda: far.here.copy(found, SOURCE, "one"),
        "delete": lambda: far.here.delete(found),
        "hold": lambda: far.here.hold(KEPT),
    }
    far.wire.add(status=status, count=FOREVER)
    with pytest.raises(Outage, match=f"^{word}: {KEPT}"):
        await calls[call]()


async def test_what_keeps_a_bucket_is_read(far: Far) -> None:
    held = {"name": KEPT, "retentionPolicy": {"retentionPeriod": "604800", "isLocked": True}}
    assert await far.here.hold(KEPT) == BucketHold()
    far.wire.add("GET", f"/b/{KEPT}", status=200, answer=held)
    assert await far.here.hold(KEPT) == BucketHold(seconds=604800, locked=True)


async def test_a_slow_storage_holds_up_nothing_else(far: Far) -> None:
    far.wire.add(seconds=1.5, count=FOREVER)
    waiting = [asyncio.create_task(far.here.list(KEPT, "")) for _ in range(40)]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await asyncio.gather(*(asyncio.to_thread(len, "") for _ in range(10)))
    assert time.monotonic() - began < 0.5
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_without_the_packages_it_says_which_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage.exceptions", None)
    with pytest.raises(Outage, match="the extra `backups`"):
        await Buckets().list(KEPT, "")


# Copies.


@pytest.mark.parametrize("is_lost", [False, True], ids=["cut", "answer lost"])
async def test_who_is_killed_at_any_call_of_a_backup_makes_it_whole_afterwards(
    far: Far, impatient: None, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    """Every call in turn is the last one that was made, done or not; then somebody else goes on."""
    monkeypatch.setattr(bucket_vault, "AT_ONCE", 1)
    monkeypatch.setattr(bucket_vault, "SLICE", 2)
    names = ["a.png", "b/c.png", "d.png"]
    for name in names:
        await far.storage.write(SOURCE, name, name.encode())

    async def night(here: Buckets, number: int) -> None:
        vault, order = BucketVault(here), ordered(number, name=f"n{number}")
        begun = await vault.find(order) or await vault.begin(order)
        assert isinstance(begun, Began)
        while not isinstance(await vault.look(order, begun.operation), Finished):
            pass
        assert (await vault.prove(order, begun.operation)).findings == ()

    await night(far.here, 1)
    calls = len(far.wire.calls)
    for number in range(2, calls + 2):
        far.wire.clear()
        far.wire.add(nth=number - 1, is_lost=is_lost)
        far.wire.add(nth=number - (0 if is_lost else 1), count=FOREVER)
        dying = Buckets(far.wire.url)
        with pytest.raises(Outage):
            await night(dying, number)
        await dying.close()
        far.wire.clear()
        await night(far.here, number)
        order = ordered(number, name=f"n{number}")
        listing = await BucketVault(far.here).listing(order)
        assert listing is not None
        assert ([one.name for one in listing.entries], listing.gone) == (names, ())
        assert len(await far.storage.names(KEPT, f"prod/nightly/pool/n{number}/")) == 3
    assert calls > 15


async def test_who_may_not_delete_removes_nothing_at_all(far: Far) -> None:
    """Seed defects 73 and 77: what is held, or what we may not delete, stays a whole backup."""
    vault = BucketVault(far.here)
    await far.storage.write(SOURCE, "one", b"1")
    await finished(vault, ordered(22))
    far.wire.add("DELETE", status=403, count=FOREVER)
    with pytest.raises(Outage, match=r"^permission"):
        await vault.remove(ordered(22))
    assert flaws(await vault.prove(ordered(22), "")) == []


async def test_what_is_held_in_the_pool_goes_with_the_next_backup(far: Far) -> None:
    vault = BucketVault(far.here)
    await far.storage.write(SOURCE, "old", b"1")
    await finished(vault, ordered(22))
    await far.storage.erase(SOURCE, "old")
    await far.storage.write(SOURCE, "new", b"2")
    await finished(vault, ordered(23))
    await finished(vault, ordered(24))
    far.wire.add("DELETE", "pool", status=403, count=FOREVER)
    await vault.remove(ordered(22))
    assert await pool(far.storage) == ["new", "old"]
    far.wire.clear()
    await vault.remove(ordered(23))
    assert await pool(far.storage) == ["new"]
    assert flaws(await vault.prove(ordered(24), "")) == []


async def test_who_is_killed_while_deleting_leaves_no_backup_and_goes_on(far: Far, impatient: None) -> None:
    vault = BucketVault(far.here)
    for number in (22, 23):
        await far.storage.write(SOURCE, "both", b"2")
        await far.storage.write(SOURCE, f"only-{number}", b"1")
        await finished(vault, ordered(number))
        await far.storage.erase(SOURCE, f"only-{number}")
    far.wire.add("DELETE", nth=2, count=FOREVER)
    with pytest.raises(Outage):
        await vault.remove(ordered(22))
    assert flaws(await vault.prove(ordered(22), "")) == [Flaw.UNFINISHED]
    far.wire.clear()
    await vault.remove(ordered(22))
    assert "only-22" not in await pool(far.storage)
    assert flaws(await vault.prove(ordered(23), "")) == []


async def test_manifests_of_other_kinds_beside_it_hold_no_deletion_up(far: Far) -> None:
    """A plan may send its secrets and our own database to the same bucket, each with its manifest."""
    vault = BucketVault(far.here)
    await far.storage.write(SOURCE, "one", b"1")
    await finished(vault, ordered(22))
    await finished(vault, ordered(23))
    for part in ("secrets", "toban", "bucket-images-2"):
        name = f"prod/nightly/20261123T180000Z/{part}/manifest.json"
        data = b"{}" if part != "bucket-images-2" else b'{"source": "x", "entries": []}'
        await far.storage.write(KEPT, name, data)
    await vault.remove(ordered(22))
    await vault.remove(ordered(23))
    assert await pool(far.storage) == []


async def test_a_bucket_that_was_emptied_or_deleted_meanwhile_gives_no_backup(
    far: Far, impatient: None
) -> None:
    vault = BucketVault(far.here)
    for name in ("a", "b", "c"):
        await far.storage.write(SOURCE, name, b"x")
    for number in (22, 23):
        await vault.begin(ordered(number))
    await far.here.copy((await far.here.list(SOURCE, "a"))[0], KEPT, await first_of_pool(vault, far))
    for name in ("a", "b", "c"):
        await far.storage.erase(SOURCE, name)
    emptied = await vault.look(ordered(22), "")
    assert emptied == Broke(why="bondpoint-images was emptied before 2 of its objects were copied")
    far.wire.add("GET", f"/b/{SOURCE}/o", status=404, count=FOREVER)
    with pytest.raises(Outage, match=r"^missing: bondpoint-images"):
        await vault.look(ordered(23), "")
    for number in (22, 23):
        assert flaws(await vault.prove(ordered(number), "")) == [Flaw.UNFINISHED]


async def first_of_pool(vault: BucketVault, far: Far) -> str:
    """Where the copy of ``a`` is to lie."""
    plan = bucket_vault.Listing.model_validate_json(
        await far.storage.read(KEPT, "prod/nightly/20261122T180000Z/bucket-images/plan.json") or b""
    )
    return plan.entries[0].pool


async def test_a_manifest_that_names_fewer_than_were_listed_is_none(far: Far) -> None:
    vault = BucketVault(far.here)
    for name in ("a", "b"):
        await far.storage.write(SOURCE, name, b"x")
    await finished(vault, ordered())
    listing = await vault.listing(ordered())
    assert listing is not None
    short = listing.model_copy(update={"entries": listing.entries[:1]})
    place = "prod/nightly/20261122T180000Z/bucket-images/manifest.json"
    await far.storage.write(KEPT, place, short.model_dump_json().encode())
    assert flaws(await vault.prove(ordered(), "")) == [Flaw.COUNT]
    other = listing.model_copy(update={"source": "another-bucket"})
    await far.storage.write(KEPT, place, other.model_dump_json().encode())
    assert flaws(await vault.prove(ordered(), "")) == [Flaw.ELSEWHERE]


async def test_a_name_of_any_length_is_copied_and_restored(far: Far) -> None:
    vault = BucketVault(far.here)
    rehearsal = BucketRehearsal(far.here, vault)
    for name in ("x" * 1024, "写真/" * 140, "folder/", "with space + % # ?/é"):
        await far.storage.write(SOURCE, name, b"x")
    assert flaws(await finished(vault, ordered())) == []
    restore = restored(ordered())
    begun = await rehearsal.begin(restore)
    assert isinstance(begun, Began)
    assert await rehearsal.look(restore, begun.operation) == Finished()
    evidence = await rehearsal.examine(restore, begun.operation)
    assert (evidence.findings, evidence.objects) == ((), 4)
    await rehearsal.remove(restore)
    assert await far.storage.names(SCRATCH) == []


async def test_more_than_a_page_of_objects_is_listed_copied_and_proven(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PAGE", 3)
    for number in range(10):
        await far.storage.write(SOURCE, f"{number}", b"x")
    assert [one.name for one in await far.here.list(SOURCE, "")] == [str(number) for number in range(10)]
    assert len([call for call in far.wire.calls if "pageToken=" in call]) == 3
    assert len(await far.here.list(SOURCE, "", limit=4)) == 4
    assert (await finished(BucketVault(far.here), ordered())).objects == 10


def test_a_copy_of_any_size_is_made_in_few_looks() -> None:
    assert [at_a_time(total) for total in (1, 10_000, 200_000)] == [500, 500, 10_000]
