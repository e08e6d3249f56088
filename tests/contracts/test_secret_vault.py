"""Secret Manager over real gRPC: names and versions are kept, what secrets hold is never even asked for."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.backup_plans import Part, Source
from domain.backups import Began, Broke, Finished, Order
from domain.errors import Outage
from domain.evidence import Evidence, Flaw
from gcp.buckets import Buckets
from gcp.clients import GcpClients
from gcp.secret_vault import SecretVault
from gcp.shelves import Shelf
from sandbox.clock import StandingClock
from sandbox.cloud.buckets import PretendStorage, why_not
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import Action, permission, quota, unavailable

PROJECT = "bondpoint-prod"
AT = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    made = Cloud(StandingClock())
    await made.start()
    for number in range(60):
        versions = 40 if number == 3 else 2
        made.secrets.add(PROJECT, f"secret-{number:02}", versions=versions, labels={"team": "api"})
    yield made
    await made.stop()


@pytest.fixture
async def clients(cloud: Cloud) -> AsyncIterator[GcpClients]:
    made = GcpClients(cloud.endpoint)
    yield made
    await made.close()


def ordered(destination: str, project: str = PROJECT) -> Order:
    part = Part(name="secrets", source=Source.SECRETS, project=project)
    return Order(key="toban/nightly/1/secrets", part=part, at=AT, destination=destination)


async def listed(shelf: Shelf, destination: str) -> str:
    """The one file that is named after its contents."""
    (name,) = [one for one in await shelf.names(destination) if one != "manifest.json"]
    return name


def flaws(evidence: Evidence) -> list[Flaw]:
    return [one.flaw for one in evidence.findings]


@pytest.fixture(params=["folder", "bucket"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Shelf, str]]:
    if request.param == "folder":
        yield Shelf(None), str(tmp_path / "kept" / "secrets")
        return
    why = why_not()
    if why is not None:
        pytest.skip(why)
    storage = PretendStorage()
    await storage.start()
    await storage.make("bondpoint-backups")
    buckets = Buckets(storage.url)
    yield Shelf(buckets), "gs://bondpoint-backups/nightly/secrets"
    await buckets.close()
    await storage.stop()


async def test_all_secrets_and_versions_are_kept_and_no_value_is_asked_for(
    cloud: Cloud, clients: GcpClients, place: tuple[Shelf, str]
) -> None:
    shelf, destination = place
    vault, order = SecretVault(clients, shelf), ordered(destination)
    assert await vault.find(order) is None
    begun = await vault.begin(order)
    assert isinstance(begun, Began)
    assert await vault.find(order) == begun
    assert await vault.look(order, begun.operation) == Finished()
    evidence = await vault.prove(order, begun.operation)
    assert (evidence.findings, evidence.records, evidence.at) == ((), 59 * 2 + 40, AT)
    found = json.loads(await shelf.read(destination, await listed(shelf, destination)) or b"")
    assert [one["name"].rpartition("/")[2] for one in found] == [f"secret-{n:02}" for n in range(60)]
    assert found[3]["versions"][0]["state"] == "ENABLED"
    assert found[3]["labels"] == {"team": "api"}
    assert cloud.journal.count("AccessSecretVersion") == 0
    assert {call.method for call in cloud.journal.calls} == {"ListSecrets", "ListSecretVersions"}
    await vault.remove(order)
    await vault.remove(order)
    assert await vault.find(order) is None


async def test_who_died_before_the_manifest_begins_anew_over_the_remains(
    cloud: Cloud, clients: GcpClients, place: tuple[Shelf, str]
) -> None:
    shelf, destination = place
    await shelf.write(destination, "secrets-0123456789abcdef.json", b"of an attempt that died")
    vault, order = SecretVault(clients, shelf), ordered(destination)
    assert await vault.find(order) is None
    await vault.begin(order)
    assert (await vault.prove(order, "")).findings == ()
    await vault.remove(order)
    assert await shelf.names(destination) == []


async def test_every_harm_to_a_copy_is_found(
    cloud: Cloud, clients: GcpClients, place: tuple[Shelf, str]
) -> None:
    shelf, destination = place
    vault, order = SecretVault(clients, shelf), ordered(destination)
    await vault.begin(order)
    name = await listed(shelf, destination)
    whole = await shelf.read(destination, name)
    assert whole is not None
    for data, flaw in (
        (whole[:-1], Flaw.SIZE),
        (whole[:-1] + b" ", Flaw.CHECKSUM),
        (b"", Flaw.EMPTY),
        (None, Flaw.MISSING),
    ):
        await shelf.remove(destination, name)
        if data is not None:
            await shelf.write(destination, name, data)
        assert flaws(await vault.prove(order, "")) == [flaw]
    elsewhere = ordered(destination, "bondpoint-staging")
    await shelf.remove(destination, name)
    await shelf.write(destination, name, whole)
    assert flaws(await vault.prove(elsewhere, "")) == [Flaw.ELSEWHERE]
    await shelf.remove(destination, "manifest.json")
    assert flaws(await vault.prove(order, "")) == [Flaw.UNFINISHED]


async def test_a_project_without_secrets_is_a_flaw_and_an_unknown_one_is_said(
    cloud: Cloud, clients: GcpClients, tmp_path: Path
) -> None:
    cloud.secrets.projects["empty"] = {}
    vault = SecretVault(clients, Shelf(None))
    order = ordered(str(tmp_path / "one"), "empty")
    await vault.begin(order)
    assert flaws(await vault.prove(order, "")) == [Flaw.EMPTY]
    assert isinstance(await vault.begin(ordered(str(tmp_path / "two"), "typo")), Broke)


@pytest.mark.parametrize(
    ("action", "word"), [(permission(), "permission"), (quota(), "quota"), (unavailable(), "unavailable")]
)
@pytest.mark.parametrize("method", ["ListSecrets", "ListSecretVersions"])
async def test_trouble_is_an_outage_and_leaves_no_manifest(
    cloud: Cloud, clients: GcpClients, tmp_path: Path, method: str, action: Action, word: str
) -> None:
    cloud.faults.add(action, method=method, nth=2)
    vault, order = SecretVault(clients, Shelf(None), pauses=()), ordered(str(tmp_path / "one"))
    with pytest.raises(Outage, match=f"^{word}: Secret Manager"):
        await vault.begin(order)
    assert await vault.find(order) is None
    assert isinstance(await vault.begin(order), Began)


async def test_a_quota_that_is_used_up_is_waited_for(
    cloud: Cloud, clients: GcpClients, tmp_path: Path
) -> None:
    cloud.faults.add(quota(), method="ListSecretVersions", nth=7, count=2)
    vault, order = SecretVault(clients, Shelf(None), pauses=(0.0, 0.0)), ordered(str(tmp_path / "one"))
    assert isinstance(await vault.begin(order), Began)
    assert (await vault.prove(order, "")).records == 59 * 2 + 40
    assert cloud.journal.count("ListSecretVersions") == 61 + 2, "one of them has two pages"


async def test_a_manifest_that_names_a_file_elsewhere_is_none(
    cloud: Cloud, clients: GcpClients, tmp_path: Path
) -> None:
    vault, order = SecretVault(clients, Shelf(None)), ordered(str(tmp_path / "one"))
    await vault.begin(order)
    manifest = tmp_path / "one" / "manifest.json"
    name = await listed(Shelf(None), order.destination)
    manifest.write_text(manifest.read_text().replace(name, "../secrets-00.json"))
    assert flaws(await vault.prove(order, "")) == [Flaw.UNFINISHED]


async def test_a_folder_that_cannot_be_written_is_an_outage(
    cloud: Cloud, clients: GcpClients, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    vault = SecretVault(clients, Shelf(None))
    with pytest.raises(Outage, match="backup folder"):
        await vault.begin(ordered(str(tmp_path / "file" / "secrets")))
    with pytest.raises(Outage, match="extra `backups`"):
        await vault.begin(ordered("gs://bucket/x"))
