"""What every value of the domain is made of, how loud an alert is, and how bad an incident."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Level(StrEnum):
    """How loud an alert is. Ordered: ``INFO`` < ``WARNING`` < ``CRITICAL`` < ``EMERGENCY``."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    EMERGENCY = "emergency"

    @property
    def rank(self) -> int:
        """0 for info up to 3 for emergency."""
        return _RANK[self]

    @property
    def opens_incident(self) -> bool:
        """True where an incident opens by itself."""
        return self.rank >= Level.CRITICAL.rank

    @property
    def severity(self) -> "Severity":
        """The severity of an incident that is born of an alert of this level."""
        return _SEVERITY[self]


_RANK = {Level.INFO: 0, Level.WARNING: 1, Level.CRITICAL: 2, Level.EMERGENCY: 3}


class Severity(StrEnum):
    """How bad an incident is, P0 worst."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"

    @property
    def level(self) -> Level:
        """The level whose ladder pages for a declared incident of this severity."""
        return _LEVEL[self]


_SEVERITY = {
    Level.EMERGENCY: Severity.P0,
    Level.CRITICAL: Severity.P1,
    Level.WARNING: Severity.P2,
    Level.INFO: Severity.P3,
}
_LEVEL = {severity: level for level, severity in _SEVERITY.items()}
