"""Units of what is measured."""

from enum import StrEnum


class Unit(StrEnum):
    """What a number counts. Shares lie between 0 and 1."""

    SECONDS = "seconds"
    SHARE = "share"
    PER_SECOND = "per_second"
    PER_MINUTE = "per_minute"
    COUNT = "count"
    BYTES = "bytes"
