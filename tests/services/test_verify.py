"""What `verify` finds, and what it warns of."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.errors import ChronosError, InvalidInput, NotAllowed, ServiceUnavailable, StackNotReady
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.ports import Resource, Stack, Subscription, SubscriptionState
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.doctor.diagnosis import Health
from chronos_ec2.services.doctor.setup import check_bucket_region, check_sweep, diagnose_setup
from chronos_ec2.services.verify import Finding
from chronos_ec2.testing import Environment, Faults, MemoryAws
from chronos_ec2.testing.builders import a_stack, seconds

REGION = "us-east-1"


def test_a_lock_that_is_no_record_is_found() -> None:
    """Somebody's run may hold it."""
    env = Environment()
    env.objects.write(Lane("dev", "second").state_key, b"not a record")
    (found,) = env.findings()
    assert (found.kind, found.name, found.run_id) == ("lock", "dev/lanes/second/system-state.json", None)
    assert found.state.startswith("unreadable: ")


def test_a_lock_that_s3_does_not_return_is_found() -> None:
    env = Environment()
    env.objects.write(Lane("dev").state_key, b"{}")
    env.faults.fail("objects.read", on=Lane("dev").state_key)
    (found,) = env.findings()
    assert found.kind == "lock"
    assert found.state.startswith("unreadable: ")


def test_everything_that_costs_money_or_holds_a_lane_is_found() -> None:
    env = Environment()
    first, second = env.launch(), env.launch(lane=Lane("dev", "second"))
    env.fleet.left = {Resource("network-interface", "eni-1", "available"): None}
    env.objects.begin(upload := f"dev/{first.run_id}/models/a")
    gone = env.fleet.add({"Project": "Chronos-Training", "Environment": "dev"})
    env.fleet.move(gone, InstanceState.TERMINATED)
    findings = env.findings()
    assert {(each.kind, each.name) for each in findings if each.kind != "volume"} == {
        ("instance", f"{first.instance_id} (g4dn.2xlarge)"),
        ("instance", f"{second.instance_id} (g4dn.2xlarge)"),
        ("network-interface", "eni-1"),
        ("schedule", first.instance_id),
        ("schedule", second.instance_id),
        ("multipart-upload", upload),
        ("lock", "dev/system-state.json"),
        ("lock", "dev/lanes/second/system-state.json"),
    }
    assert Finding("lock", "dev/system-state.json", "initialization", first.run_id) in findings


def test_an_instance_that_lost_its_tags_is_found_by_its_schedule() -> None:
    env = Environment()
    launched = env.launch()
    env.fleet.untag(launched.instance_id)
    assert Finding("instance", f"{launched.instance_id} (without our tags)", "running") in env.findings()


def test_an_instance_that_is_gone_is_not_found() -> None:
    env = Environment()
    env.power_off(env.launch())
    env.sweeps(seconds(1800))
    assert env.findings() == ()


def warned(aws: MemoryAws) -> tuple[str, ...]:
    return setup_warnings(a_stack(), aws)


def setup_warnings(stack: Stack, aws: MemoryAws) -> tuple[str, ...]:
    found = diagnose_setup(stack, RunStore(aws.objects), aws.setup_checks)
    return tuple(str(each) for each in found if each.health is not Health.OK)


def test_a_stack_that_is_set_up_as_it_should_be_gets_no_warning() -> None:
    assert warned(MemoryAws()) == ()


def test_objects_among_the_locks_that_are_no_lock_are_warned_of() -> None:
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


def test_a_bucket_that_sends_no_events_is_warned_of() -> None:
    aws = MemoryAws()
    aws.setup_checks.tells = False
    (warning,) = warned(aws)
    assert "EventBridge" in warning
    assert "docs/deploying.md" in warning


@pytest.mark.parametrize(
    ("state", "words"),
    [(SubscriptionState.PENDING, "is not confirmed"), (SubscriptionState.GONE, "has no subscription")],
)
def test_each_subscription_that_receives_nothing_is_warned_of(state: SubscriptionState, words: str) -> None:
    aws = MemoryAws()
    topics = [f"arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev{suffix}" for suffix in ("", "-alarms")]
    aws.setup_checks.subscribed += [Subscription(topic, "email", "a@example.com", state) for topic in topics]
    aws.setup_checks.subscribed.append(Subscription(topics[0], "https", "https://x", SubscriptionState.CONFIRMED))
    first, second = warned(aws)
    assert first.startswith(f"email a@example.com to chronos-ec2-dev {words}")
    assert second.startswith(f"email a@example.com to chronos-ec2-dev-alarms {words}")
    again = f"aws sns subscribe --topic-arn {topics[1]} --protocol email --notification-endpoint a@example.com"
    assert again in second


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
def test_what_cannot_be_asked_is_a_warning_and_no_end_of_the_proof(call: str, error: type[ChronosError]) -> None:
    faults = Faults()
    faults.fail(call, error(f"not allowed: {call}"))
    assert warned(MemoryAws(faults)) == (f"not allowed: {call} ({error.usual_hint})",)


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
    (warning,) = setup_warnings(a_stack(status="UPDATE_IN_PROGRESS"), MemoryAws())
    assert "chronos-ec2-dev is UPDATE_IN_PROGRESS" in warning
