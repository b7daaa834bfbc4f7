"""What every source of prices must do: that of AWS, the list of a release and the one in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.offers.prices import AwsPrices, pricing_region
from chronos_ec2.bundled.prices import BundledPrices, price_table
from chronos_ec2.domain.errors import ChronosError, NoCredentials, NotAllowed, ServiceUnavailable
from chronos_ec2.ports import Price, Prices
from chronos_ec2.services.prices import CurrentPrices
from chronos_ec2.testing import Faults, MemoryAws
from chronos_ec2.testing.aws import MemoryPrices
from chronos_ec2.testing.aws_answers import answered, refused

REGIONS = ("us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-northeast-1")
SIZES = ("xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge", "12xlarge", "24xlarge", "48xlarge")
"""A family's sizes by price: 12xlarge has four GPUs, 16xlarge one."""
ON_DEMAND: dict[str, dict[str, float]] = price_table()["on_demand"]


def product(usd: str, **attributes: str) -> dict[str, Any]:
    """A product of the Price List API, as AWS writes it."""
    dimension = {"unit": "Hrs", "beginRange": "0", "endRange": "Inf", "pricePerUnit": {"USD": usd}}
    term = {"priceDimensions": {"SKU.TERM.RATE": dimension}, "termAttributes": {}}
    return {
        "product": {"attributes": attributes, "sku": "SKU"},
        "terms": {"OnDemand": {"SKU.TERM": term}, "Reserved": {}},
    }


AN_INSTANCE = {
    "operatingSystem": "Linux", "preInstalledSw": "NA", "capacitystatus": "Used", "marketoption": "OnDemand",
    "tenancy": "Shared", "regionCode": "us-east-1", "usagetype": "BoxUsage:g4dn.2xlarge",
}  # fmt: skip
OFFERED = [
    product("0.7520000000", instanceType="g4dn.2xlarge", **AN_INSTANCE),
    product("1.1440000000", instanceType="g4dn.2xlarge", **AN_INSTANCE | {"operatingSystem": "Windows"}),
    product("0.8280000000", instanceType="g4dn.2xlarge", **AN_INSTANCE | {"tenancy": "Dedicated"}),
    product("0.0000000000", instanceType="g4dn.2xlarge", **AN_INSTANCE | {"capacitystatus": "AllocatedHost"}),
    product("7.8240000000", instanceType="g4dn.metal", **AN_INSTANCE | {"tenancy": "Dedicated"}),
    product("0.0800000000", productFamily="Storage", volumeApiName="gp3", regionCode="us-east-1"),
    product("0.0050000000", productFamily="System Operation", volumeApiName="gp3", regionCode="us-east-1"),
    product(
        "0.0050000000", group="VPCPublicIPv4Address", regionCode="us-east-1", usagetype="USE1-PublicIPv4:InUseAddress"
    ),
    product(
        "0.0080000000", group="VPCPublicIPv4Address", regionCode="us-east-1", usagetype="PublicIPv4:ContiguousBlock"
    ),
]


def price_list(products: list[dict[str, Any]] = OFFERED, page: int = 1) -> Callable[[str], str]:
    """The Price List API: the products that match each filter, `page` of them at a time."""

    def answer(asked: str) -> str:
        request = json.loads(asked)
        wanted = {each["Field"]: each["Value"] for each in request["Filters"]}
        found = [
            one for one in products if all(one["product"]["attributes"].get(k) == v for k, v in wanted.items())
        ]  # fmt: skip
        start = int(request.get("NextToken", 0))
        more = {"NextToken": str(start + page)} if start + page < len(found) else {}
        return json.dumps({"FormatVersion": "aws_v1", "PriceList": list(map(json.dumps, found[start:][:page]))} | more)

    return answer


Spot = tuple[str, float, timedelta]


def spot_prices(*entries: Spot, page: int = 2) -> Callable[[str], str]:
    """EC2's spot prices of a g4dn.2xlarge: zone, price and age of each."""

    def answer(asked: str) -> str:
        request = parse_qs(asked)
        start = int(request.get("NextToken", ["0"])[0])
        found = entries if request["InstanceType.1"] == ["g4dn.2xlarge"] else ()
        items = "".join(
            f"<item><instanceType>g4dn.2xlarge</instanceType><productDescription>Linux/UNIX</productDescription>"
            f"<spotPrice>{usd}</spotPrice><timestamp>{(datetime.now(UTC) - age).isoformat()}</timestamp>"
            f"<availabilityZone>{zone}</availabilityZone></item>"
            for zone, usd, age in found[start:][:page]
        )
        more = f"<nextToken>{start + page}</nextToken>" if start + page < len(found) else "<nextToken/>"
        return (
            f"<DescribeSpotPriceHistoryResponse><spotPriceHistorySet>{items}</spotPriceHistorySet>{more}"
            "</DescribeSpotPriceHistoryResponse>"
        )

    return answer


NOW_AND_BEFORE: tuple[Spot, ...] = (
    ("us-east-1b", 0.25, timedelta(minutes=1)),
    ("us-east-1a", 0.24, timedelta(minutes=2)),
    ("us-east-1a", 0.31, timedelta(hours=2)),
)


@pytest.fixture(params=["bundled", "memory", "AWS"])
def prices(request: pytest.FixtureRequest) -> Iterator[Prices]:
    if request.param != "AWS":
        yield BundledPrices() if request.param == "bundled" else MemoryAws().prices
        return
    with (
        answered("pricing", "GetProducts", price_list()),
        answered("ec2", "DescribeSpotPriceHistory", spot_prices(*NOW_AND_BEFORE)),
    ):
        yield AwsPrices(client)


def usd(price: Price | None) -> float | None:
    return None if price is None else price.usd


class TestPrices:
    def test_a_known_type_has_its_price(self, prices: Prices) -> None:
        assert usd(prices.on_demand("us-east-1", "g4dn.2xlarge")) == 0.752
        assert usd(prices.gib_month("us-east-1")) == 0.08
        assert usd(prices.public_ipv4("us-east-1")) == 0.005

    @pytest.mark.parametrize(("region", "instance_type"), [("us-east-1", "x9.huge"), ("mars-1", "g4dn.2xlarge")])
    def test_an_unknown_type_or_region_has_none(self, prices: Prices, region: str, instance_type: str) -> None:
        assert prices.on_demand(region, instance_type) is None

    def test_volume_and_address_of_an_unknown_region_have_none(self, prices: Prices) -> None:
        assert prices.gib_month("mars-1") is None
        assert prices.public_ipv4("mars-1") is None

    def test_spot_capacity_has_a_price_in_each_zone_or_none_is_known(self, prices: Prices) -> None:
        found = {zone: price.usd for zone, price in prices.spot("us-east-1", "g4dn.2xlarge").items()}
        assert found in ({}, {"us-east-1a": 0.24, "us-east-1b": 0.25})
        assert prices.spot("us-east-1", "x9.huge") == {}

    def test_a_price_has_its_day(self, prices: Prices) -> None:
        found = prices.on_demand("us-east-1", "g4dn.2xlarge")
        assert found is not None
        assert date(2026, 1, 1) < found.as_of <= datetime.now(UTC).date()
        assert found.live is not isinstance(prices, BundledPrices)


# --- AWS ---------------------------------------------------------------------------------------------------------


def test_a_bare_metal_type_is_listed_as_dedicated() -> None:
    with answered("pricing", "GetProducts", price_list()):
        assert usd(AwsPrices(client).on_demand("us-east-1", "g4dn.metal")) == 7.824


@pytest.mark.parametrize("listed", ["0.0000000000", "-1", "nan", "inf", "1000000", "", "free"])
def test_what_is_no_price_is_unknown(listed: str) -> None:
    """A price of nothing would let a run go on for ever below its cap."""
    offered = [product(listed, instanceType="g4dn.2xlarge", **AN_INSTANCE)]
    with answered("pricing", "GetProducts", price_list(offered)):
        assert AwsPrices(client).on_demand("us-east-1", "g4dn.2xlarge") is None
    with answered("ec2", "DescribeSpotPriceHistory", spot_prices(("us-east-1a", listed, timedelta(0)))):  # type: ignore[arg-type]
        assert AwsPrices(client).spot("us-east-1", "g4dn.2xlarge") == {}


def test_of_several_prices_on_several_pages_the_highest_counts() -> None:
    """So that a cap holds with each of them."""
    offered = [product(each, instanceType="g4dn.2xlarge", **AN_INSTANCE) for each in ("0.5", "0.752", "0", "0.6")]
    with answered("pricing", "GetProducts", price_list(offered)):
        assert usd(AwsPrices(client).on_demand("us-east-1", "g4dn.2xlarge")) == 0.752


def test_a_region_is_asked_about_where_the_price_list_answers() -> None:
    asked = {region: pricing_region(region) for region in ("us-west-2", "eu-north-1", "ap-northeast-1", "sa-east-1")}
    assert asked == {
        "us-west-2": "us-east-1", "eu-north-1": "eu-central-1", "ap-northeast-1": "ap-south-1",
        "sa-east-1": "us-east-1",
    }  # fmt: skip


@pytest.mark.usefixtures("asked_once")
@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "AccessDeniedException", NotAllowed),
        (400, "ThrottlingException", ServiceUnavailable),
        (500, "InternalErrorException", ServiceUnavailable),
        (400, "UnrecognizedClientException", NoCredentials),
    ],
)
def test_what_the_price_list_refuses_is_our_error_and_the_list_of_the_release_answers(
    status: int, code: str, error: type[ChronosError]
) -> None:
    with answered("pricing", "GetProducts", json.dumps({"__type": code, "message": "no"}), status):
        with pytest.raises(error):
            AwsPrices(client).on_demand("us-east-1", "g5.xlarge")
        current = CurrentPrices(AwsPrices(client), BundledPrices())
        assert current.on_demand("us-east-1", "g5.xlarge") == BundledPrices().on_demand("us-east-1", "g5.xlarge")


@pytest.mark.usefixtures("asked_once")
def test_spot_prices_that_ec2_refuses_are_unknown() -> None:
    with refused("ec2", "DescribeSpotPriceHistory", "UnauthorizedOperation", 403):
        assert CurrentPrices(AwsPrices(client), BundledPrices()).spot("us-east-1", "g5.xlarge") == {}


# --- AWS, else the list of the release ----------------------------------------------------------------------------


def test_the_price_of_today_counts_and_the_list_fills_its_gaps() -> None:
    memory = MemoryAws().prices
    memory.instances = {"g5.xlarge": 1.1}
    current = CurrentPrices(memory, BundledPrices())
    assert [usd(current.on_demand("us-east-1", kind)) for kind in ("g5.xlarge", "g4dn.xlarge", "x9.huge")] == [
        1.1, 0.526, None,
    ]  # fmt: skip


def test_what_does_not_answer_is_asked_once() -> None:
    """A launch waits for one time-out, not for one with each of ten types."""
    faults = Faults()
    faults.fail("prices.*", ServiceUnavailable)
    current = CurrentPrices(MemoryPrices(faults), BundledPrices())
    for kind in ("g5.xlarge", "g6.xlarge", "g5.2xlarge"):
        assert current.on_demand("us-east-1", kind) == BundledPrices().on_demand("us-east-1", kind)
        assert current.spot("us-east-1", kind) == {}
    assert usd(current.gib_month("us-east-1")) == 0.08
    assert [name for name, _ in faults.calls] == ["prices.on_demand", "prices.spot"]


def test_what_is_known_is_not_asked_again() -> None:
    faults = Faults()
    current = CurrentPrices(MemoryPrices(faults), BundledPrices())
    for _ in range(3):
        current.on_demand("us-east-1", "g4dn.2xlarge")
        current.gib_month("us-east-1")
    assert [name for name, _ in faults.calls] == ["prices.on_demand", "prices.gib_month"]


# --- the list of the release: no gaps, no doubles, nothing absurd --------------------------------------------------


def test_the_same_type_has_another_price_in_another_region() -> None:
    found = {region: usd(BundledPrices().on_demand(region, "g5.xlarge")) for region in REGIONS}
    assert found == {
        "us-east-1": 1.006, "us-east-2": 1.006, "us-west-2": 1.006, "eu-west-1": 1.123, "eu-central-1": 1.258,
        "ap-northeast-1": 1.459,
    }  # fmt: skip


def test_every_region_has_volumes_a_day_and_the_default_instance_type() -> None:
    assert tuple(ON_DEMAND) == tuple(price_table()["gp3_gib_month"]) == tuple(price_table()["as_of"]) == REGIONS
    assert all("g4dn.2xlarge" in types for types in ON_DEMAND.values())
    assert all(0.07 <= usd <= 0.12 for usd in price_table()["gp3_gib_month"].values())


def test_families_have_all_their_sizes_in_us_east_1() -> None:
    """Else a launch on it could have no cap."""
    known = ON_DEMAND["us-east-1"]
    for family in ("g5", "g6", "g6e"):
        assert {name for name in known if name.startswith(f"{family}.")} == {f"{family}.{size}" for size in SIZES}
    assert {size for size in known if size.startswith("g4dn.")} == {f"g4dn.{size}" for size in (*SIZES[:6], "metal")}


def pairs() -> Iterator[tuple[str, str, float]]:
    for region, types in ON_DEMAND.items():
        for name, usd in types.items():
            yield region, name, usd


@pytest.mark.parametrize(("region", "name", "usd"), [*pairs()])
def test_a_price_is_within_what_a_region_adds_to_that_of_us_east_1(region: str, name: str, usd: float) -> None:
    assert re.fullmatch(r"[a-z0-9-]+\.([0-9]*xlarge|large|medium|small|micro|nano|metal)", name)
    assert 0.005 <= usd < 150
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
