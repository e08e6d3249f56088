"""Objects in Cloud Storage through Google's client: nothing is overwritten, everything read is checked."""

import asyncio
import base64
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from domain.errors import Outage
from domain.objects import BucketHold, StoredObject

TIMEOUT = (5.0, 60.0)
"""Seconds until a connection stands, and between two pieces of an answer."""

SENDING = (60.0, 60.0)
"""For uploads: the first one bounds the sending of a whole piece too, as urllib3 has it."""

PIECE = 8 * 1024 * 1024
"""Bytes that are sent at a time. Google's client would send 100 MiB, too much for its time on a slow line."""

THREADS = 8
"""Calls at a time. Own threads, so that a slow answer holds up nobody else; fewer than its connections."""

REPEATED = 30.0
"""Seconds for which Google's client repeats a call that met a passing trouble; every call here may be."""

PAGE = 1000
"""Objects in one answer; Google gives no more."""

FIELDS = "items(name,generation,size,crc32c,updated),nextPageToken"

_NAMES = set(StoredObject.model_fields)

R = TypeVar("R")


class Buckets:
    """Fulfils ``Objects``. Google's client waits, so that every call runs in a thread.

    ``endpoint`` is a local stand-in's, ``http://host:port``, which is asked without credentials; ``None``
    means Google, with the environment's. The reason of an ``Outage`` begins with ``unavailable``, ``quota``,
    ``permission``, ``credentials``, ``missing`` (no such bucket, or the generation is gone), ``conflict``
    (another object has that name), ``checksum`` or ``error``.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._made: Any = None
        self._making = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    async def list(self, bucket: str, prefix: str, limit: int | None = None) -> list[StoredObject]:
        """The live objects below a prefix, by name."""

        def work(client: Any) -> list[StoredObject]:
            found = client.list_blobs(
                bucket,
                prefix=prefix or None,
                max_results=limit,
                page_size=PAGE,
                fields=FIELDS,
                timeout=TIMEOUT,
                retry=_retry(),
            )
            return [_seen(bucket, one) for one in found]

        return sorted(await self._ask(bucket, work), key=lambda one: one.name)

    async def stat(self, bucket: str, name: str) -> StoredObject | None:
        """One live object; ``None`` where there is none."""

        def work(client: Any) -> StoredObject | None:
            return _stat(client, bucket, name)

        return await self._ask(f"{bucket}/{name}", work)

    async def read(self, found: StoredObject) -> bytes:
        """All bytes of that generation as they lie there, compressed or not; their checksum is compared."""

        def work(client: Any) -> bytes:
            blob = client.bucket(found.bucket).blob(found.name)
            data: bytes = blob.download_as_bytes(raw_download=True, **_fetching(found))
            _compare(found, _checksum(data))
            return data

        return await self._ask(f"{found.bucket}/{found.name}", work)

    async def download(self, found: StoredObject, file: Path) -> None:
        """That generation into a file, like ``read``."""

        def work(client: Any) -> None:
            blob = client.bucket(found.bucket).blob(found.name)
            with file.open("wb") as stream:
                blob.download_to_file(stream, raw_download=True, **_fetching(found))
            _compare(found, _file_checksum(file))

        await self._ask(f"{found.bucket}/{found.name}", work)

    async def write(self, bucket: str, name: str, data: bytes) -> StoredObject:
        """A new object, never over another: with the same bytes there already it is that one."""

        def work(client: Any) -> StoredObject:
            blob = client.bucket(bucket).blob(name, chunk_size=PIECE)

            def send() -> None:
                blob.upload_from_string(data, **_sending())

            return _new(client, bucket, name, send, len(data), lambda: _checksum(data))

        return await self._ask(f"{bucket}/{name}", work)

    async def upload(self, bucket: str, name: str, file: Path) -> StoredObject:
        """A file's bytes as a new object, like ``write``."""

        def work(client: Any) -> StoredObject:
            blob = client.bucket(bucket).blob(name, chunk_size=PIECE)

            def send() -> None:
                blob.upload_from_filename(str(file), **_sending())

            size = file.stat().st_size
            return _new(client, bucket, name, send, size, lambda: _file_checksum(file))

        return await self._ask(f"{bucket}/{name}", work)

    async def copy(self, source: StoredObject, bucket: str, name: str) -> StoredObject:
        """That generation as a new object elsewhere, copied by Google, never over another one."""

        def work(client: Any) -> StoredObject:
            there = _stat(client, bucket, name)
            return _copy(client, source, bucket, name) if there is None else _same(there, source)

        return await self._ask(f"{source.bucket}/{source.name}", work)

    async def delete(self, found: StoredObject) -> None:
        """That generation; one that is gone is no error."""
        await self._ask(f"{found.bucket}/{found.name}", lambda client: _delete(client, found))

    async def hold(self, bucket: str) -> BucketHold:
        """What keeps its objects from being deleted."""

        def work(client: Any) -> BucketHold:
            found = client.get_bucket(bucket, timeout=TIMEOUT, retry=_retry())
            return BucketHold(
                seconds=int(found.retention_period or 0), locked=bool(found.retention_policy_locked)
            )

        return await self._ask(bucket, work)

    async def close(self) -> None:
        """Close what was opened; what is asked for after it opens anew."""
        made, self._made = self._made, None
        threads, self._threads = self._threads, None
        if made is not None:
            await asyncio.to_thread(made.close)
        if threads is not None:
            threads.shutdown(wait=False)

    async def _ask(self, what: str, work: Callable[[Any], R]) -> R:
        def asked() -> R:
            return work(self._client())

        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "buckets")
        return await asyncio.get_running_loop().run_in_executor(self._threads, _guarded, what, asked)

    def _client(self) -> Any:
        """In a thread: the import takes long, and the search for credentials may wait for an answer."""
        with self._making:
            if self._made is None:
                self._made = _make(self._endpoint)
            return self._made


def _make(endpoint: str | None) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    if endpoint is None:
        return Client()
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return Client(project="local", credentials=anonymous, client_options={"api_endpoint": endpoint})


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(REPEATED)


def _guarded(what: str, asked: Callable[[], R]) -> R:
    """Google's errors in our words."""
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    except ImportError as error:
        raise Outage("error: gs:// needs the packages of the extra `backups`") from error
    try:
        return asked()
    except (GoogleAPIError, GoogleAuthError, DataCorruption, InvalidResponse, OSError, ValueError) as error:
        raise Outage(f"{_word(error)}: {what}: {_words(error)}") from error


def _word(error: BaseException | None) -> str:
    """What kind of trouble it is; of a call that was repeated in vain, the last one."""
    import requests
    from google.api_core import exceptions as api
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

    match error:
        case api.RetryError():
            return _word(error.cause)
        case DataCorruption():
            return "checksum"
        case api.GoogleAPICallError():
            return _by_status(int(error.code or 0))
        case InvalidResponse():  # Of that part of Google's client which moves bytes.
            return _by_status(int(error.response.status_code))
        case requests.RequestException() | TransportError():
            return "unavailable"
        case GoogleAuthError():
            return "credentials"
        case _:
            return "error"


def _by_status(status: int) -> str:
    known = {401: "permission", 403: "permission", 404: "missing", 412: "conflict", 429: "quota"}
    return known.get(status, "unavailable" if status >= 500 else "error")


def _words(error: Any) -> str:
    return str(getattr(error, "message", error))[:200]


def _new(
    client: Any, bucket: str, name: str, send: Callable[[], None], size: int, checksum: Callable[[], str]
) -> StoredObject:
    """Send, unless it is there already with the same bytes: an answer that was lost is no reason to fail."""
    from google.api_core.exceptions import PreconditionFailed

    refused: PreconditionFailed | None = None
    try:
        send()
    except PreconditionFailed as error:
        refused = error
    found = _stat(client, bucket, name)
    if found is None:
        raise refused or Outage(f"missing: {bucket}/{name}: it was written, and is not there")
    if (found.size, found.crc32c) == (size, checksum()):
        return found
    if refused is not None:
        raise Outage(f"conflict: {bucket}/{name}: another object has that name")
    raise Outage(f"checksum: {bucket}/{name}: it arrived as {found.size} bytes, {found.crc32c}")


def _fetching(found: StoredObject) -> dict[str, Any]:
    return {
        "if_generation_match": found.generation,
        "timeout": TIMEOUT,
        "retry": _retry(),
        "checksum": "crc32c",
    }


def _sending() -> dict[str, Any]:
    return {
        "content_type": "application/octet-stream",
        "if_generation_match": 0,
        "timeout": SENDING,
        "retry": _retry(),
        "checksum": "crc32c",
    }


def _copy(client: Any, source: StoredObject, bucket: str, name: str) -> StoredObject:
    from google.api_core.exceptions import PreconditionFailed

    refused: PreconditionFailed | None = None
    try:
        _rewrite(client, source, bucket, name)
    except PreconditionFailed as error:
        refused = error  # Its answer was lost and it was asked for again, or the source is another one.
    copied = _stat(client, bucket, name)
    if copied is None:
        raise refused or Outage(f"missing: {bucket}/{name}: it was copied, and is not there")
    if refused is None and (copied.size, copied.crc32c) != (source.size, source.crc32c):
        now = _stat(client, source.bucket, source.name)
        if now is None or now.generation != source.generation:
            _delete(client, copied)
            raise Outage(f"missing: {source.bucket}/{source.name}: another object has its name by now")
    return _same(copied, source)


def _rewrite(client: Any, source: StoredObject, bucket: str, name: str) -> None:
    """Google copies by itself, in as many calls as it likes. Raises where a generation is another one."""
    here = client.bucket(source.bucket).blob(source.name)
    there = client.bucket(bucket).blob(name)
    token = None
    while True:
        token, _, _ = there.rewrite(
            here,
            token=token,
            if_generation_match=0,
            if_source_generation_match=source.generation,
            timeout=TIMEOUT,
            retry=_retry(),
        )
        if token is None:
            return


def _same(found: StoredObject, source: StoredObject) -> StoredObject:
    """The copy, if it is one."""
    if (found.size, found.crc32c) == (source.size, source.crc32c):
        return found
    raise Outage(f"conflict: {found.bucket}/{found.name}: another object has that name")


def _delete(client: Any, found: StoredObject) -> None:
    from google.api_core.exceptions import NotFound, PreconditionFailed

    blob = client.bucket(found.bucket).blob(found.name)
    try:
        blob.delete(if_generation_match=found.generation, timeout=TIMEOUT, retry=_retry())
    except (NotFound, PreconditionFailed):
        return  # Gone, or another one has its name by now.


def _stat(client: Any, bucket: str, name: str) -> StoredObject | None:
    blob = client.bucket(bucket).get_blob(name, timeout=TIMEOUT, retry=_retry())
    # A bucket that is not there looks the same; asking for it needs a right that readers of objects lack.
    return None if blob is None else _seen(bucket, blob)


def _seen(bucket: str, blob: Any) -> StoredObject:
    # Not validated, and with one set of names for all: a list of 200,000 takes a third of the memory.
    return StoredObject.model_construct(
        _NAMES,
        bucket=bucket,
        name=blob.name,
        generation=int(blob.generation),
        size=int(blob.size or 0),
        crc32c=blob.crc32c or "",
        at=blob.updated,
    )


def _compare(found: StoredObject, checksum: str) -> None:
    if checksum != found.crc32c:
        raise Outage(
            f"checksum: {found.bucket}/{found.name}: its bytes have {checksum}, it says {found.crc32c}"
        )


def _checksum(data: bytes) -> str:
    return _sum([data])


def _file_checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return _sum(iter(lambda: stream.read(1 << 20), b""))


def _sum(pieces: Iterable[bytes]) -> str:
    import google_crc32c

    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    for piece in pieces:
        checksum.update(piece)
    return base64.b64encode(checksum.digest()).decode()
