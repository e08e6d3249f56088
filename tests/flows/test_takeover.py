"""What a killed or stopped process had in its hands is taken over within ten seconds, once (13.22)."""

import asyncio
from datetime import timedelta

from domain.effects import Note, Text
from domain.outbox import LEASE, LOOK_AGAIN, Outcome, Report, settle
from operations.outbox import claim, deliver, renew
from sandbox.stage import Stage

TAKEN_OVER = timedelta(seconds=9)
"""Together with a second until the next look this is ten."""


def note(number: int, place: str = "ops") -> Note:
    return Note(
        key=f"n{number}", place=place, text=Text(key="ops.job_recovered", params={"job": f"j{number}"})
    )


async def say(stage: Stage, *notes: Note) -> None:
    async with stage.bot.store() as tx:
        await tx.say(list(notes), stage.clock.now())


async def test_13_22_a_message_of_a_killed_process_is_sent_by_another_within_ten_seconds(
    stage: Stage,
) -> None:
    await say(stage, note(1))
    assert len(await claim(stage.bot.world, frozenset())) == 1, "and then it is killed"
    stage.clock.push(TAKEN_OVER)
    (hold,) = await claim(stage.bot.world, frozenset())
    assert hold.letter.in_doubt, "Slack is asked before it is sent"
    await deliver(stage.bot.world, hold)
    assert len(stage.channel("ops")) == 1


async def test_13_22_a_call_that_takes_long_stays_with_its_owner(stage: Stage) -> None:
    await say(stage, note(1))
    (hold,) = await claim(stage.bot.world, frozenset())
    for _ in range(5):
        stage.clock.push(LEASE * 0.6)
        assert hold.lasts(stage.bot.world)
        await renew(stage.bot.world, [hold])
        assert await claim(stage.bot.world, frozenset()) == []
    stage.clock.push(LEASE)
    assert not hold.lasts(stage.bot.world), "without a renewal it lets go by itself"
    (taken,) = await claim(stage.bot.world, frozenset())
    await renew(stage.bot.world, [hold])
    assert not hold.lasts(stage.bot.world), "it cannot be had back"
    await deliver(stage.bot.world, taken)
    assert len(stage.channel("ops")) == 1


async def test_13_22_order_in_a_channel_holds_over_replicas(stage: Stage) -> None:
    await say(stage, note(1), note(2), note(3, "alerts"))
    one = await claim(stage.bot.world, frozenset())
    assert [hold.letter.key for hold in one] == ["n1", "n3"]
    assert await claim(stage.bot.world, frozenset()) == [], "another replica does not overtake it"
    stage.clock.push(TAKEN_OVER)
    other = await claim(stage.bot.world, frozenset())
    assert [hold.letter.key for hold in other] == ["n1", "n3"], "what a killed one had comes first"
    await asyncio.gather(*(deliver(stage.bot.world, hold) for hold in other))
    await stage.advance(seconds=60)
    assert [message.plain.count("j1") for message in stage.channel("ops")] == [1, 0]


async def test_13_22_many_replicas_at_once_claim_one_message_of_a_channel(stage: Stage) -> None:
    await say(stage, *(note(number) for number in range(6)))
    claims = await asyncio.gather(*(claim(stage.bot.world, frozenset()) for _ in range(6)))
    assert [hold.letter.key for holds in claims for hold in holds] == ["n0"]


async def test_13_22_a_sender_that_wakes_after_everybody_has_looked_leaves_no_second_message(
    stage: Stage,
) -> None:
    await say(stage, note(1))
    (stopped,) = await claim(stage.bot.world, frozenset())
    await stage.advance(seconds=(LEASE + LOOK_AGAIN).total_seconds() + 60)
    assert len(stage.channel("ops")) == 1, "another one has sent it, and has looked once more"

    stopped.until = float("inf")  # It was stopped after its last look at the lease, before the call.
    await deliver(stage.bot.world, stopped)
    await stage.advance(seconds=10)
    assert len(stage.channel("ops")) == 1


async def test_13_22_a_sender_that_wakes_takes_back_what_was_withdrawn_meanwhile(stage: Stage) -> None:
    await say(stage, note(1))
    (stopped,) = await claim(stage.bot.world, frozenset())
    stage.clock.push(TAKEN_OVER)
    (taken,) = await claim(stage.bot.world, frozenset())
    async with stage.bot.store() as tx:
        at = stage.clock.now()
        assert await tx.settle(taken.letter, settle(taken.letter, Report(outcome=Outcome.NOTHING), at), at)
    stopped.until = float("inf")
    await deliver(stage.bot.world, stopped)
    await stage.advance(seconds=60)
    assert stage.channel("ops") == []
