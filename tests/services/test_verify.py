"""What `verify` warns of; what it proves is in the lives of runs."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.errors import InvalidInput, NotAllowed, ServiceUnavailable, StackNotReady
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.verify import check_bucket_region, check_sweep, setup_warnings
from chronos_ec2.testing import Faults, MemoryAws
from chronos_ec2.testing.builders import a_stack

REGION = "us-east-1"


def warned(aws: MemoryAws) -> tuple[str, ...]:
    return setup_warnings(a_stack(), RunStore(aws.objects), aws.setup_checks)


def test_a_stack_that_is_set_up_as_it_should_be_gets_no_warning() -> None:
    assert warned(MemoryAws()) == ()


def test_what_lies_among_the_locks_and_is_no_lanes_is_warned_of() -> None:
    aws = MemoryAws()
    aws.objects.write("dev/lanes/Upper/system-state.json", b"{}")
    (warning,) = warned(aws)
    assert warning.startswith("dev/lanes/Upper/: not the lock of a lane")
    assert "move it elsewhere" in warning
    for number in range(9):
        aws.objects.write(f"dev/lanes/B{number}\n/system-state.json", b"{}")
    (warning,) = warned(aws)
    assert "and 5 more" in warning
    assert warning.isprintable()


def test_a_bucket_that_does_not_tell_of_its_objects_is_warned_of() -> None:
    aws = MemoryAws()
    aws.setup_checks.tells = False
    (warning,) = warned(aws)
    assert "EventBridge" in warning
    assert "docs/deploying.md" in warning


def test_each_subscription_that_is_not_confirmed_is_warned_of() -> None:
    aws = MemoryAws()
    aws.setup_checks.pending += [
        "email a@example.com to chronos-ec2-dev",
        "email b@example.com to chronos-ec2-dev-alarms",
    ]
    first, second = warned(aws)
    assert first.startswith("email a@example.com to chronos-ec2-dev is not confirmed")
    assert second.startswith("email b@example.com to chronos-ec2-dev-alarms is not confirmed")


@pytest.mark.parametrize("error", [NotAllowed, ServiceUnavailable])
@pytest.mark.parametrize(
    "call",
    [
        "scheduler:GetSchedule",
        "s3:HeadBucket",
        "s3:GetBucketNotification",
        "sns:ListSubscriptionsByTopic",
        "s3:ListBucket",
    ],
)
def test_what_cannot_be_asked_is_a_warning_and_no_end_of_the_proof(call: str, error: type[Exception]) -> None:
    faults = Faults()
    faults.fail(call, error(f"not allowed: {call}"))
    assert warned(MemoryAws(faults)) == (f"not allowed: {call}",)


def test_a_bucket_in_another_region_is_warned_of_and_nothing_is_launched_on_it() -> None:
    aws = MemoryAws()
    for aws.setup_checks.region in (None, REGION):
        check_bucket_region(aws.setup_checks, REGION)
    aws.setup_checks.region = "eu-west-1"
    (warning,) = warned(aws)
    assert "bucket: is in eu-west-1, the stack in us-east-1" in warning
    with pytest.raises(InvalidInput, match="eu-west-1"):
        check_bucket_region(aws.setup_checks, REGION)


def test_a_sweep_that_does_not_run_is_warned_of_and_nothing_is_launched_beside_it() -> None:
    aws = MemoryAws()
    check_sweep(aws.setup_checks)
    aws.setup_checks.sweeps = False
    (warning,) = warned(aws)
    assert "switched off or deleted" in warning
    with pytest.raises(StackNotReady, match="nothing ends a run"):
        check_sweep(aws.setup_checks)


def test_a_stack_that_is_being_changed_is_warned_of() -> None:
    (warning,) = setup_warnings(
        a_stack(status="UPDATE_IN_PROGRESS"), RunStore(MemoryAws().objects), MemoryAws().setup_checks
    )
    assert "chronos-ec2-dev is UPDATE_IN_PROGRESS" in warning
