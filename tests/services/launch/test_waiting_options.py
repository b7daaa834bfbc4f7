"""How a launch may wait, as it is asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT, Market
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.services.launch.prepare import check_waiting
from chronos_ec2.services.launch.spec import LaunchRequest

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("market", "wait", "problem"),
    [(ON_DEMAND, None, "is for spot capacity"), (SPOT, HOUR, "1h is never reached"), (SPOT, HOUR / 2, "never reached")],
)
def test_a_fall_back_that_cannot_happen_is_refused(market: Market, wait: timedelta | None, problem: str) -> None:
    request = LaunchRequest(Lane("dev"), None, market=market, wait_for_capacity=wait, on_demand_after=HOUR)
    with pytest.raises(InvalidInput, match=f"^--on-demand-after: {problem}|^--on-demand-after: .*{problem}"):
        check_waiting(request)


@pytest.mark.parametrize("wait", [None, 2 * HOUR])
def test_a_fall_back_within_the_wait_is_accepted(wait: timedelta | None) -> None:
    check_waiting(LaunchRequest(Lane("dev"), None, market=SPOT, wait_for_capacity=wait, on_demand_after=HOUR))
