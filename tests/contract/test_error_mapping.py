"""AWS's names of errors, in our words: what is worth trying again, what is not, and what nobody expected."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from chronos_ec2.aws.errors import translated
from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable


def refusal(code: str, status: int = 400) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Call")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "code",
    [
        "UnauthorizedOperation",
        "OperationNotPermitted",  # EC2, of an instance with termination protection
        "NotFound",  # SNS, of a topic that is gone
        "ResourceNotFoundException",
        "KMSDisabled",  # SNS
        "KMSAccessDenied",
        "KMS.DisabledException",  # S3
        "InvalidObjectState",  # S3, of an object that somebody had archived
    ],
)
def test_what_is_refused_for_good_is_not_allowed(code: str) -> None:
    with pytest.raises(NotAllowed, match=f"do it.*{code}"), translated("do it"):
        raise refusal(code)


@pytest.mark.parametrize(
    ("code", "status"), [("SlowDown", 503), ("KMSThrottling", 400), ("KMS.ThrottlingException", 400), ("NotFound", 500)]
)
def test_what_passes_is_unavailable(code: str, status: int) -> None:
    with pytest.raises(ServiceUnavailable, match=f"do it.*{code}"), translated("do it"):
        raise refusal(code, status)


def test_what_nobody_expected_escapes() -> None:
    with pytest.raises(ClientError), translated("do it"):
        raise refusal("InvalidParameterValue")
