"""When a run has to end."""

from __future__ import annotations

from datetime import datetime, timedelta

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.planning.cost import time_left
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, Stop


def time_limit(run: Run, limits: Limits, now: datetime) -> tuple[timedelta, Stop]:
    """The time left until the deadline or the price cap, whichever is first, and the stop to request for it."""
    left = time_left(run, limits, now)
    if run.deadline - now <= left:
        reason = f"the deadline {run.deadline:%Y-%m-%d %H:%M:%SZ} is near"
        return left, Stop(Cause.OVER_DEADLINE, reason, run.deadline - limits.grace)
    return left, Stop(Cause.OVER_BUDGET, f"the cap of ${run.max_cost_usd:.2f} is near", now + left)
