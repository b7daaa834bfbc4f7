"""AWS's errors in our words: what is worth trying again, what is not, and what to do about it."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    LoginRefreshRequired,
    MissingDependencyException,
    NoCredentialsError,
    ProxyConnectionError,
    SSLError,
    UnauthorizedSSOTokenError,
)

from chronos_ec2.aws.errors import translated, unattended
from chronos_ec2.domain.errors import NoCredentials, NotAllowed, ServiceUnavailable


def refusal(code: str, status: int = 400, message: str = "no") -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
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


def test_a_code_that_nobody_knows_is_a_refusal() -> None:
    with pytest.raises(NotAllowed, match=r"refuses to do it.*InvalidParameterValue"), translated("do it"):
        raise refusal("InvalidParameterValue")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
        ("RequestInTheFuture", "no"),
        ("SignatureDoesNotMatch", "Signature expired: 20261129T150000Z is now earlier than 20261129T160000Z"),
        ("InvalidSignatureException", "Signature not yet current: 20261129T170000Z is still later than"),
        ("RequestExpired", "Request has expired."),
    ],
)
def test_a_wrong_clock_is_named(code: str, message: str) -> None:
    with pytest.raises(NoCredentials, match="the clock of this computer is wrong") as caught, translated("do it"):
        raise refusal(code, message=message)
    assert "timedatectl" in caught.value.hint
    # EC2 answers so to an expired session too, and only then does logging in help.
    assert ("aws sso login" in caught.value.hint) is (code == "RequestExpired")


def test_a_key_that_the_region_does_not_know_may_be_one_of_a_region_that_is_not_enabled() -> None:
    for code in ("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"):
        with pytest.raises(NoCredentials) as caught, translated("do it"):
            raise refusal(code, 403)
        assert "the region is not enabled" in caught.value.hint


def test_an_account_that_is_not_activated_is_told_so() -> None:
    for code in ("OptInRequired", "SubscriptionRequiredException", "PendingVerification"):
        with pytest.raises(NotAllowed, match="the account is not activated") as caught, translated("do it"):
            raise refusal(code, 401)
        assert "console" in caught.value.hint


ENCODED = "a1B2-" * 300
DENIED = (
    "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/researchers/ann is "
    "not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:us-east-1:123456789012:instance/* with an "
    f"explicit deny in a service control policy. Encoded authorization failure message: {ENCODED}"
)


def test_of_a_denied_call_nothing_is_cut_and_the_hint_decodes_it() -> None:
    with pytest.raises(NotAllowed) as caught, translated("launch"):
        raise refusal("UnauthorizedOperation", 403, DENIED)
    assert "explicit deny in a service control policy" in caught.value.problem
    assert caught.value.problem.endswith(ENCODED)
    assert "aws sts decode-authorization-message" in caught.value.hint


def test_of_a_long_denied_call_the_end_is_kept_which_names_the_policy() -> None:
    resource = "arn:aws:s3:::a-bucket/" + "k" * 1024
    denied = f"User: ann is not authorized to perform: s3:PutObject on resource: {resource}"
    with pytest.raises(NotAllowed) as caught, translated("write"):
        raise refusal("AccessDenied", 403, f"{denied} with an explicit deny in a resource control policy")
    assert "User: ann is not authorized to perform: s3:PutObject" in caught.value.problem
    assert caught.value.problem.endswith("with an explicit deny in a resource control policy")
    assert len(caught.value.problem) < 700


def test_an_endless_error_is_cut() -> None:
    with pytest.raises(NotAllowed) as caught, translated("do it"):
        raise refusal("AccessDenied", 403, "x" * 100_000)
    assert len(caught.value.problem) < 1000


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (NoCredentialsError(), "aws configure"),
        (UnauthorizedSSOTokenError(), "aws sso login"),
        (LoginRefreshRequired(), "aws login"),
        (CredentialRetrievalError(provider="custom-process", error_msg="exit 1"), "credential_process"),
        (MissingDependencyException(msg='pip install "botocore[crt]"'), "export-credentials"),
    ],
)
def test_each_way_to_have_no_credentials_has_its_remedy(error: Exception, remedy: str) -> None:
    with pytest.raises(NoCredentials) as caught, translated("do it"):
        raise error
    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (ProxyConnectionError(proxy_url="http://proxy:3128"), "HTTPS_PROXY"),
        (SSLError(endpoint_url="https://s3", error="self-signed certificate"), "AWS_CA_BUNDLE"),
        (EndpointConnectionError(endpoint_url="https://ec2.us-moon-1.amazonaws.com"), "region"),
    ],
)
def test_no_answer_has_a_hint(error: Exception, hint: str) -> None:
    with pytest.raises(ServiceUnavailable) as caught, translated("do it"):
        raise error
    assert hint in caught.value.hint


def test_credentials_are_never_in_a_message() -> None:
    with pytest.raises(NoCredentials) as caught, translated("do it"):
        raise HTTPClientError(error="Invalid header value b'SECRET\\nTOKEN'")
    assert "SECRET" not in str(caught.value)


def test_a_local_error_of_a_transfer_is_no_error_of_aws() -> None:
    with pytest.raises(OSError, match="No space left"), translated("download"):
        raise OSError(28, "No space left on device")


def test_what_is_wrong_with_credentials_passes_where_they_are_renewed() -> None:
    for error in (refusal("ExpiredToken"), NoCredentialsError(), refusal("RequestExpired")):
        with pytest.raises(ServiceUnavailable, match="could not do it"), unattended("do it"):
            raise error
