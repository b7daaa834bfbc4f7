"""The price of an instance hour, as a launch writes it into the record: instance, root volume, public address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TypeVar

from chronos_ec2.domain.errors import InvalidInput, NoCredentials, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.planning.cost import PUBLIC_IPV4_USD_PER_HOUR, with_volume_and_address
from chronos_ec2.ports import Price, Prices

ROOT_VOLUME_GIB = 100
"""The root volume of template.yaml, unless a stack has another."""
_GIB_MONTH_USD = 0.16
"""Of gp3 where a region's price is not known: above that of every region, so that a cap holds."""
_T = TypeVar("_T")
_NO_ANSWER = (ServiceUnavailable, NotAllowed, NoCredentials)
"""The last is the answer about the credentials of another partition, which the Price List API does not have."""


class CurrentPrices:
    """The prices of `current`, and of `listed` where `current` does not tell. What has failed once is not asked again.

    ports.Prices documents the methods; none of these raises.
    """

    def __init__(self, current: Prices, listed: Prices) -> None:
        self._current = current
        self._listed = listed
        self._failed: set[str] = set()
        self._on_demand = cache(self._either(lambda prices, region, kind: prices.on_demand(region, kind)))
        self._gib_month = cache(self._either(lambda prices, region, _: prices.gib_month(region)))
        self._address = cache(self._either(lambda prices, region, _: prices.public_ipv4(region)))

    def on_demand(self, region: str, instance_type: str) -> Price | None:
        """An hour of an instance on demand, with Linux and without its volume."""
        return self._on_demand(region, instance_type)

    def spot(self, region: str, instance_type: str) -> Mapping[str, Price]:
        """An hour of an instance with spot capacity now, by availability zone."""
        return self._ask("spot", lambda: self._current.spot(region, instance_type)) or {}

    def gib_month(self, region: str) -> Price | None:
        """A GiB-month of a gp3 volume."""
        return self._gib_month(region)

    def public_ipv4(self, region: str) -> Price | None:
        """An hour of a public IPv4 address in use."""
        return self._address(region)

    def _either(self, look: Callable[[Prices, str, str], Price | None]) -> Callable[..., Price | None]:
        def price(region: str, instance_type: str = "") -> Price | None:
            found = self._ask("list", lambda: look(self._current, region, instance_type))
            return found or look(self._listed, region, instance_type)

        return price

    def _ask(self, api: str, ask: Callable[[], _T]) -> _T | None:
        if api in self._failed:
            return None
        try:
            return ask()
        except _NO_ANSWER:
            self._failed.add(api)
            return None


def hourly_price(prices: Prices, region: str, instance_type: str, volume_gib: int = ROOT_VOLUME_GIB) -> float | None:
    """USD per hour at list prices, None if the instance's is not known."""
    instance = prices.on_demand(region, instance_type)
    return None if instance is None else at_price(instance.usd, prices, region, volume_gib)


def at_price(instance_usd: float, prices: Prices, region: str, volume_gib: int) -> float:
    """USD per hour if the instance alone costs this much."""
    gib_month, address = prices.gib_month(region), prices.public_ipv4(region)
    return with_volume_and_address(
        instance_usd,
        volume_gib,
        gib_month.usd if gib_month else _GIB_MONTH_USD,
        address.usd if address else PUBLIC_IPV4_USD_PER_HOUR,
    )


def list_prices(prices: Prices, region: str, instance_types: Iterable[str], volume_gib: int) -> dict[str, float]:
    """USD per hour by instance type; types without a known price are left out."""
    found = {kind: hourly_price(prices, region, kind, volume_gib) for kind in instance_types}
    return {kind: price for kind, price in found.items() if price is not None}


def check_cap(instance_types: Iterable[str], prices: Mapping[str, float], cap_usd: float | None) -> None:
    """Raise InvalidInput for a cap that cannot be kept, because the price of an instance type is not known."""
    unknown = [kind for kind in instance_types if kind not in prices]
    if unknown and cap_usd is not None:
        raise InvalidInput("--max-cost", f"the price of {unknown[0]} in this region is not known", "give --price")
