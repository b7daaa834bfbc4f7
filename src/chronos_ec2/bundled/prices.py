"""The list prices that come with this release, in prices.toml: as Prices, and for docs/cost.md."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from chronos_ec2.ports import Price


class BundledPrices:
    """The prices of prices.toml. ports.Prices documents the methods."""

    def on_demand(self, region: str, instance_type: str) -> Price | None:
        """An hour of an instance on demand, with Linux and without its volume."""
        return _price(region, price_table()["on_demand"].get(region, {}).get(instance_type))

    def spot(self, region: str, instance_type: str) -> dict[str, Price]:  # noqa: ARG002 - spot prices change by the hour
        """Nothing: no list has spot prices."""
        return {}

    def gib_month(self, region: str) -> Price | None:
        """A GiB-month of a gp3 volume."""
        return _price(region, price_table()["gp3_gib_month"].get(region))

    def public_ipv4(self, region: str) -> Price | None:
        """An hour of a public IPv4 address, the same in every region."""
        usd = price_table()["services"]["public_ipv4"]["usd"] if region in price_table()["as_of"] else None
        return _price(region, usd)


@cache
def price_table() -> dict[str, Any]:
    """Everything in prices.toml: `sources`, `as_of`, `on_demand` and `gp3_gib_month` by region, `services`."""
    return tomllib.loads(files(__package__).joinpath("prices.toml").read_text())


def _price(region: str, usd: float | None) -> Price | None:
    return None if usd is None else Price(usd, price_table()["as_of"][region])
