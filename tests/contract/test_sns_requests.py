"""Which subscriber gets which message, and which body."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.sns_notifier import SnsNotifier
from chronos_ec2.domain.messages import Incident, Kind, Message, StackLocation, compose
from chronos_ec2.testing.builders import LANE, NOW, RUN_ID, a_run

MESSAGE = Message("a subject", "for people\n", {"kind": "failed"}, {"version": "1.0"}, {"schema_version": 1})


class Sns:
    """A client that remembers what it was asked to publish."""

    def publish(self, **words: Any) -> None:
        self.published = words


def test_people_read_text_chats_get_a_card_and_programs_a_document() -> None:
    sns = Sns()
    SnsNotifier(sns, "arn:aws:sns:us-east-1:123456789012:t").publish(MESSAGE)
    assert sns.published["MessageStructure"] == "json"
    bodies = json.loads(sns.published["Message"])
    assert (bodies.pop("default"), bodies.pop("sms")) == ("for people\n", "a subject")
    assert json.loads(bodies.pop("https")) == {"version": "1.0"}
    assert bodies.keys() == {"http", "lambda", "sqs", "firehose"}
    assert all(json.loads(body) == {"schema_version": 1} for body in bodies.values())
    assert sns.published["MessageAttributes"] == {"kind": {"DataType": "String", "StringValue": "failed"}}


@pytest.mark.parametrize("length", [1, 98, 99, 100, 101, 200])
@pytest.mark.parametrize("character", ["x", "é"])
def test_a_subject_is_ascii_of_fewer_than_100_characters(character: str, length: int) -> None:
    sns = Sns()
    SnsNotifier(sns, "arn:aws:sns:us-east-1:123456789012:t").publish(replace(MESSAGE, subject=character * length))
    assert sns.published["Subject"] == ("x" if character == "x" else "?") * min(length, 99)


@pytest.mark.parametrize("aws", ["moto_endpoint", pytest.param("embedded_endpoint", marks=pytest.mark.embedded_aws)])
def test_a_subscriber_with_a_filter_gets_only_what_it_asked_for(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, aws: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue(aws))
    sns, name = client("sns"), f"filters-{uuid.uuid4().hex[:8]}"
    topic = sns.create_topic(Name=name)["TopicArn"]
    queues = {kind: subscribed(topic, f"{name}-{kind}", {"kind": [kind]}) for kind in Kind}
    awake = subscribed(topic, f"{name}-awake", {"severity": ["error", "critical"]})
    prod = subscribed(topic, f"{name}-prod", {"environment": ["prod"]})
    for kind in Kind:
        incident = Incident(kind, LANE, RUN_ID, "what happened", a_run())
        SnsNotifier(sns, topic).publish(compose(incident, StackLocation.of(topic, "a-bucket"), NOW))
    assert {kind: heard(queue) for kind, queue in queues.items()} == {kind: {kind} for kind in Kind}
    assert heard(awake) == {Kind.FAILED, Kind.STUCK, Kind.OVER_BUDGET, Kind.ORPHAN, Kind.LEAK, Kind.LIMIT}
    assert heard(prod) == set()


@pytest.mark.parametrize("aws", ["moto_endpoint", pytest.param("embedded_endpoint", marks=pytest.mark.embedded_aws)])
@pytest.mark.parametrize("text", ["x" * 300_000, "é\U0001f600" * 40_000, '"\\' * 60_000, "\ud800" * 90_000])
def test_a_message_that_is_too_long_arrives_shortened(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, aws: str, text: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue(aws))
    name = f"long-{uuid.uuid4().hex[:8]}"
    topic = client("sns").create_topic(Name=name)["TopicArn"]
    queue = subscribed(topic, name, {"kind": ["failed"]})
    document = {"kind": "failed", "text": text, "refusals": [text] * 40}
    long = Message(text, text, {"kind": "failed"}, {"content": {"description": text}}, document)
    SnsNotifier(client("sns"), topic).publish(long)
    assert heard(queue) == {"failed"}


def test_a_message_that_fits_is_not_shortened() -> None:
    sns, text = Sns(), "x" * 20_000
    SnsNotifier(sns, "arn:aws:sns:us-east-1:123456789012:t").publish(replace(MESSAGE, document={"text": text}))
    assert json.loads(json.loads(sns.published["Message"])["sqs"]) == {"text": text}


def subscribed(topic: str, name: str, policy: Mapping[str, list[str]]) -> str:
    """A queue that hears of what the filter policy lets through."""
    url = str(client("sqs").create_queue(QueueName=name)["QueueUrl"])
    arn = client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    attributes = {"FilterPolicy": json.dumps(policy)}
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
    return url


def heard(queue: str) -> set[str]:
    """The kinds of the messages in a queue."""
    found = client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return {json.loads(json.loads(message["Body"])["Message"])["kind"] for message in found}
