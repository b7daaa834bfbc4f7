"""SNS as Notifier."""

from __future__ import annotations

from typing import Any

from chronos_ec2.aws.translation import translated
from chronos_ec2.domain.messages import Message


class SnsNotifier:
    """One topic."""

    def __init__(self, client: Any, topic_arn: str) -> None:
        self._sns = client
        self._topic_arn = topic_arn

    def publish(self, message: Message) -> None:
        """Send a message. Raises ServiceUnavailable."""
        # SNS takes ASCII subjects of at most 100 characters.
        subject = message.subject.encode("ascii", "replace").decode()[:100]
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
        with translated("publish a message"):
            self._sns.publish(
                TopicArn=self._topic_arn, Subject=subject, Message=message.body, MessageAttributes=attributes
            )
