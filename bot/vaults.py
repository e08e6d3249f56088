"""What can be copied and restored here: the table source -> vault, source -> rehearsal."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bot.encryption import keyring
from bot.settings import Settings
from domain.backup_plans import Source
from domain.ports import Clock, Rehearsal, Vault
from gcp import sql
from gcp.bucket_rehearsal import BucketRehearsal
from gcp.bucket_vault import BucketVault
from gcp.buckets import Buckets
from gcp.clients import GcpClients
from gcp.firestore import FirestoreVault
from gcp.firestore_rehearsal import FirestoreRehearsal
from gcp.identity import Identity
from gcp.rest import Rest
from gcp.secret_vault import SecretVault
from gcp.shelves import Shelf
from gcp.sql_admin import HOST, SqlAdmin
from storage import postgres_copies
from storage.copies import Copies
from storage.folder_vault import FolderVault
from storage.object_vault import ObjectVault, TobanVault
from storage.rehearsal import TobanRehearsal


@dataclass(frozen=True)
class Vaults:
    """``places``: the sources for which the settings, not the policy, say where drills restore to."""

    vaults: Mapping[Source, Vault]
    rehearsals: Mapping[Source, Rehearsal]
    places: frozenset[Source]
    buckets: Buckets
    sql: sql.SqlVault


def make_vaults(
    settings: Settings,
    clock: Clock,
    clients: GcpClients,
    identity: Identity,
    session: aiohttp.ClientSession,
) -> Vaults:
    """All of them; none of them speaks to anybody, or imports what it needs, before it is asked to."""
    buckets = Buckets(settings.storage_endpoint)
    copies = Copies(settings.database, settings.pg_bin)
    keys = keyring(settings)
    own = TobanVault(FolderVault(copies, clock.now, keys), ObjectVault(copies, buckets, clock.now, keys))
    admin = SqlAdmin(Rest(HOST, identity, settings.gcp_http_endpoint, session))
    instances, bucket = sql.SqlVault(admin), BucketVault(buckets)
    server, scratch = settings.drill_server, settings.drill_sql
    return Vaults(
        vaults={
            Source.TOBAN: own,
            Source.CLOUD_SQL: instances,
            Source.FIRESTORE: FirestoreVault(clients, buckets, clock.now),
            Source.BUCKET: bucket,
            Source.SECRETS: SecretVault(clients, Shelf(buckets)),
        },
        rehearsals={
            Source.TOBAN: TobanRehearsal(
                own.fetched, Path(tempfile.gettempdir()), server, settings.pg_bin, settings.database
            ),
            Source.CLOUD_SQL: sql.SqlRehearsal(
                admin, None if scratch is None else lambda query: postgres_copies.ask(scratch, query)
            ),
            Source.FIRESTORE: FirestoreRehearsal(clients),
            Source.BUCKET: BucketRehearsal(buckets, bucket),
        },
        places=frozenset({Source.TOBAN} if settings.is_sqlite or server else ()),
        buckets=buckets,
        sql=instances,
    )
