"""Which of Slack's refusals that people can mend are going on now, by error code."""

from dataclasses import dataclass

FORGET_AFTER = 900.0
"""Seconds after which a refusal that nobody met again is over: what waits is tried twice a minute."""

WORKSPACE_WIDE = frozenset({"missing_scope", "org_login_required", "not_allowed_token_type"})
"""Codes that do not depend on the conversation: success in another one of the same kind ends them."""

EVERYWHERE = ""
"""In place of a method or a conversation: any success ends the refusal."""


@dataclass(slots=True)
class _Refusal:
    met: bool = True
    at: float = 0.0


class Refusals:
    """Refusals by code, method and conversation, each until the same call succeeds or nobody meets it."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str, str], _Refusal] = {}
        self._needed: dict[str, str] = {}

    def add(self, code: str, method: str = EVERYWHERE, conversation: str = EVERYWHERE) -> None:
        """A call was refused."""
        where = conversation[:1] if code in WORKSPACE_WIDE else conversation
        self._open.setdefault((code, method, where), _Refusal()).met = True

    def needs(self, code: str, scope: str) -> None:
        """Slack named the scope that is missing."""
        self._needed[code] = scope

    def end(self, method: str, conversation: str) -> None:
        """A call succeeded."""
        if not self._open:
            return
        places = {EVERYWHERE, conversation, conversation[:1]}
        for key in [key for key in self._open if key[1] in {EVERYWHERE, method} and key[2] in places]:
            del self._open[key]

    def current(self, monotonic: float) -> dict[str, str]:
        """What is refused now: for each code the methods, and the scope that Slack asks for."""
        found: dict[str, set[str]] = {}
        for key, refusal in list(self._open.items()):
            if refusal.met:
                refusal.met, refusal.at = False, monotonic
            if monotonic - refusal.at > FORGET_AFTER:
                del self._open[key]
                continue
            found.setdefault(key[0], set()).add(key[1].replace("_", ".", 1))
        return {code: self._told(code, methods - {EVERYWHERE}) for code, methods in found.items()}

    def _told(self, code: str, methods: set[str]) -> str:
        scope = f" (scope {self._needed[code]})" if code in self._needed else ""
        return f"{', '.join(sorted(methods)) or 'every call'}{scope}"
