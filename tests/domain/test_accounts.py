"""13.2: the account to be paged, case by case."""

import pytest

from domain.accounts import Binding, Change, Found, bind
from domain.approvals import Account

OURS = Account(id="U2")


@pytest.mark.parametrize(
    ("before", "found", "is_active", "account", "change"),
    [
        (None, Found(account=OURS), False, "U2", Change.FIRST),
        ("U2", Found(account=OURS), True, "U2", Change.SAME),
        ("U1", Found(account=OURS), True, "U1", Change.DOUBTED),
        ("U1", Found(account=OURS), False, "U2", Change.MOVED),
        ("U1", Found(account=OURS, by_id=True), True, "U2", Change.MOVED),
        ("U1", Found(reason="users_not_found"), True, "U1", Change.KEPT),
        ("U1", Found(reason="users_not_found"), False, None, Change.ENDED),
        (None, Found(reason="users_not_found"), False, None, Change.NONE),
        ("U1", Found(account=Account(id="U2", ours=False)), True, "U1", Change.KEPT),
        (None, Found(account=Account(id="U2", guest=True)), False, None, Change.NONE),
        (None, Found(account=Account(id="U2", bot=True)), False, None, Change.NONE),
        (None, Found(account=Account(id="U2", known=False)), False, None, Change.NONE),
        (None, Found(account=Account(id="U2", known=False), by_id=True), False, "U2", Change.FIRST),
        (None, Found(account=Account(id="U2", deleted=True), by_id=True), False, None, Change.NONE),
        ("U1", Found(account=Account(id="U2", deleted=True), by_id=True), True, None, Change.ENDED),
    ],
)
def test_13_2_who_is_paged(
    before: str | None, found: Found, is_active: bool, account: str | None, change: Change
) -> None:
    binding = bind(before, found, is_active=is_active)
    assert isinstance(binding, Binding)
    assert (binding.account, binding.change) == (account, change)
