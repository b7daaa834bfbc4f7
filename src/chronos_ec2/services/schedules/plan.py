"""What a run of a schedule is like, from the launch that it is ordered with."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from chronos_ec2.domain.schedules.order import UNNAMED_RUN, Planned
from chronos_ec2.services.launch.launcher import prices_of
from chronos_ec2.services.launch.spec import LaunchSpec, order_of

WAIT = timedelta(hours=2)
"""How long a run of a schedule waits for capacity if nothing else is said: nobody is there to launch it again."""


def planned_run(spec: LaunchSpec, now: datetime, future: str | None) -> Planned:
    """What the runs of a schedule are like. Raises InvalidInput if the price cap cannot be kept."""
    prices, price = prices_of(spec)
    spec = replace(spec, wait_for_capacity=spec.wait_for_capacity or WAIT)
    return Planned(order_of(spec, UNNAMED_RUN, now, (), prices, price), future)
