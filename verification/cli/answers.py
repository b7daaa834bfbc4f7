"""What may come back instead of an answer: AWS's own error documents, and what networks make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

Exits = frozenset[int]
OK, LEFT, MEND, LATER = (frozenset({code}) for code in range(4))
NO_SUCCESS = MEND | LATER
READ_TIMEOUT = 10.0
"""How long a client waits here: long enough for moto on a busy machine."""
_XML, _HTML = (("Content-Type", "text/xml"),), (("Content-Type", "text/html"),)
_DOCUMENTS = {
    "s3": '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
    "<RequestId>4442587FB7D0A2F9</RequestId></Error>",
    "ec2": '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{message}'
    "</Message></Error></Errors><RequestID>ea966190-f9aa-478e-9ede-example</RequestID></Response>",
}
_QUERY = (
    '<ErrorResponse xmlns="http://webservices.amazon.com/"><Error><Type>Sender</Type><Code>{code}</Code>'
    "<Message>{message}</Message></Error><RequestId>b25f48e8-84fd-11e6-80d9-574e0c4664cb</RequestId></ErrorResponse>"
)
"""What the other services send."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent instead of AWS's answer.

    Attributes:
        length: the Content-Length that is claimed; None: the true one.
        delay: seconds before anything is sent.
        drop: close the connection without an answer.
    """

    name: str
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = None
    delay: float = 0
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Which requests get another answer: those of a service that hold a text; `times` of them, after `after` others."""

    service: str
    answer: Answer
    holds: bytes = b""
    times: int | None = None
    after: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of AWS: its code, its HTTP status, and the exit codes that a command may end with."""

    code: str
    status: int
    exits: Exits
    message: str = "The request was not accepted"

    def fault(self, service: str, *, holds: bytes = b"", after: int = 0) -> Fault:
        """A service answers so, in its own kind of document."""
        return Fault(service, self._answer(service), holds, after=after)

    def _answer(self, service: str) -> Answer:
        if service == "scheduler":
            headers = (("x-amzn-errortype", self.code), ("Content-Type", "application/json"))
            return Answer(self.code, self.status, json.dumps({"Message": self.message}).encode(), headers)
        body = _DOCUMENTS.get(service, _QUERY).format(code=self.code, message=self.message)
        return Answer(self.code, self.status, body.encode(), _XML)


_DENIED = (
    "User: arn:aws:iam::123456789012:user/ana is not authorized to perform this action with an explicit deny in a "
    "service control policy"
)
_ENCODED = f"{_DENIED}. Encoded authorization failure message: {'A1b2' * 200}"
_SKEWED = "Signature expired: 20260131T115500Z is now earlier than 20260131T120000Z (20260131T121500Z - 15 min.)"
_THROTTLED = "Rate exceeded"

REFUSALS = {
    "cloudformation": (
        Refusal("AccessDenied", 403, MEND, _DENIED),
        Refusal("ExpiredToken", 403, MEND, "The security token included in the request is expired"),
        Refusal("InvalidClientTokenId", 403, MEND, "The security token included in the request is invalid."),
        Refusal("SignatureDoesNotMatch", 403, MEND, _SKEWED),
        Refusal("OptInRequired", 403, MEND, "The AWS Access Key Id needs a subscription for the service"),
        Refusal("Throttling", 400, LATER, _THROTTLED),
        Refusal("InternalFailure", 500, LATER),
        Refusal("ServiceUnavailable", 503, LATER),
        Refusal("ANewCodeOfTomorrow", 400, MEND),
    ),
    "s3": (
        Refusal("AccessDenied", 403, MEND, _DENIED),
        Refusal("InvalidToken", 400, MEND, "The provided token is malformed or otherwise invalid."),
        Refusal("RequestTimeTooSkewed", 403, MEND, "The difference between the request time and now is too large."),
        Refusal("NoSuchBucket", 404, MEND, "The specified bucket does not exist"),
        Refusal("AllAccessDisabled", 403, MEND),
        Refusal("SlowDown", 503, LATER, "Please reduce your request rate."),
        Refusal("InternalError", 500, LATER),
        Refusal("ANewCodeOfTomorrow", 400, MEND),
    ),
    "ec2": (
        Refusal("UnauthorizedOperation", 403, MEND, _ENCODED),
        Refusal("OptInRequired", 401, MEND, "You are not subscribed to this service."),
        Refusal("AuthFailure", 401, MEND, "AWS was not able to validate the provided access credentials"),
        Refusal("RequestExpired", 400, MEND, "Request has expired."),
        Refusal("RequestLimitExceeded", 503, LATER, "Request limit exceeded."),
        Refusal("InternalError", 500, LATER),
    ),
    "scheduler": (
        Refusal("AccessDeniedException", 403, MEND, _DENIED),
        Refusal("ThrottlingException", 429, LATER, _THROTTLED),
        Refusal("InternalServerException", 500, LATER),
    ),
}  # fmt: skip
SCHEDULES_DELETED = Refusal("ResourceNotFoundException", 404, MEND, "Schedule group chronos-ec2-dev does not exist.")
EXPIRED = Refusal("ExpiredToken", 400, MEND, "The provided token has expired.")
LAUNCH_REFUSALS = (
    Refusal("InvalidLaunchTemplateId.NotFound", 400, MEND, "The launch template ID 'lt-1' does not exist."),
    Refusal("InvalidLaunchTemplateId.NotFoundException", 400, MEND, "The specified launch template does not exist."),
    Refusal("InvalidGroup.NotFound", 400, MEND, "The security group 'sg-1' does not exist"),
    Refusal("InvalidIamInstanceProfileArn.Malformed", 400, MEND, "Invalid IAM Instance Profile ARN"),
    Refusal("InsufficientInstanceCapacity", 500, LATER, "We currently do not have sufficient capacity."),
    Refusal("Unsupported", 400, LATER, "Your requested instance type is not supported in your Availability Zone."),
    Refusal("VcpuLimitExceeded", 400, MEND, "You have requested more vCPU capacity than your current limit of 0"),
    Refusal("MaxSpotInstanceCountExceeded", 400, MEND, "Max spot instance count exceeded"),
    Refusal("InvalidAMIID.NotFound", 400, MEND, "The image id '[ami-1]' does not exist"),
    Refusal("InvalidSubnetID.NotFound", 400, MEND, "The subnet ID 'subnet-1' does not exist"),
    Refusal("InvalidParameterValue", 400, MEND, "Invalid value for a parameter"),
    Refusal("PendingVerification", 400, MEND, "Your account is currently being verified."),
    Refusal("UnauthorizedOperation", 403, MEND, _DENIED),
    Refusal("InternalError", 500, LATER, "An internal error has occurred"),
)

_PORTAL = b"<!DOCTYPE html><html><head><title>Sign in to the hotel's network</title></head><body>Welcome</body></html>"
_BALANCER = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
NETWORKS = (
    Answer("the connection is closed", drop=True),
    Answer("a portal's page", 200, _PORTAL, _HTML),
    Answer("a balancer's 502", 502, _BALANCER, _HTML),
    Answer("a proxy's 407", 407, b"Proxy Authentication Required", _HTML),
    Answer("an empty 200", 200),
    Answer("half a document", 200, b"<DescribeStacksResponse><DescribeStacksRe", _XML),
    Answer("random bytes", 200, bytes(range(256)) * 4, (("Content-Type", "application/octet-stream"),)),
    Answer("less than was announced", 200, b"<Res", _XML, length=4096),
    Answer("an error without a document", 403),
)
"""After any of these a command may have to be repeated, or its environment mended: exit code 2 or 3, never 0 or 1."""
SILENCE = Answer("no answer for seconds", delay=READ_TIMEOUT + 0.5)


def stack(status: str, outputs: Mapping[str, str]) -> Answer:
    """CloudFormation's description of the stack of dev."""
    members = "".join(
        f"<member><OutputKey>{name}</OutputKey><OutputValue>{value}</OutputValue></member>"
        for name, value in outputs.items()
    )
    body = (
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
        "<StackId>arn:aws:cloudformation:us-east-1:123456789012:stack/chronos-ec2-dev/1</StackId>"
        f"<StackName>chronos-ec2-dev</StackName><StackStatus>{status}</StackStatus><Outputs>{members}</Outputs>"
        "</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
    )
    return Answer(f"stack {status}", 200, body.encode(), _XML)
