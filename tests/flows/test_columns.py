"""What the detector reads grows by what is new, and equals a fresh reading bit for bit."""

from datetime import timedelta

from operations.columns import Measuring
from sandbox.cloud.bondpoint import BondPoint
from sandbox.cloud.cloud import Cloud
from sandbox.cloud.faults import quota
from sandbox.stage import Stage
from tests.flows.test_anomalies import API, detecting


async def test_columns_that_grew_equal_columns_read_afresh(sqlite_only: str) -> None:
    async with Stage.open(sqlite_only, detecting(sensitivity="off"), cloud=Cloud) as stage:
        town = BondPoint(stage.cloud, stage.clock.now())
        api, world = town.services["bondpoint-api"], stage.bot.world
        growing = Measuring(world)
        first = (await growing.columns((API,)))["bondpoint-api"]
        rows = len(first.values[0])
        for minutes, changes in (
            (5, {"error_share": 0.02}),
            (5, {"silent": True}),
            (10, {"silent": False, "error_share": 0.0}),
            (35, {"busier": 2.0}),
            (60 * 26, {}),  # Beyond midnight, where the window moves.
        ):
            api.set(stage.clock.now(), **changes)
            stage.clock.push(timedelta(minutes=minutes))
            grown = (await growing.columns((API,)))["bondpoint-api"]
            fresh = (await Measuring(world).columns((API,)))["bondpoint-api"]
            assert (grown.start, grown.until, grown.problem) == (fresh.start, fresh.until, None)
            assert [one.tobytes() for one in grown.values] == [one.tobytes() for one in fresh.values]
        assert len(grown.values[0]) > rows - 288


async def test_a_quota_in_between_keeps_what_is_known_and_says_so(sqlite_only: str) -> None:
    async with Stage.open(sqlite_only, detecting(sensitivity="off"), cloud=Cloud) as stage:
        BondPoint(stage.cloud, stage.clock.now())
        growing = Measuring(stage.bot.world)
        before = (await growing.columns((API,)))["bondpoint-api"]
        stage.cloud.faults.add(quota())
        stage.clock.push(timedelta(minutes=10))
        blind = (await growing.columns((API,)))["bondpoint-api"]
        assert blind.problem is not None
        assert "quota" in blind.problem
        stage.cloud.faults.clear()
        stage.clock.push(timedelta(minutes=30))
        after = (await growing.columns((API,)))["bondpoint-api"]
        fresh = (await Measuring(stage.bot.world).columns((API,)))["bondpoint-api"]
        assert after.problem is None
        assert after.until > before.until
        assert [one.tobytes() for one in after.values] == [one.tobytes() for one in fresh.values]
