"""13.2: whose account is paged: bound by the policy's ids or by e-mail, for our own active members only."""

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

from domain.policy import Person, Policy
from domain.roles import Roles
from notify.slack.client import Api
from notify.slack.directory import Directory
from notify.slack.membership import Claim, Membership
from sandbox.slack import faults
from sandbox.slack.roster import Group
from sandbox.stage import Stage
from storage.watches import WATCH
from tests.conftest import make_policy, open_stage
from tests.flows.looking import notes, rows, unsent
from tests.payloads import monitoring

MAIL = "kenji@bondpoint.example"


def policy_with(**changes: Person) -> Policy:
    policy = make_policy()
    return policy.model_copy(update={"people": policy.people | changes})


def ops(stage: Stage) -> list[str]:
    return [card.plain for card in stage.channel("ops")]


def new_mail(stage: Stage, person: str, mail: str) -> None:
    """Give an account another e-mail address, or none."""
    user = stage.slack.user(person)
    for known in [known for known, owner in stage.slack.state.user_mails.items() if owner is user]:
        del stage.slack.state.user_mails[known]
    user.email = mail
    stage.slack.state.save_user(user)


async def night(stage: Stage, metric: str = "1") -> None:
    """A critical alert, and a little time."""
    await stage.webhook(
        "cloud-monitoring", monitoring(f"0.{metric}", policy=f"P{metric}", service=f"service-{metric}")
    )
    await stage.advance(seconds=5)


STRANGERS: dict[str, dict[str, Any]] = {
    "Connect account": {"team": "T0FOREIGN"},
    "stranger": {"team": "T0FOREIGN", "stranger": True},
    "other organisation": {"team": "T0FOREIGN", "enterprise": "E0FOREIGN"},
    "guest": {"guest": True},
    "single-channel guest": {"guest": True, "single": True},
    "bot": {"is_bot": True},
    "deactivated": {"deleted": True},
}


@pytest.mark.parametrize("kind", STRANGERS.values(), ids=STRANGERS.keys())
@pytest.mark.parametrize("first", ["clicks", "pages"])
async def test_13_2_an_account_with_a_persons_profile_email_never_gets_their_page(
    world: Stage, first: str, kind: dict[str, Any]
) -> None:
    world.slack.late_clicks = True
    mail = world.slack.state.user_mails[MAIL]
    world.slack.add_account("mallory", email=MAIL, **kind)
    world.slack.state.user_mails[MAIL] = mail
    if first == "clicks":
        await world.type("mallory", "alerts", "/incident list")
        await world.slack.open_home("mallory")
        await world.settle()
    await night(world)
    if first == "pages":
        await world.press("mallory", world.card("alerts"), "Acknowledge")
        await world.advance(minutes=6)
    assert world.dms("mallory") == []
    assert world.dms("kenji")


@pytest.mark.parametrize("kind", STRANGERS.values(), ids=STRANGERS.keys())
async def test_13_2_a_look_up_that_answers_with_somebody_elses_account_binds_nobody(
    world: Stage, kind: dict[str, Any]
) -> None:
    mallory = world.slack.add_account("mallory", email=MAIL, **kind)
    mallory.deleted = bool(kind.get("deleted"))
    world.slack.state.user_mails[MAIL] = mallory
    world.slack.lookup_is_loose = True
    await night(world)
    assert world.dms("mallory") == []
    assert len(world.dms("aya")) == 1, "the next person, at once"
    assert any("The page to kenji failed" in note for note in notes(world, "incidents"))


@pytest.mark.parametrize("again", [False, True], ids=["the same process", "after a restart"])
async def test_13_2_an_email_that_moves_while_the_old_account_is_active_keeps_the_old_and_is_told(
    stage: Stage, again: bool
) -> None:
    await night(stage)
    assert len(stage.dms("kenji")) == 1
    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    new_mail(stage, "kenji", "other@bondpoint.example")
    stage.slack.add_account("mallory", email=MAIL)
    if again:
        await stage.stop()
        await stage.start()
    await stage.advance(minutes=10)
    await night(stage, "2")

    assert stage.dms("mallory") == []
    assert len(stage.dms("kenji")) == 2
    told = [line for line in ops(stage) if "leads to another Slack account" in line]
    assert len(told) == 1
    assert stage.slack.user_id("mallory") in told[0]
    assert "accounts.kenji" in stage.bot.world.problems.current()


@pytest.mark.parametrize("again", [False, True], ids=["the same process", "after a restart"])
async def test_13_2_a_new_account_for_one_that_left_is_paged_and_the_change_is_told(
    stage: Stage, again: bool
) -> None:
    await night(stage)
    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    stage.slack.deactivate("kenji")
    stage.slack.add_account("kenji2", email=MAIL)
    if again:
        await stage.stop()
        await stage.start()
    await stage.advance(minutes=10)
    await night(stage, "2")

    assert len(stage.dms("kenji")) == 1
    assert len(stage.dms("kenji2")) == 1
    told = [line for line in ops(stage) if "is paged at another Slack account" in line]
    assert len(told) == 1
    assert stage.slack.user_id("kenji2") in told[0]


async def test_13_2_somebody_who_leaves_is_noticed_without_a_page_and_the_next_page_moves_on(
    stage: Stage,
) -> None:
    await night(stage)
    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    stage.slack.deactivate("kenji")
    await stage.advance(hours=1, minutes=1)
    assert any("kenji can no longer be paged in Slack" in line for line in ops(stage))
    assert "accounts.kenji" in stage.bot.world.problems.current()

    await night(stage, "2")
    assert len(stage.dms("kenji")) == 1
    assert len(stage.dms("aya")) == 1


async def test_13_2_who_left_a_moment_ago_is_not_paged_any_more(stage: Stage) -> None:
    """Slack's own event is enough to ask again; the look-up of a minute ago is not believed."""
    await night(stage)
    await stage.press("kenji", stage.dms("kenji")[0], "対応する")
    stage.slack.deactivate("kenji")
    await stage.advance(seconds=10)
    assert any("kenji can no longer be paged in Slack" in line for line in ops(stage))
    await night(stage, "2")
    assert len(stage.dms("kenji")) == 1
    assert len(stage.dms("aya")) == 1


@pytest.mark.parametrize(
    "trouble",
    [faults.error("missing_scope"), faults.error("enterprise_is_restricted"), faults.status(503)],
    ids=["missing_scope", "restricted", "503"],
)
async def test_13_2_where_slack_cannot_say_the_account_verified_before_is_paged(
    world: Stage, trouble: faults.Action
) -> None:
    await night(world)
    await world.press("kenji", world.dms("kenji")[0], "対応する")
    world.slack.faults.add("users.lookupByEmail", trouble, count=10**6)
    await world.stop()
    await world.start()
    await world.advance(minutes=6)
    await night(world, "2")
    assert len(world.dms("kenji")) == 2
    assert "accounts.kenji" in world.bot.world.problems.current()
    world.slack.faults.clear()
    await world.advance(hours=1)
    assert "accounts.kenji" not in world.bot.world.problems.current()


async def test_13_2_nobody_is_bound_before_slack_said_which_workspace_is_ours(sqlite_only: str) -> None:
    async with open_stage(sqlite_only, policy_with(), start=False) as world:
        world.slack.faults.add("auth.test", faults.error("internal_error"), count=10**6)
        await world.start()
        await night(world)
        assert world.dms("kenji") == []
        world.slack.faults.clear()
        await world.advance(minutes=1)
        assert len(world.dms("kenji")) == 1
        assert await unsent(world) == []


async def test_13_2_an_account_that_the_policy_names_is_paged_even_while_slack_cannot_say_who_it_is(
    sqlite_only: str,
) -> None:
    async with open_stage(sqlite_only, policy_with(), start=False) as first:
        number = first.slack.user_id("kenji")
    named = Person(name="kenji", slack=(number,), locale="ja")
    async with open_stage(sqlite_only, policy_with(kenji=named)) as world:
        world.slack.faults.add("users.info", faults.error("missing_scope"), count=10**6)
        world.slack.faults.add("auth.test", faults.error("internal_error"), count=10**6)
        await night(world)
        assert len(world.dms("kenji")) == 1


async def test_13_2_of_several_accounts_of_the_policy_the_first_active_one_is_paged(
    sqlite_only: str,
) -> None:
    async with open_stage(sqlite_only, policy_with(), start=False) as first:
        ids = (first.slack.user_id("kenji"), first.slack.user_id("dan"))
    named = Person(name="kenji", slack=ids, email=MAIL, locale="ja")
    async with open_stage(sqlite_only, policy_with(kenji=named)) as world:
        await night(world)
        await world.press("kenji", world.dms("kenji")[0], "対応する")
        world.slack.deactivate("kenji")
        await world.advance(minutes=6)
        await night(world, "2")
        assert len(world.dms("dan")) == 1
        assert any("kenji is paged at another Slack account" in line for line in ops(world))


async def test_13_2_an_account_that_the_policy_gives_to_one_is_never_bound_to_another_by_email(
    sqlite_only: str,
) -> None:
    async with open_stage(sqlite_only, policy_with(), start=False) as first:
        dan = first.slack.user_id("dan")
    people = {
        "dan": Person(name="dan", slack=(dan,), locale="en"),
        "kenji": Person(name="kenji", email="dan@bondpoint.example", locale="ja"),
    }
    async with open_stage(sqlite_only, policy_with(**people)) as world:
        await night(world)
        assert world.dms("dan") == []
        assert len(world.dms("aya")) == 1


async def test_13_2_a_member_of_another_workspace_of_the_organisation_is_one_of_us(world: Stage) -> None:
    world.slack.join_grid("E0OURS")
    await world.stop()
    user = world.slack.user("kenji")
    user.team, user.enterprise = "T0SISTER", "E0OURS"
    world.slack.state.save_user(user)
    await world.start()
    await night(world)
    assert len(world.dms("kenji")) == 1


async def test_13_2_an_address_that_was_never_confirmed_binds_nobody(world: Stage) -> None:
    world.slack.user("kenji").unconfirmed = True
    await night(world)
    assert world.dms("kenji") == []
    assert len(world.dms("aya")) == 1


async def test_13_2_a_click_of_a_member_is_theirs_after_a_proper_look_up(world: Stage) -> None:
    await night(world)
    await world.press("mika", world.card("alerts"), "Acknowledge")
    asked = [call.params.get("email") for call in world.slack.calls if call.method == "users.lookupByEmail"]
    assert "mika@bondpoint.example" in asked
    assert "Acknowledged by mika" in world.card("alerts").plain


@pytest.mark.parametrize("trouble", [faults.delay(1.2), faults.status(503)], ids=["slow", "failing"])
async def test_13_2_whose_account_it_is_and_was_not_found_out_in_time_is_not_called_nobodys(
    sqlite_only: str, trouble: faults.Action
) -> None:
    """A person of the policy whose look-up is slow is asked to try again, not told to be a stranger."""
    async with open_stage(sqlite_only, make_policy()) as stage:
        stage.slack.faults.add("users.lookupByEmail", trouble, count=10**6)
        assert (await stage.type("mika", "#deploys", "/deploy lock bondpoint-api for a look")).ok
        assert "could not say just now who you are" in stage.told("mika")[-1]

        stage.slack.faults.clear()
        await stage.settle()
        assert (await stage.type("mika", "#deploys", "/deploy lock bondpoint-api for a look")).ok
        assert "could not say just now who you are" not in stage.told("mika")[-1]
        assert "belongs to nobody" not in stage.told("mika")[-1]


@pytest.mark.parametrize("bound_by", ["an id", "an address"])
async def test_13_2_an_account_that_the_policy_names_no_longer_is_let_go_at_once(
    sqlite_only: str, bound_by: str
) -> None:
    """Who edits the policy decides; an address that moves in Slack alone is another thing."""
    async with open_stage(sqlite_only, policy_with(), start=False) as stage:
        other = stage.slack.user_id("dan")
        wrong = Person(
            name="kenji", slack=(other,) if bound_by == "an id" else (), email="dan@bondpoint.example"
        )
        nobody = Person(name="dan", email="nobody@bondpoint.example")
        stage.policy = policy_with(kenji=wrong, dan=nobody)
        await stage.start()
        await night(stage)
        assert len(stage.dms("dan")) == 1
        stage.bot.policies.replace(policy_with(kenji=Person(name="kenji", email=MAIL), dan=nobody))
        await stage.advance(minutes=2)
        await night(stage, "2")
        assert len(stage.dms("dan")) == 1
        assert len(stage.dms("kenji")) == 1
        assert any("kenji is paged at another Slack account" in line for line in ops(stage))
        person = stage.bot.chat.directory.person_of(other)
        assert person is None or person.name != "kenji"


async def test_13_2_an_outage_moves_no_page_to_an_account_that_may_not_be_paged(sqlite_only: str) -> None:
    async with open_stage(sqlite_only, policy_with(), start=False) as stage:
        guest = stage.slack.add_account("guesty", guest=True).id
        named = Person(name="kenji", slack=(guest, stage.slack.user_id("kenji")), locale="en")
        stage.policy = policy_with(kenji=named)
        await stage.start()
        await night(stage)
        assert len(stage.dms("kenji")) == 1
        stage.slack.faults.add("users.info", faults.status(503), count=10**6)
        await stage.advance(minutes=6)
        await night(stage, "2")
        assert stage.dms("guesty") == []
        assert len(stage.dms("kenji")) >= 2


async def test_13_1_who_makes_slack_say_nothing_gains_nothing_by_it(sqlite_only: str) -> None:
    """A guest asks until Slack refuses to answer anybody, then acknowledges."""
    async with open_stage(sqlite_only, policy_with()) as stage:
        await night(stage)
        stage.slack.add_account("guesty", guest=True)
        stage.slack.rate_limit_methods = True
        await stage.press("guesty", stage.card("alerts"), "Acknowledge")
        for _ in range(5):
            await asyncio.gather(*(stage.slack.type("guesty", "#general", "/toban help") for _ in range(22)))
        await stage.press("guesty", stage.card("alerts"), "Acknowledge")
        assert "Acknowledged by" not in stage.card("alerts").plain
        stage.slack.faults.add("users.info", faults.status(503), count=10**6)
        await stage.press("guesty", stage.card("alerts"), "Acknowledge")
        assert "Acknowledged by" not in stage.card("alerts").plain


@pytest.mark.parametrize("against", ["guest", "Connect account", "outside of the group"])
async def test_1e_what_slack_said_against_an_account_outlives_a_restart_while_slack_is_silent(
    database_url: str, against: str
) -> None:
    roster = Roles(responder=("@sre",)) if against == "outside of the group" else Roles()
    async with open_stage(database_url, make_policy(roles=roster)) as stage:
        groups = (Group("sre", "SRE", ("kenji", "mika", "dan")),)
        stage.slack.state.roster = replace(stage.slack.state.roster, groups=groups)
        stage.slack.add_account("guesty", **STRANGERS.get(against, {}))
        await night(stage)
        await stage.press("guesty", stage.card("alerts"), "Acknowledge")
        await stage.stop()
        for method in ("auth.test", "users.info", "usergroups.users.list", "usergroups.list"):
            stage.slack.faults.add(method, faults.status(503), count=10**6)
        await stage.start()
        await stage.press("guesty", stage.card("alerts"), "Acknowledge")
        await stage.advance(minutes=1)
        assert "Acknowledged by" not in stage.card("alerts").plain
        await stage.press("mika", stage.card("alerts"), "Acknowledge")
        await stage.advance(minutes=1)
        assert "Acknowledged by" in stage.card("alerts").plain


async def test_1e_what_slack_takes_back_is_forgotten(sqlite_only: str) -> None:
    async with open_stage(sqlite_only, make_policy()) as stage:
        stage.slack.add_account("guesty", guest=True)
        await night(stage)
        kept = sa.select(WATCH.c.key).where(WATCH.c.kind == "denied")
        await stage.press("guesty", stage.card("alerts"), "Acknowledge")
        await stage.settle()
        assert await rows(stage, kept) == [{"key": stage.slack.user_id("guesty")}]
        stage.slack.user("guesty").guest = False
        await stage.press("guesty", stage.card("alerts"), "Acknowledge")
        await stage.settle()
        assert await rows(stage, kept) == []
        assert "Acknowledged by" in stage.card("alerts").plain


@pytest.mark.parametrize("name", ["Kenji", "ｋｅｎｊｉ", "Kеnji", "kenj1", "T0ban", "当番"])
async def test_13_1_whoever_is_called_like_a_person_of_the_policy_is_told_apart(
    world: Stage, name: str
) -> None:
    world.slack.add_account(name)
    await night(world)
    await world.press(name, world.card("alerts"), "Acknowledge")
    assert f"Acknowledged by {name} ({world.slack.user_id(name)})" in world.card("alerts").plain


@pytest.mark.parametrize("another", [False, True], ids=["our own organisation", "another one"])
async def test_13_1_before_slack_ever_spoke_the_message_says_whose_organisation_ours_is(
    world: Stage, *, another: bool
) -> None:
    """A signed click that names an organisation, and a workspace that is not the pressed message's."""
    claim = Claim(
        user="U0NOBODY",
        team="T0FOREIGN" if another else "T0OURS",
        enterprise="E0FOREIGN" if another else "E0OURS",
        message_team="T0OURS",
    )
    async with aiohttp.ClientSession() as session:
        api = Api("xoxb-nobody", "http://127.0.0.1:9/api/", session)  # Nobody listens there.
        account = await Membership(api, Directory(api, make_policy(), "en"), lambda _: None).account(claim)
    assert account.ours is not another


async def test_13_1_a_handle_that_another_group_bears_now_means_that_group(sqlite_only: str) -> None:
    roster = Roles(responder=("@sre",))
    async with open_stage(sqlite_only, make_policy(roles=roster)) as stage:
        await night(stage)
        await stage.press("dan", stage.card("alerts"), "Resolve")
        everybody = Group("everybody", "All", ("kenji", "mika", "dan"))
        groups = (everybody, Group("sre", "SRE", ("kenji", "mika")))
        stage.slack.state.roster = replace(stage.slack.state.roster, groups=groups)
        loop = asyncio.get_running_loop()
        stage.bot.desk.membership._handles_at = loop.time() - 61
        await stage.press("dan", stage.card("alerts"), "Resolve")
        assert "Resolved" not in stage.card("alerts").plain
