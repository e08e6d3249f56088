"""When nothing may be deployed: windows by cron, public holidays, and what else stands in the way."""

from datetime import datetime

from domain.deploys import Deploys, Freeze
from domain.rules import Rules
from domain.schedule import Cron


def freeze(deploys: Deploys, rules: Rules, service: str, at: datetime) -> Freeze | None:
    """The first freeze that holds for a service now; ``None`` where none does."""
    for one in deploys.freezes:
        if one.services and service not in one.services:
            continue
        if one.holidays and rules.is_holiday(at):
            return one
        if one.cron is not None and Cron(line=one.cron, zone=rules.zone).latest(at) + one.lasting > at:
            return one
    return None
