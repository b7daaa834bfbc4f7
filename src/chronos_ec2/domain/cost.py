"""The cost of a run. Prices are Linux on-demand in us-east-1, USD per hour; `--price` replaces them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.records.run import Run

# Source: the public EC2 on-demand price list, us-east-1, Linux, as quoted by guides to the instance families.
ON_DEMAND_USD_PER_HOUR = {
    "g4dn.xlarge": 0.526,
    "g4dn.2xlarge": 0.752,
    "g4dn.4xlarge": 1.204,
    "g5.xlarge": 1.006,
    "g5.2xlarge": 1.212,
    "g5.4xlarge": 1.624,
    "g6.xlarge": 0.805,
    "g6.2xlarge": 0.978,
    "g6.4xlarge": 1.323,
    # After the price cut of June 2025, from several copies of the price list of 2026-07-28.
    "p4d.24xlarge": 21.957642,
    "p5.48xlarge": 55.04,
}


def list_prices(instance_types: Iterable[str]) -> dict[str, float]:
    """USD per hour by instance type. Types that are not in the table are left out."""
    return {kind: ON_DEMAND_USD_PER_HOUR[kind] for kind in instance_types if kind in ON_DEMAND_USD_PER_HOUR}


def price_in(run: Run, instance_type: str | None = None) -> float | None:
    """USD per hour of a run's instance, of the type that EC2 reports or else of the type in the record."""
    return dict(run.prices).get(run.instance_type if instance_type is None else instance_type, run.price_per_hour_usd)


def cost_of(instance: Instance, now: datetime) -> float | None:
    """USD that an instance has cost since its launch, or None if its type is not in the table."""
    price = ON_DEMAND_USD_PER_HOUR.get(instance.instance_type)
    return None if price is None else price * max((now - instance.launched_at).total_seconds(), 0) / 3600


def time_left(run: Run, launched_at: datetime, now: datetime) -> timedelta:
    """Until the deadline of a run or until its cap is spent, whichever comes first. Never negative."""
    left, price = run.deadline - now, price_in(run)
    cost = cost_so_far(run, launched_at, now)
    if run.max_cost_usd is not None and cost is not None and price:
        left = min(left, timedelta(hours=(run.max_cost_usd - cost) / price))
    return max(left, timedelta(0))


def cost_so_far(
    run: Run, launched_at: datetime | None, now: datetime, instance_type: str | None = None
) -> float | None:
    """USD that all attempts of a run have cost until `now`, or None if the price is unknown.

    `instance_type` is the type that EC2 reports, None if EC2 does not list the instance.
    """
    if (price := price_in(run, instance_type)) is None:
        return None
    hours = (now - launched_at).total_seconds() / 3600 if launched_at else 0.0
    return run.spent_usd + price * max(hours, 0.0)
