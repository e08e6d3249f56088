"""Objects in a bucket of Cloud Storage, as far as backups need to know them."""

from datetime import datetime, timedelta

from pydantic import Field

from domain.levels import Value


class StoredObject(Value):
    """One generation of an object. ``crc32c`` as Google writes it: base64 of the big-endian checksum."""

    bucket: str
    name: str
    generation: int
    size: int = Field(ge=0)
    crc32c: str
    at: datetime


class BucketHold(Value):
    """What keeps a bucket's objects from being deleted: a retention policy, locked for good or not."""

    seconds: int = 0
    locked: bool = False

    def keeps(self, made_at: datetime, at: datetime) -> bool:
        """True where nobody is to delete what was made then: for ever in a locked bucket, which has its own
        rules for what goes, else while its retention policy forbids to.
        """
        return self.locked or made_at + timedelta(seconds=self.seconds) > at


def bucket_of(destination: str) -> tuple[str, str]:
    """Bucket and prefix of ``gs://bucket/prefix``; the prefix without slashes at its ends."""
    bucket, _, prefix = destination.removeprefix("gs://").partition("/")
    return bucket, prefix.strip("/")


def in_bucket(destination: str) -> bool:
    """True for ``gs://…``."""
    return destination.startswith("gs://")
