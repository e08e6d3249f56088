"""What is wrong right now and needs a person, by name, for /health, metrics and the ops channel."""

import structlog

log = structlog.get_logger(__name__)


class Problems:
    """The open problems of this process, each under a stable name such as ``slack.missing_scope``.

    Kept in memory only: whoever finds a problem again after a restart reports it again.
    """

    def __init__(self) -> None:
        self._open: dict[str, str] = {}

    def report(self, name: str, reason: str) -> bool:
        """Open a problem, or change its reason. True where it was not open before."""
        is_new = name not in self._open
        self._open[name] = reason
        if is_new:
            log.warning("problem.opened", problem=name, reason=reason)
        return is_new

    def clear(self, name: str) -> bool:
        """Close a problem. True where it was open."""
        if self._open.pop(name, None) is None:
            return False
        log.info("problem.closed", problem=name)
        return True

    def current(self) -> dict[str, str]:
        """Every open problem with its reason; a copy."""
        return dict(self._open)
