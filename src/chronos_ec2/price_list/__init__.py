"""The list prices that come with this release, in prices.toml: as Prices, and for docs/cost.md."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


class BundledPrices:
    """The prices of prices.toml. ports.Prices documents the methods."""

    def on_demand(self, region: str, instance_type: str) -> float | None:
        """An hour of an instance on demand, with Linux and without its volume."""
        found: float | None = price_table()["on_demand"].get(region, {}).get(instance_type)
        return found

    def gib_month(self, region: str) -> float | None:
        """A GiB-month of a gp3 volume."""
        found: float | None = price_table()["gp3_gib_month"].get(region)
        return found


@cache
def price_table() -> dict[str, Any]:
    """Everything in prices.toml: `sources`, `on_demand` and `gp3_gib_month` by region, `services`."""
    return tomllib.loads(files(__package__).joinpath("prices.toml").read_text())
