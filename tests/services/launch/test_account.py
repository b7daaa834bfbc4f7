"""AMI, zones and vCPU quota are asked for before anything is uploaded; a refusal by a quota is no lack of capacity."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.errors import (
    CapacityUnavailable,
    InvalidInput,
    NotAllowed,
    QuotaExceeded,
    ServiceUnavailable,
    StackNotReady,
    UserError,
)
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.ports import Image
from chronos_ec2.services.launch.account import ask_image, ask_quota, ask_zones
from chronos_ec2.testing import Environment, Faults, MemoryAws

G, P = "L-DB2E81BA", "L-417A185B"


def warned(aws: MemoryAws, *instance_types: str) -> list[str]:
    warnings: list[str] = []
    ask_quota(aws.setup_checks, instance_types, ON_DEMAND, warnings.append)
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
    ask_quota(aws.setup_checks, ["g5.xlarge"], SPOT, pytest.fail)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image("ami-1"), "AMI ami-1 of the stack does not exist any more"),
        (Image("ami-1", "pending"), "AMI ami-1 of the stack is pending"),
    ],
)
def test_a_stack_whose_image_cannot_start_is_not_ready(image: Image, words: str) -> None:
    aws = MemoryAws()
    ask_image(aws.launch_checks, "dev", pytest.fail)
    aws.launch_checks.template_image = image
    with pytest.raises(StackNotReady, match=words) as caught:
        ask_image(aws.launch_checks, "dev", pytest.fail)
    assert "sam deploy" in caught.value.hint


def test_types_that_no_zone_of_the_stack_offers_are_refused_and_some_of_them_warned_of() -> None:
    aws, warnings = MemoryAws(), list[str]()
    aws.launch_checks.missing = {"p5.48xlarge": {*aws.launch_checks.stack_zones}, "g6.xlarge": {"us-east-1b"}}
    found = ask_zones(aws.launch_checks, ["p5.48xlarge", "g6.xlarge"], warnings.append)
    assert found
    assert found.offering["g6.xlarge"] == ("us-east-1a", "us-east-1c")
    assert warnings == ["p5.48xlarge is offered in none of the stack's zones us-east-1a, us-east-1b, us-east-1c"]
    with pytest.raises(InvalidInput, match=r"p5\.48xlarge is offered in none of the stack's zones") as caught:
        ask_zones(aws.launch_checks, ["p5.48xlarge"], warnings.append)
    assert "docs/deploying.md#zones" in caught.value.hint


@pytest.mark.parametrize("error", [NotAllowed, ServiceUnavailable])
def test_who_may_not_ask_for_image_and_zones_is_warned_and_launches(error: type[Exception]) -> None:
    faults, warnings = Faults(), list[str]()
    faults.fail("ec2:Describe*", error("not allowed"))
    checks = MemoryAws(faults).launch_checks
    ask_image(checks, "dev", warnings.append)
    assert ask_zones(checks, ["g5.xlarge"], warnings.append) is None
    assert warnings == ["the stack's AMI was not checked: not allowed", "the zones were not checked: not allowed"]


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
    env.faults.fail("ec2:RunInstances", QuotaExceeded("VcpuLimitExceeded", "ask for more"), times=1)
    assert env.launch(instance_types=("p4d.24xlarge", "g5.xlarge")).option.instance_type == "g5.xlarge"


def test_where_one_type_has_no_quota_and_the_other_no_capacity_it_is_the_capacity() -> None:
    env = Environment()
    env.faults.fail("ec2:RunInstances", QuotaExceeded("VcpuLimitExceeded", "ask for more"), times=1)
    env.fleet.no_capacity.add("g5.xlarge")
    with pytest.raises(CapacityUnavailable):
        env.launch(instance_types=("p4d.24xlarge", "g5.xlarge"))
