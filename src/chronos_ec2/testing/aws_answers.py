"""What AWS answers a call instead of its own: errors, refusals, and what happens right before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from moto.core.botocore_stubber import MockRawResponse

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.s3_objects import S3Transfer
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.testing.aws_server import BUCKET

_REFUSALS = {
    "ec2": "<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>",
    "s3": "<Error><Code>{code}</Code></Error>",
    "sns": "<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>",
}


def refused(service: str, operation: str, code: str, status: int = 400, but: str = "") -> AbstractContextManager[None]:
    """Each call of an operation gets this error for an answer, unless the request holds the text `but`."""
    return answered(service, operation, _REFUSALS[service].format(code=code), status, but)


def answered(
    service: str, operation: str, body: str | Callable[[str], str], status: int = 200, but: str = ""
) -> AbstractContextManager[None]:
    """Each call of an operation gets this answer, or that to its body, unless the request holds the text `but`."""
    return heard(f"before-send.{service}.{operation}", _answer(body, status, but))


def _answer(body: str | Callable[[str], str], status: int, but: str = "") -> Callable[..., Any]:
    def answer(request: Any, **_: Any) -> Any:
        asked = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        if but and but in asked:
            return None
        text = body if isinstance(body, str) else body(asked)
        return AWSResponse(request.url, status, HTTPHeaders(), MockRawResponse(text))

    return answer


@contextmanager
def heard(event: str, handler: Callable[..., Any]) -> Iterator[None]:
    """The handler is called at each of botocore's events of this name, by clients that are made meanwhile."""
    session = boto3.DEFAULT_SESSION
    assert session is not None
    session.events.register(event, handler)
    client.cache_clear()  # a client has the events that its session had when it was made
    try:
        yield
    finally:
        session.events.unregister(event, handler)
        client.cache_clear()


@contextmanager
def before_call(service: str, operation: str, url: str, action: Callable[[], object]) -> Iterator[None]:
    """Do something right before the first call of an operation whose URL contains `url`."""
    waiting = [action]

    def act(request: Any, **_: Any) -> None:
        if waiting and url in request.url:
            waiting.pop()()

    with heard(f"before-send.{service}.{operation}", act):
        yield


def no_room_but_in(subnet_id: str) -> AbstractContextManager[None]:
    """EC2 has capacity in one subnet alone. It says so with a 500, upon which botocore asks again: see `asked_once`."""
    return refused("ec2", "RunInstances", "InsufficientInstanceCapacity", status=500, but=subnet_id)


def without_price_list() -> None:
    """The Price List API, which moto does not have, refuses to answer the clients that are made from now on."""
    assert boto3.DEFAULT_SESSION is not None
    refusal = _answer(json.dumps({"__type": "AccessDeniedException"}), 400)
    boto3.DEFAULT_SESSION.events.register_last("before-send.pricing.GetProducts", refusal)


def upload_until_it_breaks(key: str, folder: Path) -> None:
    """Upload a file that is so large that it goes in parts, and have that fail half-way."""
    path = folder / "large"
    path.write_bytes(b"x" * 9 * 1024 * 1024)
    with refused("s3", "UploadPart", "InvalidRequest"), suppress(ServiceUnavailable):
        S3Transfer(client("s3"), BUCKET).upload(path, key, lambda _sent: None)
