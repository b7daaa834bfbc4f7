"""Ask for the account's vCPU quota before anything is uploaded: a new account has none for GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chronos_ec2.domain.errors import NotAllowed, QuotaExceeded, ServiceUnavailable
from chronos_ec2.domain.records.capacity import Market
from chronos_ec2.ports import SetupChecks


def check_quota(
    setup_checks: SetupChecks, instance_types: Sequence[str], market: Market, warn: Callable[[str], None]
) -> None:
    """Raise QuotaExceeded if the quota allows none of the types; `warn` of those that it does not allow.

    Without an answer the launch goes on, because EC2 asks again.

    Raises:
        InvalidInput: EC2 has no such type in the region.
        QuotaExceeded: the text names the quota and where to ask for more.
    """
    try:
        found = setup_checks.vcpu_quotas(instance_types, market)
    except (NotAllowed, ServiceUnavailable) as error:
        warn(f"the account's vCPU quota was not checked: {error}")
        return
    refused = {each.instance_type: (each.problem, each.quota.remedy) for each in found if each.problem}
    if refused.keys() >= set(instance_types):
        problem, remedy = refused[instance_types[0]]
        raise QuotaExceeded(problem, remedy)
    for problem, remedy in refused.values():
        warn(f"{problem}; {remedy}")
