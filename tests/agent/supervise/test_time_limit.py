"""When a run has to end, as its agent reckons it: by the time of the run and by the money of all its attempts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agent.supervise.time_limit import time_limit
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, Status
from tests.agent.builders import INSTANCE, NOW, a_run

LIMITS = Limits.from_overrides({"grace": 600})
HOUR = timedelta(hours=1)


def a_second_attempt(**changes: Any) -> Run:
    """Launched six hours ago for $0.50 an hour; the second attempt began an hour ago, the first has cost $1."""
    created, began = NOW - 6 * HOUR, NOW - HOUR
    values: dict[str, Any] = {
        "attempt": 2,
        "status": Status.TRAINING,
        "current_step": "training",
        "instance_id": INSTANCE,
        "created_at": created,
        "deadline": NOW + 6 * HOUR,
        "price_per_hour_usd": 0.5,
        "spent_usd": 1.0,
        "phases": ((Status.INITIALIZATION, created), (Status.TRAINING, created + HOUR), (Status.INITIALIZATION, began)),
    }
    return a_run(**(values | changes))


def test_the_cap_counts_the_money_of_earlier_attempts_and_the_hours_of_this_one() -> None:
    left, stop = time_limit(a_second_attempt(max_cost_usd=2.5), LIMITS, NOW)
    # 2.5 - 1.0 for the first attempt - 0.5 for this one's hour, at 0.5 an hour.
    assert left == 2 * HOUR
    assert (stop.cause, stop.reason) == (Cause.OVER_BUDGET, "the cap of $2.50 is near")
    assert stop.requested_at == NOW + 2 * HOUR


def test_the_deadline_is_that_of_the_run_and_not_of_the_attempt() -> None:
    left, stop = time_limit(a_second_attempt(max_cost_usd=100.0), LIMITS, NOW)
    assert left == 6 * HOUR
    assert (stop.cause, stop.reason) == (Cause.OVER_DEADLINE, "the deadline 2026-01-31 18:00:00Z is near")
    assert stop.requested_at == NOW + 6 * HOUR - timedelta(minutes=10)


@pytest.mark.parametrize("changes", [{}, {"max_cost_usd": 1.0, "price_per_hour_usd": None}])
def test_without_a_cap_or_a_price_only_the_deadline_counts(changes: dict[str, Any]) -> None:
    assert time_limit(a_second_attempt(**changes), LIMITS, NOW)[1].cause is Cause.OVER_DEADLINE


def test_nothing_is_left_when_earlier_attempts_have_spent_the_cap() -> None:
    left, stop = time_limit(a_second_attempt(max_cost_usd=1.0), LIMITS, NOW)
    assert left <= timedelta(0)
    assert stop.cause is Cause.OVER_BUDGET
