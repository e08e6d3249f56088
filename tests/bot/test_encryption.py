"""Issue 21, 14: the keys of encrypted backups in the settings, in the policy, and when they are made."""

import stat
from pathlib import Path

import pytest

from bot.policy_reload import reload
from bot.settings import BadSettings, Settings
from domain.backup_plans import Source
from sandbox.stage import Stage
from storage.encryption import Keyring, new_pair
from tests.bot.test_backup_policy import TEAM, plan, plans
from tests.bot.test_check import READY, toban

PUBLIC, PRIVATE = new_pair()
OTHER_PUBLIC, OTHER_PRIVATE = new_pair()
RECIPIENTS, IDENTITIES = "TOBAN_BACKUP_AGE_RECIPIENTS", "TOBAN_BACKUP_AGE_IDENTITIES"


def check(folder: Path, text: str, **environ: str):
    (folder / "toban.yaml").write_text(TEAM + text)
    return toban("check", TOBAN_POLICY=str(folder / "toban.yaml"), **READY, **environ)


def test_21_14_keys_come_by_commas_or_as_age_keygen_writes_them() -> None:
    file = f"# created: 2026-11-22\n# public key: {PUBLIC}\n{PRIVATE}\n\n{OTHER_PRIVATE}  # the old one"
    settings = Settings.read({RECIPIENTS: f"{PUBLIC}, {OTHER_PUBLIC}", IDENTITIES: file}, to_run=False)
    assert settings.backup_recipients == (PUBLIC, OTHER_PUBLIC)
    assert [one.get_secret_value() for one in settings.backup_identities] == [PRIVATE, OTHER_PRIVATE]
    assert PRIVATE not in repr(settings) and PRIVATE in settings.secrets()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (RECIPIENTS, "age1nonsense", 'key 1 of 1: "age1nonsense" is no public key of age'),
        (RECIPIENTS, f"{PUBLIC},{PUBLIC[:-1]}q", "key 2 of 2"),
        (RECIPIENTS, PRIVATE, f"this is a private key: it goes into {IDENTITIES}"),
        (RECIPIENTS, PRIVATE.lower(), f"this is a private key: it goes into {IDENTITIES}"),
        (RECIPIENTS, "ssh-ed25519 AAAAC3", "is no public key of age"),
        (IDENTITIES, PUBLIC, f"this is a public key: it goes into {RECIPIENTS}"),
        (IDENTITIES, f"{PRIVATE[:-1]}", "it is no private key of age"),
        (IDENTITIES, "# nothing", "there is no key in it"),
    ],
    # The keys are new in each process: they can name no test.
    ids=("nonsense", "second", "private", "small", "ssh", "public", "cut", "none"),
)
def test_21_14_a_key_that_is_none_is_refused_and_never_shown(name: str, value: str, said: str) -> None:
    with pytest.raises(BadSettings) as bad:
        Settings.read({name: value}, to_run=False)
    (line,) = bad.value.problems
    assert line.startswith(f"{name}: ") and said in line
    assert PRIVATE[20:40] not in line.upper()


def test_21_14_the_policy_encrypts_what_toban_makes_itself(tmp_path: Path) -> None:
    (found,) = plans(tmp_path, plan(encrypt="true", to="gs://backups/x", copies="[toban, {bucket: images}]"))
    assert {one.source: one.encrypt for one in found.parts} == {Source.TOBAN: True, Source.BUCKET: False}
    assert found.encrypts
    (found,) = plans(tmp_path, plan())
    assert not found.encrypts


def test_21_14_check_refuses_a_plan_that_encrypts_for_nobody(tmp_path: Path) -> None:
    result = check(tmp_path, plan(encrypt="true"))
    assert result.exit_code == 2
    assert f"backups.nightly.encrypt: {RECIPIENTS} is not set" in result.output
    assert "toban backup keygen" in result.output
    result = check(tmp_path, plan(encrypt="true"), **{RECIPIENTS: "age1nonsense"})
    assert result.exit_code == 2 and "is no public key of age" in result.output
    result = check(tmp_path, plan(encrypt="true", to="gs://b/x", copies="[{bucket: images}]"))
    assert result.exit_code == 2 and "only `toban` is encrypted by Toban" in result.output
    assert check(tmp_path, plan()).exit_code == 0


def test_21_14_run_refuses_the_same_before_anything_is_begun(tmp_path: Path) -> None:
    (tmp_path / "toban.yaml").write_text(TEAM + plan(encrypt="true"))
    database = tmp_path / "toban.db"
    environ = {"TOBAN_POLICY": str(tmp_path / "toban.yaml"), "TOBAN_DATABASE_URL": f"sqlite:///{database}"}
    result = toban("run", **READY, **environ)
    assert result.exit_code == 2 and f"{RECIPIENTS} is not set" in result.output
    assert not database.exists()


def test_21_14_check_warns_of_a_key_that_may_be_lost(tmp_path: Path) -> None:
    result = check(tmp_path, plan(encrypt="true"), **{RECIPIENTS: PUBLIC, IDENTITIES: PRIVATE})
    assert result.exit_code == 0
    assert "Without the private key nobody can restore a copy." in result.output
    assert "outside of this machine and outside of the backups" in result.output
    assert "No drill can restore them" not in result.output
    assert PRIVATE not in result.output
    assert "encrypted  toban" in result.output
    result = check(tmp_path, plan(encrypt="true"), **{RECIPIENTS: PUBLIC})
    assert f"{IDENTITIES} is not set, so nothing here opens" in result.output
    result = check(tmp_path, plan(encrypt="true"), **{RECIPIENTS: PUBLIC, IDENTITIES: OTHER_PRIVATE})
    assert "none of the keys in it opens" in result.output
    assert "Without the private key" not in check(tmp_path, plan(), **{RECIPIENTS: PUBLIC}).output


def test_21_14_a_new_pair_fits_and_each_half_is_told_its_place(tmp_path: Path) -> None:
    result = toban("backup", "keygen")
    lines = result.output.splitlines()
    public, private = lines[1], lines[3]
    assert RECIPIENTS in lines[0] and IDENTITIES in lines[2] and "Without the private key" in lines[4]
    assert Keyring([public], [private]).opens([public])
    file = tmp_path / "key.txt"
    result = toban("backup", "keygen", "--to", str(file))
    assert (result.exit_code, stat.S_IMODE(file.stat().st_mode)) == (0, 0o600)
    assert "AGE-SECRET-KEY" not in result.output
    settings = Settings.read({f"{IDENTITIES}_FILE": str(file)}, to_run=False)
    assert len(settings.backup_identities) == 1
    before = file.read_text()
    result = toban("backup", "keygen", "--to", str(file))
    assert result.exit_code == 2 and "never written over" in result.output
    assert file.read_text() == before
    assert toban("backup", "keygen", "--to", str(tmp_path / "no" / "key")).exit_code == 2


async def test_21_14_a_policy_that_begins_to_encrypt_for_nobody_is_not_taken_over(
    stage: Stage, tmp_path: Path
) -> None:
    from bot.encryption import lacking

    (tmp_path / "toban.yaml").write_text(TEAM + plan(encrypt="true"))
    bot = stage.bot
    old = bot.policies.current
    took = await reload(
        tmp_path / "toban.yaml", bot.world, bot.policies, lambda new: lacking(new, stage.settings)
    )
    assert (took, bot.policies.current is old) == (False, True)
    await stage.advance(seconds=5)
    assert f"{RECIPIENTS} is not set" in stage.channel("#ops")[-1].plain
