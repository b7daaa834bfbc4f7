"""Translates botocore's errors into ours. Only expected errors are translated; the rest escape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's, the base class of its timeouts
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from chronos_ec2.domain.errors import ChronosError, InvalidInput, NoCredentials, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.parsing.names import one_line

_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, SSOError, TokenRetrievalError)
_BAD_CREDENTIALS = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch",
     "AuthFailure", "UnrecognizedClientException", "RequestExpired"}
)  # fmt: skip
_REFUSED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403"})
# No permission is missing: the target is protected, disabled or gone.
_BLOCKED = frozenset({"OperationNotPermitted", "NotFound", "ResourceNotFoundException", "InvalidObjectState"})
_TRANSIENT = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "SlowDown", "RequestTimeout", "InternalError",
     "InternalFailure", "InternalServerError", "ServiceUnavailable", "Unavailable", "ConditionalRequestConflict",
     "KMSThrottling", "KMSThrottlingException", "KMS.ThrottlingException"}
)  # fmt: skip
Translation = Callable[[str], AbstractContextManager[None]]
"""`translated` or `unattended`."""
_REMEDY = "set AWS_PROFILE, or run `aws configure` or `aws sso login`"


def code_of(error: ClientError) -> str:
    """AWS's code of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status of an error."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Raise our errors for botocore's. `action` completes "could not …" in their messages.

    Raises:
        NoCredentials: none were found, or AWS does not accept them.
        InvalidInput: no region, no such profile or no such bucket.
        NotAllowed: a permission is missing, or the target or its KMS key is protected, disabled or gone.
        ServiceUnavailable: no answer, throttled, or an internal error of AWS; the call may have taken effect.
    """
    try:
        yield
    except _NO_CREDENTIALS as error:
        raise NoCredentials(f"no AWS credentials ({one_line(str(error), 120)}): {_REMEDY}") from error
    except ProfileNotFound as error:
        raise InvalidInput("AWS_PROFILE", one_line(str(error), 120), "see `aws configure list-profiles`") from error
    except NoRegionError as error:
        raise InvalidInput("AWS_REGION", "no region is set", "export AWS_REGION=us-east-1 or use --region") from error
    except ClientError as error:
        ours = _translate(error, action)
        if ours is None:
            raise
        raise ours from error
    except (ConnectionError, HTTPClientError, BotoCoreError) as error:
        raise ServiceUnavailable(f"could not {action}: {one_line(str(error), 300)}") from error


@contextmanager
def unattended(action: str) -> Iterator[None]:
    """Like `translated`, for a process whose credentials are renewed for it, so that retrying helps.

    Raises:
        ServiceUnavailable: also for missing, expired or rejected credentials.
    """
    try:
        with translated(action):
            yield
    except NoCredentials as error:
        raise ServiceUnavailable(f"could not {action}: {error}") from error
    except RuntimeError as error:
        # botocore has no error class for credentials that are expired although they were refreshed.
        if "refreshed credentials are still expired" not in str(error):
            raise
        raise ServiceUnavailable(f"could not {action}: {error}") from error


def _translate(error: ClientError, action: str) -> ChronosError | None:
    code, detail = code_of(error), one_line(str(error), 300)
    if code in _BAD_CREDENTIALS:
        return NoCredentials(f"AWS does not accept the credentials ({code}): {_REMEDY}")
    if code == "NoSuchBucket":
        return InvalidInput("bucket", detail, "the stack's output Bucket names the right one")
    if code in _REFUSED:
        return NotAllowed(f"not allowed to {action}: {detail}")
    if code in _TRANSIENT or status_of(error) >= 500:
        return ServiceUnavailable(f"could not {action}: {detail}")
    if code in _BLOCKED or code.startswith("KMS"):
        return NotAllowed(f"could not {action}: {detail}")
    return None
