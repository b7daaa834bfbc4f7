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
from chronos_ec2.testing.aws_server import answered

TOPIC = "arn:aws:sns:us-east-1:123456789012:chronos-ec2-dev"
SUBSCRIPTIONS = f"""\
<ListSubscriptionsByTopicResponse><ListSubscriptionsByTopicResult><Subscriptions>
<member><TopicArn>{TOPIC}</TopicArn><Protocol>email</Protocol><Endpoint>team@example.com</Endpoint>
<SubscriptionArn>PendingConfirmation</SubscriptionArn></member>
<member><TopicArn>{TOPIC}</TopicArn><Protocol>email</Protocol><Endpoint>oncall@example.com</Endpoint>
<SubscriptionArn>{TOPIC}:6b0e71bd-7e97-4d97-80ce-4a0994e55286</SubscriptionArn></member>
</Subscriptions></ListSubscriptionsByTopicResult></ListSubscriptionsByTopicResponse>"""


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded_aws)])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[SetupChecks, Callable[[], object]]:
    """The wiring of a new bucket, and what switches its notifications on."""
    if request.param == "memory":
        setup_checks = MemoryAws().setup_checks
        setup_checks.tells = False
        return setup_checks, lambda: setattr(setup_checks, "tells", True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("embedded_endpoint"))
    name, on = f"wiring-{uuid.uuid4().hex[:8]}", {"EventBridgeConfiguration": {}}
    client("s3").create_bucket(Bucket=name)
    return (
        StackSetupChecks(client("s3"), client("sns"), name, ()),
        lambda: client("s3").put_bucket_notification_configuration(Bucket=name, NotificationConfiguration=on),
    )


def test_a_bucket_tells_once_that_is_switched_on(bucket: tuple[SetupChecks, Callable[[], object]]) -> None:
    setup_checks, switch_on = bucket
    assert not setup_checks.bucket_sends_events()
    switch_on()
    assert setup_checks.bucket_sends_events()


@pytest.mark.usefixtures("aws")
def test_a_subscription_to_any_of_the_topics_is_named_until_somebody_has_confirmed_it() -> None:
    with answered("sns", "ListSubscriptionsByTopic", SUBSCRIPTIONS):
        unconfirmed = StackSetupChecks(
            client("s3"), client("sns"), "a-bucket", (TOPIC, f"{TOPIC}-alarms")
        ).unconfirmed_subscriptions()
    assert unconfirmed == ("email team@example.com to chronos-ec2-dev",) * 2  # the answer is the same for both


@pytest.mark.usefixtures("aws")
def test_a_bucket_says_where_it_lies() -> None:
    where = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    client("s3").create_bucket(Bucket="a-bucket-elsewhere", **where)
    assert StackSetupChecks(client("s3"), client("sns"), "a-bucket-elsewhere", ()).bucket_region() == "eu-west-1"
