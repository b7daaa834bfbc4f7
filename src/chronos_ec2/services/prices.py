"""The price of an instance hour, as a launch writes it into the record: instance, root volume, public address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.planning.cost import with_volume_and_address
from chronos_ec2.ports import Prices

ROOT_VOLUME_GIB = 100
"""The root volume of template.yaml, unless a stack has another."""
_GIB_MONTH_USD = 0.08
"""Of gp3 in us-east-1, where a region's price is not known."""


def hourly_price(prices: Prices, region: str, instance_type: str, volume_gib: int = ROOT_VOLUME_GIB) -> float | None:
    """USD per hour at list prices, None if the instance's is not known."""
    instance_usd = prices.on_demand(region, instance_type)
    return None if instance_usd is None else at_price(instance_usd, prices, region, volume_gib)


def at_price(instance_usd: float, prices: Prices, region: str, volume_gib: int) -> float:
    """USD per hour if the instance alone costs this much."""
    gib_month_usd = prices.gib_month(region)
    return with_volume_and_address(instance_usd, volume_gib, _GIB_MONTH_USD if gib_month_usd is None else gib_month_usd)


def list_prices(prices: Prices, region: str, instance_types: Iterable[str], volume_gib: int) -> dict[str, float]:
    """USD per hour by instance type; types without a known price are left out."""
    found = {kind: hourly_price(prices, region, kind, volume_gib) for kind in instance_types}
    return {kind: price for kind, price in found.items() if price is not None}


def check_cap(instance_types: Iterable[str], prices: Mapping[str, float], cap_usd: float | None) -> None:
    """Raise InvalidInput for a cap that cannot be kept, because the price of an instance type is not known."""
    unknown = [kind for kind in instance_types if kind not in prices]
    if unknown and cap_usd is not None:
        raise InvalidInput("--max-cost", f"the price of {unknown[0]} in this region is not known", "give --price")
