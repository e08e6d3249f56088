"""Encrypts copies of our own database with age, so that whoever keeps them cannot read them.

pyrage's functions for files hold Python's lock until they are done, so that the whole bot would stand still:
only those for streams are used, which come back to Python with every 64 KiB.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import pyrage
from pyrage import x25519

from domain.errors import Outage
from domain.levels import Value
from storage.threads import in_own_thread

R = TypeVar("R")

SETTING, KEYS = "TOBAN_BACKUP_AGE_RECIPIENTS", "TOBAN_BACKUP_AGE_IDENTITIES"

NO_RECIPIENT = f"the plan encrypts, and {SETTING} is not set: nothing is copied in clear"


class NoKey(Outage):
    """A copy is encrypted for keys of which this machine has none."""

    def __init__(self, recipients: Sequence[str]) -> None:
        others = f" and {len(recipients) - 1} more" if len(recipients) > 1 else ""
        named = f"{recipients[0]}{others}" if recipients else "an unknown key"
        super().__init__(f"encrypted for {named}; no key here opens it: set {KEYS}")


class Undecipherable(Exception):
    """What is encrypted for a key of ours was cut off or changed."""


class Encrypted(Value):
    """A file that was encrypted: its own bytes and digest, and the digest of what went into it."""

    bytes: int
    sha256: str
    plain_sha256: str


class Keyring:
    """The keys of this machine. ``recipients``: age's public keys, for which is encrypted; ``identities``:
    private ones, which open what is encrypted for them. Raises ``ValueError`` for what is no such key.
    """

    def __init__(self, recipients: Sequence[str] = (), identities: Sequence[str] = ()) -> None:
        self.recipients = tuple(recipients)
        self._recipients = [parse_recipient(one) for one in recipients]
        self._identities = [parse_identity(one) for one in identities]

    def opens(self, recipients: Sequence[str]) -> bool:
        """Whether one of our private keys is of one of these public ones."""
        return any(str(one.to_public()) in recipients for one in self._identities)

    def seal(self, text: str) -> str:
        """A text for our recipients, in printable characters."""
        return str(pyrage.encrypt(text.encode(), self._recipients, armored=True).decode())

    def unseal(self, sealed: str, recipients: Sequence[str]) -> str:
        """The text. Raises ``NoKey`` (with the ``recipients`` named) or ``Undecipherable``."""
        try:
            return str(pyrage.decrypt(sealed.encode(), self._identities).decode())
        except (pyrage.DecryptError, OSError, ValueError) as error:
            raise _failed(error, recipients) from None

    async def encrypt(self, plain: Path, cipher: Path) -> Encrypted:
        """Encrypt a file into another one, which must not exist, and open that one again to be sure.

        It is opened by a key that is made for it and forgotten: nobody needs the private key of a recipient
        for it. Raises ``Outage``; what was written so far is removed then.
        """
        return await _in_thread(self._encrypt, plain, cipher)

    def _encrypt(self, plain: Path, cipher: Path, stopped: threading.Event) -> Encrypted:
        with plain.open("rb") as source, _new(cipher) as target:
            try:
                return self._encrypted(source, target, cipher, stopped)
            except BaseException:  # Here, since whoever was cancelled does not know when this one ends.
                cipher.unlink(missing_ok=True)
                raise

    def _encrypted(
        self, source: IO[bytes], target: IO[bytes], cipher: Path, stopped: threading.Event
    ) -> Encrypted:
        once = x25519.Identity.generate()
        read, written = Side(source, stopped), Side(target, stopped)
        _stream(pyrage.encrypt_io, read, written, [*self._recipients, once.to_public()])
        written.flush()
        with cipher.open("rb") as there:
            again = Side(None, stopped)
            _stream(pyrage.decrypt_io, Side(there, stopped), again, [once])
        if again.sha256 != read.sha256:
            raise Outage("encryption: what was written cannot be read again")
        return Encrypted(bytes=written.size, sha256=written.sha256, plain_sha256=read.sha256)

    async def decrypt(self, cipher: Path, plain: Path, recipients: Sequence[str]) -> None:
        """Decrypt a file into a new one that only we can read. Raises ``Outage`` and ``NoKey``.

        Raises ``Undecipherable`` for one that was cut off or changed; what came before that is written.
        """
        await _in_thread(self._decrypt, cipher, plain, recipients)

    def _decrypt(
        self, cipher: Path, plain: Path, recipients: Sequence[str], stopped: threading.Event
    ) -> None:
        with cipher.open("rb") as source, _new(plain) as target:
            try:
                _stream(pyrage.decrypt_io, Side(source, stopped), Side(target, stopped), self._identities)
            except (pyrage.DecryptError, Unstreamed) as error:
                raise _failed(error, recipients) from None


def parse_recipient(text: str) -> x25519.Recipient:
    """A public key of age. Raises ``ValueError``, whose words do not show a secret."""
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError(f"this is a private key: it goes into {KEYS}, and age1… goes here")
    try:
        return x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise ValueError(
            f'"{text[:70]}" is no public key of age (age1…). `toban backup keygen` makes a pair'
        ) from None


def parse_identity(text: str) -> x25519.Identity:
    """A private key of age. Raises ``ValueError``, whose words do not show it."""
    if text.startswith("age1"):
        raise ValueError(f"this is a public key: it goes into {SETTING}, and AGE-SECRET-KEY-1… goes here")
    try:
        return x25519.Identity.from_str(text)
    except pyrage.IdentityError:
        raise ValueError(
            "it is no private key of age (AGE-SECRET-KEY-1…). `toban backup keygen` makes a pair"
        ) from None


def new_pair() -> tuple[str, str]:
    """A new public key, and its private one."""
    made = x25519.Identity.generate()
    return str(made.to_public()), str(made)


class Unstreamed(Exception):
    """pyrage's own complaint about what it has read."""


class Side:
    """One end of a stream. Counts and digests what passes; keeps its own error, of which pyrage would leave
    only the words. Without a ``file`` what is written is only digested.
    """

    def __init__(self, file: IO[bytes] | None, stopped: threading.Event) -> None:
        self._file = file
        self._stopped = stopped
        self._digest = hashlib.sha256()
        self.size = 0
        self.error: Exception | None = None

    @property
    def sha256(self) -> str:
        """Of all that passed."""
        return self._digest.hexdigest()

    def read(self, count: int = -1) -> bytes:
        """As files do."""
        assert self._file is not None
        return self._pass(self._guarded(self._file.read, count))

    def write(self, data: bytes) -> int:
        """As files do."""
        if self._file is not None:
            self._guarded(self._file.write, data)
        return len(self._pass(data))

    def flush(self) -> None:
        """As files do."""
        if self._file is not None:
            self._guarded(self._file.flush)

    def _pass(self, data: bytes) -> bytes:
        self._digest.update(data)
        self.size += len(data)
        return data

    def _guarded(self, work: Callable[..., Any], *arguments: object) -> Any:
        if self._stopped.is_set():
            self.error = Outage("encryption: stopped")
            raise self.error
        try:
            return work(*arguments)
        except OSError as error:
            self.error = error
            raise


def _new(file: Path) -> IO[bytes]:
    """A new file that only its owner can read, from its first byte on."""
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _stream(work: Callable[..., None], source: Side, target: Side, keys: Sequence[Any]) -> None:
    """Raises the error of a side as it was, ``Unstreamed`` or pyrage's own for what it cannot read."""
    try:
        work(source, target, list(keys))
    except (OSError, pyrage.EncryptError, pyrage.DecryptError) as error:
        for side in (source, target):
            if side.error is not None:
                raise side.error from None
        if isinstance(error, OSError):
            raise Unstreamed(str(error)) from None
        raise


def _failed(error: Exception, recipients: Sequence[str]) -> Exception:
    """Pyrage tells a missing key from damage by its words alone."""
    if isinstance(error, pyrage.DecryptError) and "No matching keys" in str(error):
        return NoKey(recipients)
    return Undecipherable(str(error))


async def _in_thread(work: Callable[..., R], *arguments: object) -> R:
    """Whoever gives up waiting ends the work at its next 64 KiB."""
    stopped = threading.Event()
    try:
        return await in_own_thread(work, *arguments, stopped)
    except (OSError, pyrage.EncryptError) as error:
        raise Outage(f"encryption: {getattr(error, 'strerror', None) or error}") from error
    except (Unstreamed, pyrage.DecryptError) as error:  # Of what we have just written ourselves.
        raise Outage(f"encryption: what was written cannot be read again ({error})") from error
    finally:
        stopped.set()
