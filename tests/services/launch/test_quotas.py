"""The account's vCPU quota is asked for before anything is uploaded, and a refusal by it is no lack of capacity."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.errors import CapacityUnavailable, NotAllowed, QuotaExceeded, ServiceUnavailable, UserError
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.services.launch.quotas import check_quota
from chronos_ec2.testing import Environment, Faults, MemoryAws

G, P = "L-DB2E81BA", "L-417A185B"


def warned(aws: MemoryAws, *instance_types: str) -> list[str]:
    warnings: list[str] = []
    check_quota(aws.setup_checks, instance_types, ON_DEMAND, warnings.append)
    return warnings


def test_a_new_account_has_no_quota_for_gpus_and_is_told_where_to_ask() -> None:
    aws = MemoryAws()
    aws.setup_checks.quotas[G] = 0
    with pytest.raises(QuotaExceeded, match=r"g5\.xlarge needs 8 vCPUs, and the account's quota is 0") as caught:
        warned(aws, "g5.xlarge", "g4dn.xlarge")
    assert isinstance(caught.value, UserError)
    assert G in caught.value.hint
    assert "console.aws.amazon.com/servicequotas" in caught.value.hint


def test_what_other_instances_use_is_not_there() -> None:
    aws = MemoryAws()
    aws.setup_checks.quotas[G], aws.setup_checks.vcpus_in_use[G] = 16, 9
    with pytest.raises(QuotaExceeded, match="16, of which 9 are in use"):
        warned(aws, "g5.xlarge")
    aws.setup_checks.vcpus_in_use[G] = 8
    assert warned(aws, "g5.xlarge") == []


def test_one_type_that_fits_is_enough_and_the_others_are_warned_of() -> None:
    aws = MemoryAws()
    aws.setup_checks.quotas |= {G: 8, P: 0}
    (warning,) = warned(aws, "p4d.24xlarge", "g5.xlarge")
    assert warning.startswith("p4d.24xlarge needs 8 vCPUs")
    assert P in warning


def test_a_type_with_an_unknown_quota_may_fit() -> None:
    aws = MemoryAws()
    aws.setup_checks.quotas[G] = 0
    assert warned(aws, "inf2.xlarge") == []
    assert len(warned(aws, "inf2.xlarge", "g5.xlarge")) == 1
    check_quota(aws.setup_checks, ["g5.xlarge"], SPOT, pytest.fail)


@pytest.mark.parametrize("error", [NotAllowed, ServiceUnavailable])
def test_who_may_not_ask_is_warned_and_launches(error: type[Exception]) -> None:
    faults = Faults()
    faults.fail("servicequotas:GetServiceQuota", error("not allowed to read the quotas"))
    (warning,) = warned(MemoryAws(faults), "g5.xlarge")
    assert warning == "the account's vCPU quota was not checked: not allowed to read the quotas"


def test_a_launch_beyond_the_quota_is_refused_once_a_type_and_frees_the_lane() -> None:
    env = Environment()
    env.faults.fail("ec2:RunInstances", QuotaExceeded("VcpuLimitExceeded", "ask for more"))
    with pytest.raises(QuotaExceeded, match="ask for more"):
        env.launch(instance_types=("g5.xlarge", "g6.xlarge"))
    assert [operation for operation, _ in env.faults.calls].count("fleet.launch") == 2
    env.faults.clear()
    env.launch()


def test_a_launch_beyond_the_quota_of_one_type_takes_the_next() -> None:
    env = Environment()
    env.faults.fail("ec2:RunInstances", QuotaExceeded("VcpuLimitExceeded"), times=1)
    assert env.launch(instance_types=("p4d.24xlarge", "g5.xlarge")).option.instance_type == "g5.xlarge"


def test_where_one_type_has_no_quota_and_the_other_no_capacity_it_is_the_capacity() -> None:
    env = Environment()
    env.faults.fail("ec2:RunInstances", QuotaExceeded("VcpuLimitExceeded"), times=1)
    env.fleet.no_capacity.add("g5.xlarge")
    with pytest.raises(CapacityUnavailable):
        env.launch(instance_types=("p4d.24xlarge", "g5.xlarge"))
