"""Who may do what, as a table for people: ``toban check`` prints it, ``docs/security.md`` holds it.

``python -m bot.authorities`` writes it anew into the documentation.
"""

from pathlib import Path

from domain.authority import RULES
from domain.policy import Policy
from domain.roles import MEMBERS, Role, is_group

BEGIN, END = "<!-- acts: begin -->", "<!-- acts: end -->"
DOCUMENT = Path(__file__).parents[1] / "docs" / "security.md"

HEAD = ("act", "what", "role", "besides")


def rows() -> list[tuple[str, str, str, str]]:
    """Act by act: its name, what it is, the role that it needs, and what else it asks for."""
    return [(act.value, rule.what, rule.role.value, rule.besides.value) for act, rule in RULES.items()]


def who(policy: Policy, role: Role) -> str:
    """The people of a role, in the words of this policy."""
    if role is Role.READER:
        return "everybody of the workspace, guests too"
    if role is Role.APPROVER and policy.roles.approver is None:
        return "as responder"
    named = [_said(name) for name in policy.roles.named(role)]
    return ", ".join(named) or "nobody"


def _said(name: str) -> str:
    if name == MEMBERS:
        return "the workspace's full members"
    return f"Slack group {name}" if is_group(name) else name


def cannot_answer(policy: Policy) -> list[str]:
    """People who are paged or named as approvers, but may not do what is asked of them."""
    found = []
    paged = {name for ladder in policy.ladders.values() for step in ladder.steps for name in step.tell}
    found += [
        f"{name} is paged, but is no responder: their Acknowledge would be refused. Add {name} to"
        " roles.responder."
        for name in sorted(paged)
        if not _holds(policy, name, Role.RESPONDER)
    ]
    rules = (policy.deploys.default, *policy.deploys.services.values())
    approvers = {name for rule in rules for name in rule.approvers if name in policy.people}
    found += [
        f"{name} is one of deploys.approvers, but has not the role approver: their approval would be refused."
        f" Add {name} to roles.approver."
        for name in sorted(approvers)
        if not _holds(policy, name, Role.APPROVER)
    ]
    return found


def _holds(policy: Policy, name: str, role: Role) -> bool:
    """Whether a person has a role, or may have it: only Slack knows who is in a group."""
    named = (*policy.roles.named(role), *policy.roles.admin)
    if any(one == MEMBERS or is_group(one) for one in named):
        return True
    words = policy.people[name].roles if name in policy.people else ()
    return name in named or any(f"role:{word}" in named for word in words)


def markdown() -> str:
    """The table of the documentation."""
    lines = [f"| {' | '.join(HEAD)} |", "| --- | --- | --- | --- |"]
    lines += [f"| `{act}` | {what} | {role} | {besides} |" for act, what, role, besides in rows()]
    return "\n".join(lines)


def renewed(text: str) -> str:
    """A document with the table of this version between its two marks. Raises ``ValueError`` without them."""
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    return f"{head}{BEGIN}\n{markdown()}\n{END}{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
