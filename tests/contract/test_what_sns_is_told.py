"""Which subscriber gets which body."""

from __future__ import annotations

import json
from typing import Any

from chronos_ec2.aws.sns_notifier import SnsNotifier
from chronos_ec2.domain.messages import Message

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
