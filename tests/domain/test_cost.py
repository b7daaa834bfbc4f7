"""What a run costs: all its attempts, by EC2's launch time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chronos_ec2.domain.cost import ON_DEMAND_USD_PER_HOUR, cost_of, cost_so_far, list_prices, price_in, time_left
from chronos_ec2.testing.builders import NOW, a_run, an_instance
from chronos_ec2.training_config.defaults import BY_FAMILY

SIZES = ("xlarge", "2xlarge", "4xlarge")


def test_a_known_type_has_its_price_and_an_unknown_one_none() -> None:
    assert list_prices(("t2.nano", "g4dn.2xlarge")) == {"g4dn.2xlarge": 0.752}


def test_every_family_with_defaults_of_its_own_has_a_price() -> None:
    """Else a launch on it could have no cap."""
    assert {name.partition(".")[0] for name in ON_DEMAND_USD_PER_HOUR} == BY_FAMILY.keys()


@pytest.mark.parametrize("family", ["g4dn", "g5", "g6"])
def test_the_prices_of_a_family_rise_with_its_size_and_stay_below_two_dollars(family: str) -> None:
    prices = [ON_DEMAND_USD_PER_HOUR[f"{family}.{size}"] for size in SIZES]
    assert prices == sorted(prices)
    assert prices[-1] < 2


def test_eight_gpus_have_the_prices_of_the_cut_of_june_2025() -> None:
    assert list_prices(("p4d.24xlarge", "p5.48xlarge")) == {"p4d.24xlarge": 21.957642, "p5.48xlarge": 55.04}


@pytest.mark.parametrize("ahead", [0, 60])
def test_an_instance_that_was_only_just_launched_has_cost_nothing(ahead: int) -> None:
    assert cost_of(an_instance(launched_at=NOW + timedelta(seconds=ahead)), NOW) == 0.0


def test_cost_is_price_by_hours_since_launch() -> None:
    run = a_run(price_per_hour_usd=2.0)
    assert cost_so_far(run, NOW - timedelta(minutes=90), NOW) == 3.0


def test_cost_includes_the_attempts_before() -> None:
    run = a_run(price_per_hour_usd=2.0, spent_usd=5.0)
    assert cost_so_far(run, NOW - timedelta(hours=1), NOW) == 7.0


def test_between_two_attempts_cost_stands_still() -> None:
    assert cost_so_far(a_run(price_per_hour_usd=2.0, spent_usd=5.0), None, NOW) == 5.0


OF_TWO: dict[str, Any] = {"prices": (("g4dn.xlarge", 1.0), ("g5.4xlarge", 3.0)), "price_per_hour_usd": 5.0}


@pytest.mark.parametrize(
    ("instance_type", "price"), [("g4dn.xlarge", 1.0), ("g5.4xlarge", 3.0), ("t2.nano", 5.0), ("", 5.0), (None, 1.0)]
)
def test_the_price_is_that_of_the_type_that_ec2_names_or_else_the_records(
    instance_type: str | None, price: float
) -> None:
    run = a_run(instance_type="g4dn.xlarge", **OF_TWO)
    assert price_in(run, instance_type) == price
    assert cost_so_far(run, NOW - timedelta(hours=1), NOW, instance_type) == price


def test_the_time_left_depends_on_the_type_in_the_record() -> None:
    run = a_run(max_cost_usd=6.0, **OF_TWO)
    assert time_left(replace(run, instance_type="g4dn.xlarge"), NOW, NOW) == timedelta(hours=6)
    assert time_left(replace(run, instance_type="g5.4xlarge"), NOW, NOW) == timedelta(hours=2)


def test_a_launch_time_ahead_of_now_costs_nothing() -> None:
    assert cost_so_far(a_run(price_per_hour_usd=2.0, spent_usd=5.0), NOW + timedelta(hours=1), NOW) == 5.0


def test_without_a_price_cost_is_unknown() -> None:
    assert cost_so_far(a_run(price_per_hour_usd=None, spent_usd=5.0), NOW, NOW) is None


def test_the_time_left_is_that_of_the_deadline_or_of_the_cap() -> None:
    run = a_run(price_per_hour_usd=2.0, spent_usd=1.0, max_cost_usd=5.0, deadline=NOW + timedelta(hours=3))
    began = NOW - timedelta(hours=1)
    assert time_left(run, began, NOW) == timedelta(hours=1)
    assert time_left(a_run(deadline=NOW + timedelta(hours=3)), began, NOW) == timedelta(hours=3)
    assert time_left(run, began, NOW + timedelta(hours=9)) == timedelta(0)
