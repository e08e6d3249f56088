"""Looks at the file of a copy of our own database: against its manifest, and at what it holds itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import ValidationError

from domain.copies import Manifest
from domain.errors import Outage
from domain.evidence import Doubt, Finding, Flaw
from storage.copies import Copies, sha256
from storage.encryption import Keyring, NoKey, Undecipherable
from storage.private_folder import private_folder
from storage.threads import in_own_thread

PLAIN = "copy"
"""What a decrypted copy is called here: whoever wrote its manifest must not choose where."""


def compare_file(manifest: Manifest, file: Path) -> list[Finding]:
    """The file against its manifest."""
    if not file.exists():
        return [Finding(flaw=Flaw.MISSING, name=file.name)]
    size = file.stat().st_size
    if size == 0:
        return [Finding(flaw=Flaw.EMPTY, name=file.name)]
    if size != manifest.bytes:
        return [Finding(flaw=Flaw.SIZE, name=file.name, wanted=str(manifest.bytes), found=str(size))]
    found = sha256(file)
    if found == manifest.sha256:
        return []
    return [Finding(flaw=Flaw.CHECKSUM, name=file.name, wanted=manifest.sha256[:12], found=found[:12])]


async def missing_tables(copies: Copies, manifest: Manifest, file: Path) -> list[Finding]:
    """What the copy itself says that it holds, against its manifest."""
    try:
        missing = await copies.missing(manifest, file)
    except Outage as broken:
        return [Finding(flaw=Flaw.UNFINISHED, name=file.name, found=broken.reason)]
    return [Finding(flaw=Flaw.MISSING, name=name) for name in missing]


async def findings_of(
    copies: Copies, keys: Keyring, manifest: Manifest, file: Path
) -> tuple[list[Finding], tuple[Doubt, ...]]:
    """All that is wrong with a copy's file, and what its reader cannot know. Raises ``Outage``.

    A copy that no key here opens is only compared with what was written. It was decrypted once, when it was
    made.
    """
    findings = await spoilt(manifest, file)
    if findings:
        return findings, ()
    if not manifest.is_encrypted:
        return await missing_tables(copies, manifest, file), ()
    try:
        async with decrypted(keys, manifest, file) as found:
            if found is None:
                return [Finding(flaw=Flaw.UNDECIPHERABLE, name=file.name)], ()
            plain, opened = found
            findings = await spoilt(plain, opened)
            return findings or await missing_tables(copies, plain, opened), ()
    except NoKey:
        return [], (Doubt.LOCKED,)


async def spoilt(manifest: Manifest, file: Path) -> list[Finding]:
    """What is wrong with the file of a copy beside its manifest. Raises ``Outage``."""
    try:
        return await in_own_thread(compare_file, manifest, file)
    except OSError as error:
        raise Outage(f"backup folder: {error.strerror or error}: {error.filename}") from error


@asynccontextmanager
async def readable(
    keys: Keyring, manifest: Manifest, file: Path
) -> AsyncIterator[tuple[Manifest, Path] | None]:
    """A copy as it can be restored: decrypted, where it is encrypted, for as long as it is needed.

    ``None`` where the encrypted file does not fit its manifest. A damaged file is handed over as it is, so
    that the caller finds the damage. Raises ``Outage``, ``NoKey`` among them.
    """
    if not manifest.is_encrypted or await spoilt(manifest, file):
        yield manifest, file
        return
    async with decrypted(keys, manifest, file) as found:
        yield found


@asynccontextmanager
async def decrypted(
    keys: Keyring, manifest: Manifest, file: Path
) -> AsyncIterator[tuple[Manifest, Path] | None]:
    """The manifest of what was encrypted, and that itself; ``None`` where they do not belong together.

    Raises ``Outage``, ``NoKey`` among them.
    """
    inner = _inner(keys, manifest)
    if inner is None:
        yield None
        return
    async with private_folder(inner.bytes) as folder:
        opened = folder / PLAIN
        try:
            await keys.decrypt(file, opened, manifest.recipients)
        except (Undecipherable, NoKey):  # Its manifest is for a key of ours.
            yield None
            return
        yield inner, opened


def _inner(keys: Keyring, manifest: Manifest) -> Manifest | None:
    """The sealed manifest, if it is of the same copy."""
    try:
        inner = Manifest.model_validate_json(keys.unseal(manifest.sealed or "", manifest.recipients))
    except (Undecipherable, ValidationError):
        return None
    same = ("installation", "kind", "at")
    return inner if all(getattr(inner, name) == getattr(manifest, name) for name in same) else None


async def encrypted(keys: Keyring, manifest: Manifest, plain: Path, cipher: Path) -> Manifest:
    """Encrypt a copy into a file that must not exist. Returns the manifest beside it. Raises ``Outage``."""
    done = await keys.encrypt(plain, cipher)
    if done.plain_sha256 != manifest.sha256:
        cipher.unlink(missing_ok=True)  # noqa: ASYNC240 - one entry of a folder.
        raise Outage("encryption: the copy was changed while it was encrypted")
    sealed = keys.seal(manifest.model_dump_json())
    hidden = tuple(one.model_copy(update={"digest": ""}) for one in manifest.tables)
    outside = {"bytes": done.bytes, "sha256": done.sha256, "tables": hidden}
    return manifest.model_copy(update=outside | {"recipients": keys.recipients, "sealed": sealed})
