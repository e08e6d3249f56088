"""What can be copied and restored here: the table source -> vault, source -> rehearsal."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bot.settings import Settings
from domain.backup_plans import Source
from domain.ports import Clock, Rehearsal, Vault
from storage.copies import Copies
from storage.folder_vault import FolderVault
from storage.rehearsal import TobanRehearsal


@dataclass(frozen=True)
class Vaults:
    """``places``: the sources for which the settings, not the policy, say where drills restore to."""

    vaults: dict[Source, Vault] = field(default_factory=dict)
    rehearsals: dict[Source, Rehearsal] = field(default_factory=dict)
    places: frozenset[Source] = frozenset()


def make_vaults(settings: Settings, clock: Clock) -> Vaults:
    """All of them; none of them speaks to anybody before it is asked to."""
    own = FolderVault(Copies(settings.database, settings.pg_bin), clock.now)
    server = settings.drill_server
    rehearsal = TobanRehearsal(own.fetched, Path(tempfile.gettempdir()), server, settings.pg_bin)
    return Vaults(
        vaults={Source.TOBAN: own},
        rehearsals={Source.TOBAN: rehearsal},
        places=frozenset({Source.TOBAN} if settings.is_sqlite or server else ()),
    )
