"""What the instance types of a launch are, what they cost now, and whether a run can use them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from chronos_ec2.bundled.instance_types import bundled_types
from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.domain.planning.instance_type import InstanceType, check_usable
from chronos_ec2.domain.planning.quota import VcpuQuota
from chronos_ec2.ports import Catalogue, Price


@dataclass(frozen=True, slots=True)
class Offer:
    """An instance type as EC2 offers it.

    Attributes:
        kind: what it is.
        on_demand: its list price.
        spot: with spot capacity, the price in each zone.
        zones: those of the stack that offer it, None if EC2 does not say.
        quota: what it needs of the account's quota, None if AWS does not say.
    """

    name: str
    kind: InstanceType | None
    on_demand: Price | None
    spot: Mapping[str, Price]
    zones: tuple[str, ...] | None = None
    quota: VcpuQuota | None = None


def find_types(
    catalogue: Catalogue, instance_types: Collection[str], allow_cpu: bool, warn: Callable[[str], None]
) -> dict[str, InstanceType]:
    """What each type is, from the list of this release if EC2 does not say. One that is in neither is left out.

    Raises:
        InvalidInput: EC2 has no such type in the region, or a run cannot use it.
    """
    try:
        found = dict(catalogue.find(instance_types))
    except (NotAllowed, ServiceUnavailable) as error:
        found = {name: bundled_types()[name] for name in instance_types if name in bundled_types()}
        warn(f"the instance types were taken from this release's list: {error}")
    for kind in found.values():
        check_usable(kind, allow_cpu=allow_cpu)
    return found
