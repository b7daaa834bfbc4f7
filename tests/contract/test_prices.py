"""What every list of prices must do, and the one that comes with a release: no gaps, no doubles, nothing absurd."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from chronos_ec2.job_config.defaults import BY_FAMILY, gpus_of
from chronos_ec2.ports import Prices
from chronos_ec2.price_list import BundledPrices, price_table
from chronos_ec2.testing import MemoryAws

REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-northeast-1")
SIZES = ("xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge", "12xlarge", "24xlarge", "48xlarge")
"""A family's sizes by price: 12xlarge has four GPUs, 16xlarge one."""
ON_DEMAND: dict[str, dict[str, float]] = price_table()["on_demand"]


@pytest.fixture(params=["bundled", "memory"])
def prices(request: pytest.FixtureRequest) -> Prices:
    return BundledPrices() if request.param == "bundled" else MemoryAws().prices


class TestPrices:
    def test_a_known_type_has_its_price(self, prices: Prices) -> None:
        assert prices.on_demand("us-east-1", "g4dn.2xlarge") == 0.752
        assert prices.gib_month("us-east-1") == 0.08

    @pytest.mark.parametrize(("region", "instance_type"), [("us-east-1", "x9.huge"), ("mars-1", "g4dn.2xlarge")])
    def test_an_unknown_type_or_region_has_none(self, prices: Prices, region: str, instance_type: str) -> None:
        assert prices.on_demand(region, instance_type) is None

    def test_the_volume_of_an_unknown_region_has_none(self, prices: Prices) -> None:
        assert prices.gib_month("mars-1") is None


def test_the_same_type_has_another_price_in_another_region() -> None:
    found = {region: BundledPrices().on_demand(region, "g5.xlarge") for region in REGIONS}
    assert found == {
        "us-east-1": 1.006, "us-east-2": 1.006, "us-west-2": 1.006, "eu-west-1": 1.123, "eu-central-1": 1.258,
        "ap-northeast-1": 1.459,
    }  # fmt: skip


def test_every_region_has_volumes_and_the_default_instance_type() -> None:
    assert tuple(ON_DEMAND) == tuple(price_table()["gp3_gib_month"]) == REGIONS
    assert all("g4dn.2xlarge" in types for types in ON_DEMAND.values())
    assert all(0.07 <= usd <= 0.12 for usd in price_table()["gp3_gib_month"].values())


def test_every_family_with_defaults_of_its_own_has_all_its_sizes_in_us_east_1() -> None:
    """Else a launch on it could have no cap."""
    known = ON_DEMAND["us-east-1"]
    assert {name.partition(".")[0] for name in known} >= BY_FAMILY.keys()
    for family in ("g5", "g6", "g6e"):
        assert {name for name in known if name.startswith(f"{family}.")} == {f"{family}.{size}" for size in SIZES}
    assert {size for size in known if size.startswith("g4dn.")} == {f"g4dn.{size}" for size in (*SIZES[:6], "metal")}
    assert gpus_of("g5.48xlarge") == 8


def pairs() -> Iterator[tuple[str, str, float]]:
    for region, types in ON_DEMAND.items():
        for name, usd in types.items():
            yield region, name, usd


@pytest.mark.parametrize(("region", "name", "usd"), [*pairs()])
def test_a_price_is_within_what_a_region_adds_to_that_of_us_east_1(region: str, name: str, usd: float) -> None:
    assert re.fullmatch(r"[a-z0-9-]+\.([0-9]*xlarge|metal)", name)
    assert 1.0 <= usd / ON_DEMAND["us-east-1"][name] < 1.5 or region in ("us-east-2", "us-west-2")
    assert 0.99 < usd / ON_DEMAND["us-east-1"][name] < 1.5


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("family", ["g4dn", "g5", "g6", "g6e"])
def test_the_prices_of_a_family_rise_with_its_size_by_the_same_ratio_in_each_region(region: str, family: str) -> None:
    known = {size: ON_DEMAND[region].get(f"{family}.{size}") for size in SIZES}
    listed = [usd for usd in known.values() if usd is not None]
    assert all(smaller < larger for smaller, larger in pairwise(listed[:4]))
    ratios = {usd / ON_DEMAND["us-east-1"][f"{family}.{size}"] for size, usd in known.items() if usd is not None}
    assert not ratios or max(ratios) / min(ratios) < 1.01


def test_eight_gpus_have_the_prices_of_the_cut_of_june_2025() -> None:
    assert ON_DEMAND["us-east-1"]["p4d.24xlarge"] == 21.957642
    assert ON_DEMAND["us-east-1"]["p5.48xlarge"] == 55.04
