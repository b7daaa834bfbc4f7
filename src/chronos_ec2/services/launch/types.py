"""What the instance types of a launch are, and whether a run can use them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from chronos_ec2.bundled.instance_types import bundled_types
from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.domain.planning.instance_type import InstanceType, check_usable
from chronos_ec2.ports import Catalogue


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
