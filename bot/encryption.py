"""The keys of encrypted backups: made, read from the settings, and what the policy needs of them."""

import os
from pathlib import Path

from bot.settings import Settings
from domain.backup_plans import BackupPlan
from domain.errors import Outage
from domain.policy import Policy
from storage.encryption import KEYS, SETTING, Keyring, new_pair

LOST = (
    "Without the private key nobody can restore a copy. Keep it in two places outside of this machine and"
    " outside of the backups, such as a password manager and a safe."
)


def keyring(settings: Settings) -> Keyring:
    """The keys of this machine."""
    return Keyring(settings.backup_recipients, [one.get_secret_value() for one in settings.backup_identities])


def lacking(policy: Policy, settings: Settings) -> list[str]:
    """Plans that encrypt, where the settings do not say for whom: they would copy nothing."""
    if settings.backup_recipients:
        return []
    return [
        f"backups.{plan.name}.encrypt: {SETTING} is not set, so nobody could ever open a copy. Set it to the"
        " public key (age1…) that `toban backup keygen` prints, or say `encrypt: false`"
        for plan in _encrypting(policy)
        if not plan.second_of
    ]


def cautions(policy: Policy, settings: Settings) -> list[str]:
    """What whoever encrypts backups must know before a key is lost, and which keys are not here."""
    plans = _encrypting(policy)
    if not plans or not settings.backup_recipients:
        return []
    names = ", ".join(plan.name for plan in plans)
    recipients = settings.backup_recipients
    found = [f"the copies of {names} are encrypted for {' and '.join(recipients)}. {LOST}"]
    if not keyring(settings).opens(recipients):
        has = (
            "none of the keys in it opens"
            if settings.backup_identities
            else "is not set, so nothing here opens"
        )
        found.append(
            f"{KEYS} {has} the copies of {names}: they are opened once as they are made, and later only"
            " compared with what was written. No drill can restore them, and no table of them is read again."
        )
    return found


def keygen(to: Path | None) -> list[str]:
    """A new pair, and where each half goes; the private one into ``to``. Raises ``Outage``."""
    public, private = new_pair()
    lines = [f"# Public key: into {SETTING}. It is no secret.", public]
    if to is None:
        lines += [f"# Private key: into {KEYS}, or into a file that {KEYS}_FILE names.", private]
    else:
        _write(to, f"# public key: {public}\n{private}\n")
        lines.append(
            f"# Private key: {to}, which only you can read. {KEYS}_FILE={to} lets Toban verify and drill."
        )
    return [*lines, f"# {LOST}"]


def _write(to: Path, text: str) -> None:
    """A new file of its owner alone: a key that is written over opens nothing any more."""
    try:
        with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise Outage(f"{to} is there already. A key is never written over: name another file") from None
    except OSError as error:
        raise Outage(f"{to} cannot be written: {error.strerror or error}") from error


def _encrypting(policy: Policy) -> list[BackupPlan]:
    return [plan for plan in policy.backups.plans if plan.encrypts]
