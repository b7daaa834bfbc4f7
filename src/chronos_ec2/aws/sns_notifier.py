"""SNS as Notifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chronos_ec2.aws.errors import translated
from chronos_ec2.domain.messages import Message
from chronos_ec2.domain.parsing.names import one_line

_MAX_BYTES = 256 * 1024
"""SNS's limit for all bodies and attributes of a message."""
_ROOM = 4 * 1024
"""For the attributes."""
_SHORTER = (4000, 1000, 200)
"""Characters of each text in a message that is too long, tried in turn. The last fits whatever the message says."""
_MAX_ITEMS = 10


class SnsNotifier:
    """One topic."""

    def __init__(self, client: Any, topic_arn: str) -> None:
        self._sns = client
        self._topic_arn = topic_arn

    def publish(self, message: Message) -> None:
        """Send a message, shortened if SNS would refuse it. Raises ServiceUnavailable, NotAllowed."""
        # SNS takes ASCII subjects of fewer than 100 characters.
        subject = one_line(message.subject.encode("ascii", "replace").decode()[:99])
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()}
        with translated("publish a message"):
            self._sns.publish(
                TopicArn=self._topic_arn,
                Subject=subject,
                Message=_fitting(message),
                MessageStructure="json",
                MessageAttributes=attributes,
            )


def _fitting(message: Message) -> str:
    """The bodies for all protocols, with every text as long as there is room for."""
    encoded = _encoded(message)
    for length in _SHORTER:
        if len(encoded) <= _MAX_BYTES - _ROOM:
            break
        shorter = Message(
            message.subject,
            _shortened(message.body, 4 * length),
            message.attributes,
            _shortened(message.chat, length),
            _shortened(message.document, length),
        )
        encoded = _encoded(shorter)
    return encoded.decode()


def _encoded(message: Message) -> bytes:
    # A lone surrogate has no encoding.
    return json.dumps(_bodies(message), ensure_ascii=False).encode(errors="replace")


def _bodies(message: Message) -> dict[str, str]:
    """The body for each protocol: e-mail and SMS for people, https for chat, the rest for programs."""
    chat, document = (json.dumps(body, ensure_ascii=False) for body in (message.chat, message.document))
    programs = dict.fromkeys(("http", "lambda", "sqs", "firehose"), document)
    return {"default": message.body, "sms": one_line(message.subject, 140), "https": chat} | programs


def _shortened(value: Any, length: int) -> Any:
    """A JSON value whose texts and lists are no longer than this."""
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + "…"
    if isinstance(value, Mapping):
        return {name: _shortened(inner, length) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(inner, length) for inner in value[:_MAX_ITEMS]]
    return value
