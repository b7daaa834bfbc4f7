"""What is said of a bucket's notifications and of subscriptions.

moto forgets the one, and both emulators confirm every subscription at once: SNS's answer is the documented one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.setup_checks import StackSetupChecks
from chronos_ec2.ports import SetupChecks
from chronos_ec2.testing import MemoryAws
from chronos_ec2.testing.aws_server import answered, schedule_sweep, switch_sweep

TOPIC = "arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev"
SUBSCRIPTIONS = f"""\
<ListSubscriptionsByTopicResponse><ListSubscriptionsByTopicResult><Subscriptions>
<member><TopicArn>{TOPIC}</TopicArn><Protocol>email</Protocol><Endpoint>team@example.com</Endpoint>
<SubscriptionArn>PendingConfirmation</SubscriptionArn></member>
<member><TopicArn>{TOPIC}</TopicArn><Protocol>email</Protocol><Endpoint>oncall@example.com</Endpoint>
<SubscriptionArn>{TOPIC}:6b0e71bd-7e97-4d97-80ce-4a0994e55286</SubscriptionArn></member>
</Subscriptions></ListSubscriptionsByTopicResult></ListSubscriptionsByTopicResponse>"""


def setup_checks(bucket: str, topic_arns: tuple[str, ...] = (), stack: str = "chronos-ec2-dev") -> StackSetupChecks:
    return StackSetupChecks(client("s3"), client("sns"), client("scheduler"), bucket, topic_arns, stack)


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
        setup_checks(name),
        lambda: client("s3").put_bucket_notification_configuration(Bucket=name, NotificationConfiguration=on),
    )


def test_a_bucket_tells_once_that_is_switched_on(bucket: tuple[SetupChecks, Callable[[], object]]) -> None:
    checks, switch_on = bucket
    assert not checks.bucket_sends_events()
    switch_on()
    assert checks.bucket_sends_events()


@pytest.mark.usefixtures("aws")
def test_a_subscription_to_any_of_the_topics_is_named_until_somebody_has_confirmed_it() -> None:
    with answered("sns", "ListSubscriptionsByTopic", SUBSCRIPTIONS):
        unconfirmed = setup_checks("a-bucket", (TOPIC, f"{TOPIC}-alarms")).unconfirmed_subscriptions()
    assert unconfirmed == ("email team@example.com to chronos-ec2-dev",) * 2  # the answer is the same for both


@pytest.mark.usefixtures("aws")
def test_a_bucket_says_where_it_lies() -> None:
    where = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    client("s3").create_bucket(Bucket="a-bucket-elsewhere", **where)
    assert setup_checks("a-bucket-elsewhere").bucket_region() == "eu-west-1"


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
    return setup_checks("a-bucket", stack=stack), lambda state: switch_sweep(state, stack)


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
    assert not setup_checks("a-bucket", stack="no-such-stack").sweep_is_scheduled()


@pytest.mark.embedded_aws
def test_the_template_schedules_the_sweep_where_it_is_looked_for(
    embedded_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", embedded_endpoint)
    assert setup_checks("a-bucket", stack="chronos-ec2-local").sweep_is_scheduled()
