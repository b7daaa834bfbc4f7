"""SNS as Notifier."""

from __future__ import annotations

import json
from typing import Any

from chronos_ec2.aws.errors import translated
from chronos_ec2.domain.messages import Message


class SnsNotifier:
    """One topic."""

    def __init__(self, client: Any, topic_arn: str) -> None:
        self._sns = client
        self._topic_arn = topic_arn

    def publish(self, message: Message) -> None:
        """Send a message. Raises ServiceUnavailable."""
        # SNS takes ASCII subjects of fewer than 100 characters.
        subject = message.subject.encode("ascii", "replace").decode()[:99]
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
        bodies = json.dumps(_bodies(message), ensure_ascii=False)
        with translated("publish a message"):
            self._sns.publish(
                TopicArn=self._topic_arn,
                Subject=subject,
                Message=bodies,
                MessageStructure="json",
                MessageAttributes=attributes,
            )


def _bodies(message: Message) -> dict[str, str]:
    """The body for each protocol: e-mail and SMS for people, https for chat, the rest for programs."""
    chat, document = (json.dumps(body, ensure_ascii=False) for body in (message.chat, message.document))
    programs = dict.fromkeys(("http", "lambda", "sqs", "firehose"), document)
    return {"default": message.body, "sms": message.subject, "https": chat} | programs
