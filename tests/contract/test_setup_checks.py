"""What is said of a bucket's notifications, of subscriptions, alarms and quotas.

moto forgets the one, and both emulators confirm every subscription at once: SNS's answer is the documented one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.scheduler_deadlines import SchedulerDeadlines
from chronos_ec2.aws.setup_checks import StackSetupChecks
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.ports import Alarm, AlarmState, SetupChecks, SubscriptionState
from chronos_ec2.testing import MemoryAws
from chronos_ec2.testing.aws_answers import answered
from chronos_ec2.testing.aws_server import schedule_sweep, switch_sweep

TOPIC = "arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev"
ALARMS = f"{TOPIC}-alarms"
CONFIRMED, PENDING, GONE = SubscriptionState.CONFIRMED, SubscriptionState.PENDING, SubscriptionState.GONE


def listed(*subscriptions: tuple[str, str]) -> str:
    """SNS's answer: address and ARN of each subscription."""
    members = "".join(
        f"<member><TopicArn>{TOPIC}</TopicArn><Protocol>email</Protocol><Endpoint>{address}</Endpoint>"
        f"<SubscriptionArn>{arn}</SubscriptionArn></member>"
        for address, arn in subscriptions
    )
    return (
        "<ListSubscriptionsByTopicResponse><ListSubscriptionsByTopicResult><Subscriptions>"
        f"{members}</Subscriptions></ListSubscriptionsByTopicResult></ListSubscriptionsByTopicResponse>"
    )


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded_aws)])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[SetupChecks, Callable[[], object]]:
    """The wiring of a new bucket, and what switches its notifications on."""
    if request.param == "memory":
        memory = MemoryAws().setup_checks
        memory.tells = False
        return memory, lambda: setattr(memory, "tells", True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("embedded_endpoint"))
    name, on = f"wiring-{uuid.uuid4().hex[:8]}", {"EventBridgeConfiguration": {}}
    client("s3").create_bucket(Bucket=name)
    return (
        StackSetupChecks(client, name),
        lambda: client("s3").put_bucket_notification_configuration(Bucket=name, NotificationConfiguration=on),
    )


def test_a_bucket_sends_events_once_they_are_turned_on(bucket: tuple[SetupChecks, Callable[[], object]]) -> None:
    checks, switch_on = bucket
    assert not checks.bucket_sends_events()
    switch_on()
    assert checks.bucket_sends_events()


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("found", "address", "expected"),
    [
        ([("team@example.com", f"{TOPIC}:6b0e")], "team@example.com", {"team@example.com": CONFIRMED}),
        ([("team@example.com", f"{TOPIC}:6b0e")], "Team@Example.com", {"team@example.com": CONFIRMED}),
        ([("team@example.com", "PendingConfirmation")], "team@example.com", {"team@example.com": PENDING}),
        # Not confirmed within two days: for a while SNS still lists it so, then no more.
        ([("team@example.com", "Deleted")], "team@example.com", {"team@example.com": GONE}),
        ([], "team@example.com", {"team@example.com": GONE}),
        (
            [("ann@example.com", f"{TOPIC}:6b0e"), ("bob@example.com", "PendingConfirmation")],
            "team@example.com",
            {"ann@example.com": CONFIRMED, "bob@example.com": PENDING, "team@example.com": GONE},
        ),
        ([("left@example.com", "Deleted")], "", {}),
        ([], "", {}),
    ],
)
def test_of_each_topic_every_subscription_is_named_and_that_of_the_stack_even_if_it_is_gone(
    found: list[tuple[str, str]], address: str, expected: dict[str, SubscriptionState]
) -> None:
    with answered("sns", "ListSubscriptionsByTopic", listed(*found)):
        seen = StackSetupChecks(client, "a-bucket", (TOPIC, ALARMS), address).subscriptions()
    for topic in (TOPIC, ALARMS):  # the answer is the same for both
        assert {each.endpoint: each.state for each in seen if each.topic_arn == topic} == expected


def subscribed(count: int) -> str:
    topic = str(client("sns").create_topic(Name=f"many-{uuid.uuid4().hex[:8]}")["TopicArn"])
    for number in range(count):
        client("sns").subscribe(TopicArn=topic, Protocol="https", Endpoint=f"https://example.com/{number}")
    return topic


@pytest.mark.usefixtures("aws")
def test_more_subscriptions_than_a_page_holds_are_all_named() -> None:
    topic = subscribed(120)
    seen = StackSetupChecks(client, "a-bucket", (topic,)).subscriptions()
    assert {each.endpoint for each in seen} == {f"https://example.com/{number}" for number in range(120)}


def quota_is(value: float) -> AbstractContextManager[None]:
    return answered("service-quotas", "GetServiceQuota", json.dumps({"Quota": {"Value": value}}))


@pytest.mark.usefixtures("aws")
class TestVcpuQuotas:
    def run(self, instance_type: str, count: int, **words: Any) -> None:
        client("ec2").run_instances(
            ImageId="ami-12c6146b", MinCount=count, MaxCount=count, InstanceType=instance_type, **words
        )

    def test_a_type_needs_its_vcpus_of_what_the_accounts_instances_leave(self) -> None:
        self.run("g4dn.xlarge", 2)
        self.run("m5.xlarge", 1)  # of another quota
        with quota_is(64):
            small, large = StackSetupChecks(client, "b").vcpu_quotas(["g5.xlarge", "g5.12xlarge"], ON_DEMAND)
        assert (small.vcpus, large.vcpus) == (4, 48)
        assert small.quota.code == large.quota.code == "L-DB2E81BA"
        assert small.limit == 64
        assert small.used == large.used == 2 * 4

    def test_spot_instances_count_against_a_quota_of_their_own(self) -> None:
        self.run("g4dn.xlarge", 1, InstanceMarketOptions={"MarketType": "spot"})
        self.run("g4dn.xlarge", 2)
        with quota_is(64):
            (spot,) = StackSetupChecks(client, "b").vcpu_quotas(["g5.xlarge"], SPOT)
            (on_demand,) = StackSetupChecks(client, "b").vcpu_quotas(["g5.xlarge"], ON_DEMAND)
        assert (spot.quota.code, spot.used) == ("L-3819A6DF", 4)
        assert (on_demand.quota.code, on_demand.used) == ("L-DB2E81BA", 8)

    def test_an_instance_that_has_ended_does_not_count(self) -> None:
        self.run("g4dn.xlarge", 1)
        listed = client("ec2").describe_instances()["Reservations"]
        client("ec2").terminate_instances(InstanceIds=[each["Instances"][0]["InstanceId"] for each in listed])
        with quota_is(64):
            (found,) = StackSetupChecks(client, "b").vcpu_quotas(["g5.xlarge"], ON_DEMAND)
        assert found.used == 0

    def test_a_quota_that_the_region_does_not_have_is_unknown(self) -> None:
        assert StackSetupChecks(client, "b").vcpu_quotas(["g5.xlarge"], ON_DEMAND) == ()  # moto has none of EC2

    def test_a_type_that_ec2_does_not_have_is_the_users_error(self) -> None:
        with pytest.raises(InvalidInput, match=r"instance type.*g5.xlrge"):
            StackSetupChecks(client, "b").vcpu_quotas(["g5.xlrge"], ON_DEMAND)


@pytest.mark.usefixtures("aws")
def test_a_bucket_says_where_it_lies() -> None:
    where = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    client("s3").create_bucket(Bucket="a-bucket-elsewhere", **where)
    assert StackSetupChecks(client, "a-bucket-elsewhere").bucket_region() == "eu-west-1"


@pytest.fixture(params=["memory", "moto", pytest.param("embedded", marks=pytest.mark.embedded_aws)])
def sweep(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[SetupChecks, Callable[[str], None]]:
    """A stack whose sweep is scheduled, and what switches the schedule on and off."""
    if request.param == "memory":
        memory = MemoryAws().setup_checks
        return memory, lambda state: setattr(memory, "sweeps", state == "ENABLED")
    endpoint = request.getfixturevalue("aws" if request.param == "moto" else "embedded_endpoint")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    stack = f"sweeping-{uuid.uuid4().hex[:8]}"
    schedule_sweep(stack)
    return StackSetupChecks(client, "a-bucket", stack=stack), lambda state: switch_sweep(state, stack)


def test_a_sweep_is_scheduled_unless_somebody_has_switched_it_off(
    sweep: tuple[SetupChecks, Callable[[str], None]],
) -> None:
    checks, switch = sweep
    assert checks.sweep_is_scheduled()
    switch("DISABLED")
    assert not checks.sweep_is_scheduled()
    switch("ENABLED")
    assert checks.sweep_is_scheduled()


@pytest.mark.usefixtures("aws")
def test_a_schedule_that_is_gone_runs_no_sweep() -> None:
    assert not StackSetupChecks(client, "a-bucket", stack="no-such-stack").sweep_is_scheduled()


@pytest.mark.embedded_aws
def test_the_template_schedules_the_sweep_where_it_is_looked_for(
    embedded_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", embedded_endpoint)
    assert StackSetupChecks(client, "a-bucket", stack="chronos-ec2-local").sweep_is_scheduled()


@pytest.mark.usefixtures("aws")
def test_a_schedule_group_that_is_gone_with_half_a_stack_has_no_schedules() -> None:
    gone = json.dumps({"__type": "ResourceNotFoundException", "Message": "Schedule group dev does not exist."})
    with answered("scheduler", "ListSchedules", gone, 404):
        assert SchedulerDeadlines(client("scheduler"), "dev", "arn:aws:iam::123456789012:role/any").scheduled() == {}


@pytest.fixture(params=["memory", "moto", pytest.param("embedded", marks=pytest.mark.embedded_aws)])
def alarmed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SetupChecks:
    """A stack with an alarm that tells somebody and one whose actions are switched off, beside another stack's."""
    if request.param == "memory":
        memory = MemoryAws().setup_checks
        memory.alarmed = [
            Alarm("alarmed-leak", AlarmState.ALARM, tells=True),
            Alarm("alarmed-silent", AlarmState.OK, tells=False),
        ]
        return memory
    endpoint = request.getfixturevalue("aws" if request.param == "moto" else "embedded_endpoint")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    cloudwatch = client("cloudwatch")
    for name, tells, state in (
        ("alarmed-leak", True, "ALARM"), ("alarmed-silent", False, "OK"), ("alarmed2-leak", True, "OK"),
    ):  # fmt: skip
        cloudwatch.put_metric_alarm(
            AlarmName=name, ActionsEnabled=tells, AlarmActions=[ALARMS], MetricName="Errors", Namespace="AWS/Lambda",
            Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=0, ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")
    return StackSetupChecks(client, "a-bucket", stack="alarmed")


def test_the_alarms_of_the_stack_are_named_with_their_state_and_whether_they_tell_anybody(
    alarmed: SetupChecks,
) -> None:
    assert sorted(alarmed.alarms(), key=lambda alarm: alarm.name) == [
        Alarm("alarmed-leak", AlarmState.ALARM, tells=True),
        Alarm("alarmed-silent", AlarmState.OK, tells=False),
    ]
