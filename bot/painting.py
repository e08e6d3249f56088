"""Draws the pictures below notes: from what is remembered now, in the process for arithmetic."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from domain import anomalies as rules
from domain.anomalies import Direction
from domain.capacity import Forecast
from domain.effects import Drawn, Picture, Text
from domain.indicators import INDICATORS
from domain.policy import Service
from domain.units import Unit
from notify.pictures import (
    AnomalyPicture,
    CapacityPicture,
    RolloutPicture,
    anomaly_picture,
    capacity_picture,
    rollout_picture,
)
from notify.texts import voice
from operations import anomalies, canaries, capacity
from operations.columns import STEP
from operations.world import World

AROUND = timedelta(minutes=5)
"""Of a rollout's picture: before and after it."""

STEPS = 144
"""Steps of five minutes in an anomaly's picture: twelve hours."""


class Pictures:
    """Fulfils the port ``Painter``."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def paint(self, picture: Picture, locale: str) -> Drawn | None:
        """The picture in the reader's language; ``None`` where there is nothing to draw it from."""
        name = str(picture.params.get("service"))
        service = next((one for one in self._world.policy.services if one.name == name), None)
        if service is None:
            return None
        match picture.kind:
            case "anomaly":
                return await self._anomaly(service, picture, locale)
            case "capacity":
                return await self._capacity(service, str(picture.params["metric"]), locale)
            case "rollout":
                return await self._rollout(int(picture.params["id"]), locale)
            case _:
                return None

    async def _rollout(self, rollout_id: int, locale: str) -> Drawn | None:
        async with self._world.store.read() as tx:
            rollout = await tx.rollout(rollout_id)
        if rollout is None or rollout.plan is None or rollout.shifted_at is None:
            return None
        start = rollout.shifted_at - rollout.course.bake - AROUND
        end = (rollout.ended_at or self._world.clock.now()) + AROUND
        times, canary, stable = await canaries.minutes(self._world, rollout, start, end)
        if not times:
            return None
        params = {"service": rollout.service, "number": rollout.number}
        drawn = RolloutPicture(
            title=voice(locale).plain("picture.rollout", **params),
            english=voice("en").plain("picture.rollout", **params),
            times=times,
            canary=canary,
            stable=stable,
            limit=self._world.policy.deploys.rule(rollout.service).threshold,
            zone=self._world.policy.rules.zone,
            locale=locale,
        )
        png = await self._world.compute.run(rollout_picture, drawn)
        alt = voice(locale).plain("picture.rollout_alt", **params)
        return Drawn(png=png, alt_text=alt, filename=f"{rollout.service}-{rollout.number}.png")

    async def _anomaly(self, service: Service, picture: Picture, locale: str) -> Drawn | None:
        column, began = str(picture.params["column"]), int(picture.params["at"])
        answered = await anomalies.shown_steps(self._world, service, STEPS)
        found = next((one for one in answered.shown if one.column == column), None)
        if found is None or not found.times:
            return None
        unit = INDICATORS[column].unit
        per = STEP if unit is Unit.PER_SECOND else 1
        async with self._world.store.read() as tx:
            detector = (await anomalies.known_detectors(tx)).get(service.name)
        track = detector.track if detector else rules.Track()
        episode = next((one for one in track.alarms if one.started_at == began), None)
        loud = (episode.threshold if episode else rules.BASE) / 2
        stuck = episode is not None and episode.driver.direction is Direction.STUCK
        title = Text(key="picture.anomaly", params={"service": service.name, "metric": column})
        drawn = AnomalyPicture(
            title=voice(locale).plain(title.key, **title.params),
            english=voice("en").plain(title.key, **title.params),
            times=found.times,
            values=[value / per for value in found.values],
            low=() if stuck else [value / per for value in found.low],
            high=() if stuck else [value / per for value in found.high],
            marked=[
                at >= began and abs(score) >= loud
                for at, score in zip(found.times, found.scores, strict=True)
            ],
            episode=(began, episode.ended_at if episode else None),
            unit=unit,
            zone=self._world.policy.rules.zone,
            locale=locale,
        )
        png = await self._world.compute.run(anomaly_picture, drawn)
        alt = voice(locale).plain("picture.anomaly_alt", service=service.name, metric=column)
        return Drawn(png=png, alt_text=alt, filename=f"{service.name}-{column}.png")

    async def _capacity(self, service: Service, metric: str, locale: str) -> Drawn | None:
        outlook = await capacity.outlook(self._world, service)
        growth = next((one for one in outlook.growths if one.metric == metric), None)
        if growth is None or not isinstance(growth.forecast, Forecast):
            return None
        found, zone = growth.forecast, ZoneInfo(self._world.policy.rules.zone)

        def noon(day: int) -> float:
            return datetime.combine(found.day(day), time(12), zone).astimezone(UTC).timestamp()

        title = Text(key="picture.capacity", params={"service": service.name, "metric": metric})
        days = sorted(found.history)
        drawn = CapacityPicture(
            title=voice(locale).plain(title.key, **title.params),
            english=voice("en").plain(title.key, **title.params),
            times=[datetime.combine(day, time(12), zone).timestamp() for day in days],
            values=[found.history[day] for day in days],
            ahead=[noon(day) for day in range(found.days + 1)],
            expected=found.expected,
            low=found.low,
            high=found.high,
            today=noon(0),
            limit=growth.limit,
            unit=growth.unit,
            zone=self._world.policy.rules.zone,
            locale=locale,
        )
        png = await self._world.compute.run(capacity_picture, drawn)
        alt = voice(locale).plain("picture.capacity_alt", service=service.name, metric=metric)
        return Drawn(png=png, alt_text=alt, filename=f"{service.name}-{metric}.png")
