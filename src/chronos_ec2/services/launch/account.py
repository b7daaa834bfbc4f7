"""Ask AWS before anything is uploaded whether an instance can start: the AMI, the zones, the account's vCPU quota."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chronos_ec2.domain.errors import InvalidInput, NotAllowed, QuotaExceeded, ServiceUnavailable, StackNotReady
from chronos_ec2.domain.planning.quota import VcpuQuota
from chronos_ec2.domain.planning.zones import Zones
from chronos_ec2.domain.records.capacity import Market
from chronos_ec2.domain.stack_status import deploy_command
from chronos_ec2.ports import Image, LaunchChecks, SetupChecks


def check_image(image: Image, environment: str) -> None:
    """Raise StackNotReady for an AMI from which no instance can start."""
    if not image.available:
        problem = f"is {image.state}" if image.state else "does not exist any more"
        remedy = f"{deploy_command(environment)} reads the current one from the parameter that ImageIdParameter names"
        raise StackNotReady(f"AMI {image.image_id} of the stack {problem}", remedy)


def check_zones(zones: Zones, instance_types: Sequence[str], warn: Callable[[str], None]) -> None:
    """Raise InvalidInput if no zone of the stack offers any of the types; `warn` of those that none offers."""
    without = zones.without(instance_types)
    where = f"none of the stack's zones {', '.join(zones.stack)}"
    if len(without) == len(instance_types):
        remedy = "launch another type, or deploy with other Zones (docs/deploying.md#zones)"
        raise InvalidInput("instance type", f"{' and '.join(without)} is offered in {where}", remedy)
    for kind in without:
        warn(f"{kind} is offered in {where}")


def ask_zones(launch_checks: LaunchChecks, instance_types: Sequence[str], warn: Callable[[str], None]) -> Zones | None:
    """The zones of the stack, after `check_zones`; None without an answer, because EC2 asks again at the launch."""
    try:
        found = launch_checks.zones(instance_types)
    except (NotAllowed, ServiceUnavailable) as error:
        warn(f"the zones were not checked: {error}")
        return None
    check_zones(found, instance_types, warn)
    return found


def ask_image(launch_checks: LaunchChecks, environment: str, warn: Callable[[str], None]) -> None:
    """`check_image` of the stack's AMI; without an answer the launch goes on, because EC2 asks again."""
    try:
        image = launch_checks.image()
    except (NotAllowed, ServiceUnavailable) as error:
        warn(f"the stack's AMI was not checked: {error}")
        return
    check_image(image, environment)


def ask_quota(
    setup_checks: SetupChecks, instance_types: Sequence[str], market: Market, warn: Callable[[str], None]
) -> tuple[VcpuQuota, ...]:
    """What each type needs of the account's quota, as far as AWS says; `warn` of those that do not fit.

    Without an answer the launch goes on, because EC2 asks again.

    Raises:
        InvalidInput: EC2 has no such type in the region.
        QuotaExceeded: the quota allows none of the types; the text names it and where to ask for more.
    """
    try:
        found = setup_checks.vcpu_quotas(instance_types, market)
    except (NotAllowed, ServiceUnavailable) as error:
        warn(f"the account's vCPU quota was not checked: {error}")
        return ()
    refused = {each.instance_type: (each.problem, each.quota.remedy) for each in found if each.problem}
    if refused.keys() >= set(instance_types):
        problem, remedy = refused[instance_types[0]]
        raise QuotaExceeded(problem, remedy)
    for problem, remedy in refused.values():
        warn(f"{problem}; {remedy}")
    return found
