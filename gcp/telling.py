"""Tells the log of trouble with one part of Google when it begins, changes or ends; not each time."""

import structlog

log = structlog.get_logger(__name__)


class Trouble:
    """What is wrong with a part at present. ``part`` is named with it: ``identity``."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._kind: str | None = None

    def tell(self, problem: str | None) -> None:
        """What was met just now, as ``kind: details``; ``None`` where all went well."""
        kind = None if problem is None else problem.partition(":")[0]
        if kind == self._kind:
            return
        self._kind = kind
        if kind is None:
            log.info("google.recovered", part=self._part)
        else:
            log.warning("google.trouble", part=self._part, problem=problem)
