"""The pretend Cloud Run's long-running operations: they end when the clock says so, not when asked."""

from dataclasses import dataclass, field
from typing import Any

from google.longrunning import operations_pb2  # type: ignore[import-untyped]

from sandbox.cloud.revisions import Problem

OPERATION = operations_pb2.Operation
GET_OPERATION = operations_pb2.GetOperationRequest
"""The protocol's classes."""


@dataclass(slots=True)
class PretendOperation:
    """One operation. ``name`` is projects/P/locations/L/operations/ID, empty for one that is kept nowhere.

    ``done_at`` is in epoch seconds, infinite for one that never ends. ``begun`` is the service right after
    the request, ``ended`` the service as the operation left it, ``problem`` why it failed.
    """

    name: str
    service: str
    begun: Any
    done_at: float
    ended: Any = None
    problem: Problem | None = None

    def write(self) -> Any:
        """The protocol's operation."""
        written = OPERATION(name=self.name)
        written.metadata.Pack(self.begun if self.ended is None else self.ended)
        if self.problem is not None:
            written.done = True
            written.error.code = self.problem.code
            written.error.message = self.problem.message
        elif self.ended is not None:
            written.done = True
            written.response.Pack(self.ended)
        return written


@dataclass(slots=True)
class Operations:
    """All operations that were begun, by name; they are kept as long as the cloud runs."""

    known: dict[str, PretendOperation] = field(default_factory=dict)

    def keep(self, operation: PretendOperation) -> PretendOperation:
        """Remember one."""
        self.known[operation.name] = operation
        return operation
