"""The prices of AWS: the Price List API, and EC2's spot prices. ports.Prices documents the methods."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from chronos_ec2.aws.clients import PAGES
from chronos_ec2.aws.errors import translated
from chronos_ec2.ports import Price

_NEAREST = (("eu-", "eu-central-1"), ("me-", "eu-central-1"), ("af-", "eu-central-1"), ("ap-", "ap-south-1"))
"""The API answers in three regions, of which every one knows the prices of all; us-east-1 is the third."""
_HIGHEST = 10_000.0
"""USD per hour. What costs more, or nothing, is no price but a product that our filters do not tell apart."""
_LOOK_BACK = timedelta(hours=1)
"""For a spot price the clock of this machine may be off by minutes; of each zone the latest entry counts."""


class AwsPrices:
    """What AWS says now. `client` makes the client of a service in a region."""

    def __init__(self, client: Callable[[str, str], Any]) -> None:
        self._client = client

    def on_demand(self, region: str, instance_type: str) -> Price | None:
        """An hour of an instance on demand, with Linux and without its volume."""
        metal = ".metal" in instance_type
        return self._highest(
            region, f"the price of {instance_type}", "AmazonEC2",
            instanceType=instance_type, operatingSystem="Linux", preInstalledSw="NA", capacitystatus="Used",
            marketoption="OnDemand", tenancy="Dedicated" if metal else "Shared",
        )  # fmt: skip

    def spot(self, region: str, instance_type: str) -> dict[str, Price]:
        """An hour of an instance with spot capacity now, by availability zone."""
        now = datetime.now(UTC)
        latest: dict[str, tuple[datetime, float]] = {}
        with translated(f"read the spot price of {instance_type}"):
            pages = self._client("ec2", region).get_paginator("describe_spot_price_history")
            for page in pages.paginate(
                InstanceTypes=[instance_type],
                ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
                StartTime=now - _LOOK_BACK,
                PaginationConfig=PAGES,
            ):
                for entry in page["SpotPriceHistory"]:
                    zone, usd = entry["AvailabilityZone"], _usd(entry["SpotPrice"])
                    if usd is not None and (zone not in latest or latest[zone][0] <= entry["Timestamp"]):
                        latest[zone] = entry["Timestamp"], usd
        return {zone: Price(usd, now.date(), live=True) for zone, (_, usd) in sorted(latest.items())}

    def gib_month(self, region: str) -> Price | None:
        """A GiB-month of a gp3 volume."""
        return self._highest(region, "the price of gp3", "AmazonEC2", productFamily="Storage", volumeApiName="gp3")

    def public_ipv4(self, region: str) -> Price | None:
        """An hour of a public IPv4 address in use."""
        return self._highest(
            region,
            "the price of a public address",
            "AmazonVPC",
            "PublicIPv4:InUseAddress",
            group="VPCPublicIPv4Address",
        )

    def _highest(self, region: str, what: str, service: str, usage: str = "", **attributes: str) -> Price | None:
        """The highest price of the products with these attributes, so that a cap holds with any of them."""
        wanted = {"regionCode": region} | attributes
        with translated(f"read {what}"):
            pages = self._client("pricing", pricing_region(region)).get_paginator("get_products").paginate(
                ServiceCode=service,
                Filters=[{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()],
            )  # fmt: skip
            found = [
                usd
                for page in pages
                for product in map(json.loads, page["PriceList"])
                if product["product"]["attributes"].get("usagetype", "").endswith(usage)
                for usd in _prices(product)
            ]
        return Price(max(found), datetime.now(UTC).date(), live=True) if found else None


def pricing_region(region: str) -> str:
    """The region of the Price List API to ask about a region."""
    return next((nearest for prefix, nearest in _NEAREST if region.startswith(prefix)), "us-east-1")


def _prices(product: dict[str, Any]) -> Iterator[float]:
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            usd = _usd(dimension["pricePerUnit"].get("USD", ""))
            if usd is not None:
                yield usd


def _usd(text: str) -> float | None:
    try:
        usd = float(text)
    except ValueError:
        return None
    return usd if math.isfinite(usd) and 0 < usd <= _HIGHEST else None
