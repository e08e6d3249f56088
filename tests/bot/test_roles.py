"""13.1: the policy's roles, the table that ``toban check`` prints, and the one in the documentation."""

from pathlib import Path

import pytest

from bot import authorities
from bot.checking import check
from bot.policy import BadPolicy, read_policy
from domain.approvals import Account
from domain.authority import RULES, Act, is_unverified, may
from domain.roles import Roles
from tests.conftest import make_policy

HEAD = """
people:
  kenji: { email: kenji@bondpoint.example, roles: [lead] }
  dan: { email: dan@bondpoint.example }
ladders: { warning: [], critical: [{ tell: kenji }], emergency: [] }
"""


def read(folder: Path, section: str) -> Roles:
    path = folder / "toban.yaml"
    path.write_text(HEAD + section)
    return read_policy(path).roles


def test_13_1_the_documentation_holds_the_table_of_this_version() -> None:
    """Where this fails, ``make docs`` writes it anew."""
    text = authorities.DOCUMENT.read_text()
    assert authorities.renewed(text) == text


def test_13_1_left_out_the_responders_are_the_members_and_approve_too(tmp_path: Path) -> None:
    roles = read(tmp_path, "")
    assert roles == Roles()
    assert roles.responder == ("members",)


def test_13_1_people_roles_and_groups_are_read(tmp_path: Path) -> None:
    roles = read(tmp_path, 'roles: { responder: ["@sre", dan], approver: "role:lead", admin: S012AB3CD }\n')
    assert roles.responder == ("@sre", "dan")
    assert roles.approver == ("role:lead",)
    assert roles.groups == ("@sre", "S012AB3CD")


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (
            "roles: { responders: members }\n",
            ':6: unknown key "responders" in roles; did you mean "responder"?',
        ),
        ("roles: { responder: kenij }\n", 'roles.responder: unknown person "kenij"; did you mean "kenji"?'),
        ("roles: { responder: [] }\n", "no alert could be acknowledged"),
        ('roles: { approver: "role:boss" }\n', 'nobody has the role "boss"'),
        ('roles: { approver: "@SRE Team" }\n', "is no group of Slack"),
        ("roles: [kenji]\n", "roles must be a mapping"),
    ],
)
def test_13_1_what_is_wrong_is_told_with_its_line(tmp_path: Path, section: str, says: str) -> None:
    with pytest.raises(BadPolicy) as bad:
        read(tmp_path, section)
    assert says in str(bad.value)


def test_13_1_check_prints_every_act_with_its_role_and_warns_of_who_could_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "toban.yaml"
    path.write_text(HEAD + "roles: { responder: dan }\n")
    found = check({}, path)
    assert found.errors == ()
    (section,) = [one for one in found.sections if one.title.startswith("Acts")]
    lines = "\n".join(section.lines)
    assert "responder  dan" in lines
    for act in Act:
        assert act.value in lines
        assert RULES[act].what in lines
    assert any("kenji is paged, but is no responder" in warning for warning in found.warnings)


def account(**changes: object) -> Account:
    return Account.model_validate({"id": "U1"} | changes)


@pytest.mark.parametrize(
    ("who", "act", "refused"),
    [
        (account(person="kenji"), Act.ALERT_RESOLVE, None),
        (account(groups=("@sre",)), Act.ALERT_RESOLVE, None),
        (account(person="dan"), Act.ALERT_RESOLVE, "refused.no_responder"),
        (account(person="dan", unsure=("@sre",)), Act.ALERT_RESOLVE, "refused.group_unknown"),
        (account(person="dan", unsure=("@sre",)), Act.ACKNOWLEDGE, None),
        (account(person="dan"), Act.ACKNOWLEDGE, "refused.no_responder"),
        (account(person="yuko"), Act.ALERT_RESOLVE, None),
        (account(person="yuko", guest=True), Act.ALERT_RESOLVE, "refused.account_guest"),
        (account(person="kenji"), Act.BACKUP_ACCEPT, "refused.no_role_approver"),
        (account(person="aya"), Act.BACKUP_ACCEPT, None),
        (account(groups=("@sre",)), Act.DEPLOY_REQUEST, "refused.account_nobody"),
        (account(person="dan"), Act.READ_INCIDENTS, None),
        (account(known=False), Act.ACKNOWLEDGE, None),
        (account(known=False, ours=False), Act.ACKNOWLEDGE, "refused.account_foreign"),
        (account(known=False, placed=False), Act.ACKNOWLEDGE, "refused.account_unknown"),
        (account(known=False), Act.READ_INCIDENTS, "refused.account_unknown"),
    ],
)
def test_13_1_the_rule_by_the_roles_of_a_policy(who: Account, act: Act, refused: str | None) -> None:
    policy = make_policy(roles=Roles(responder=("kenji", "@sre"), approver=("aya",), admin=("yuko",)))
    why = may(policy, act, who)
    assert (why.key if why else None) == refused
    assert is_unverified(policy, act, who) == (
        refused is None and act is Act.ACKNOWLEDGE and (not who.known or bool(who.unsure))
    )
