"""Translates whatever botocore raises into our errors. Nothing of botocore's escapes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException
from typing import TypeVar

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    AwsChunkedWrapperError,
    BotoCoreError,
    CapacityNotAvailableError,
    ChecksumError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    InvalidRegionError,
    LoginError,
    MetadataRetrievalError,
    MissingDependencyException,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    PaginationError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    RefreshWithMFAUnsupportedError,
    ResponseStreamingError,
    SSLError,
    SSOError,
    TokenRetrievalError,
    UnknownCredentialError,
    UnseekableStreamError,
    WaiterError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import (
    CancelledError,
    RetriesExceededError,
    S3DownloadFailedError,
    S3UploadFailedError,
    TransferNotDoneError,
)
from urllib3.exceptions import HTTPError

from chronos_ec2.domain.errors import ChronosError, InvalidInput, NoCredentials, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.parsing.names import one_line

_T = TypeVar("_T")
Translation = Callable[[str], AbstractContextManager[None]]
"""`translated` or `unattended`."""

_LOG_IN = "set AWS_PROFILE, or run `aws configure`, `aws login` or `aws sso login`"
_SSO = "run `aws sso login`"
_LOGIN = "run `aws login`"
_PROCESS = "run the credential_process of the profile by hand to see why, or set another AWS_PROFILE"
_EXPORT = '`eval "$(aws configure export-credentials --format env)"` passes the session on'
_CREDENTIALS: dict[type[Exception], str] = {
    NoCredentialsError: _LOG_IN,
    PartialCredentialsError: "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither",
    CredentialRetrievalError: _PROCESS,
    SSOError: _SSO,
    TokenRetrievalError: _SSO,
    NoAuthTokenError: _SSO,
    LoginError: _LOGIN,
    MissingDependencyException: _EXPORT,
    RefreshWithMFAUnsupportedError: _EXPORT,
    UnknownCredentialError: _LOG_IN,
    MetadataRetrievalError: _LOG_IN,
}
_SETTINGS: dict[type[Exception], tuple[str, str]] = {
    ProfileNotFound: ("AWS_PROFILE", "see `aws configure list-profiles`"),
    NoRegionError: ("AWS_REGION", "export AWS_REGION=us-east-1 or use --region"),
    InvalidRegionError: ("AWS_REGION", "one such as us-east-1; `--region` takes one too"),
}
_NO_ANSWER: dict[type[Exception], str] = {
    ProxyConnectionError: "check HTTPS_PROXY and NO_PROXY",
    SSLError: "a proxy that re-signs TLS needs AWS_CA_BUNDLE",
    EndpointConnectionError: "check the network, the region and AWS_ENDPOINT_URL",
    BotoConnectionError: "",
    HTTPClientError: "",
}
_BROKEN_ANSWER = (
    AwsChunkedWrapperError, Boto3Error, CancelledError, CapacityNotAvailableError, ChecksumError, FlexibleChecksumError,
    HTTPError, HTTPException, IncompleteReadError, PaginationError, ResponseParserError, ResponseStreamingError,
    RetriesExceededError, S3DownloadFailedError, S3UploadFailedError, TransferNotDoneError, UnseekableStreamError,
    WaiterError,
)  # fmt: skip
_OF_PYTHON = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

NO_CAPACITY = frozenset(
    {"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity",
     "InsufficientCapacity", "InsufficientCapacityOnHost", "InsufficientVolumeCapacity", "UnfulfillableCapacity",
     "InsufficientFreeAddressesInSubnet", "InsufficientAddressCapacity", "Unsupported", "SpotMaxPriceTooLow"}
)  # fmt: skip
"""Codes of RunInstances after which another subnet or type may have an instance."""
QUOTA_EXCEEDED = frozenset({"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"})

_CLOCK = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"})
_BAD_CREDENTIALS = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId",
     "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException",
     "MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidSecurity", "UnauthorizedException",
     "InvalidIdentityToken", "ExpiredTokenExchange", "IDPRejectedClaim", "AccountProblem", "Blocked", "401"}
)  # fmt: skip
# The account or its region may be unknown to the service that was asked.
_UNKNOWN_CLIENT = frozenset({"InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"})
_NOT_ACTIVE = frozenset(
    {"OptInRequired", "SubscriptionRequiredException", "NotSignedUp", "PendingVerification", "KMSOptInRequired"}
)
_REFUSED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "NotAuthorized",
     "UnauthorizedAccess", "AllAccessDisabled", "DependencyAccessDeniedException", "ForbiddenException", "Forbidden",
     "403"}
)  # fmt: skip
# No permission is missing: the target is protected, disabled or gone.
_BLOCKED = frozenset({"OperationNotPermitted", "NotFound", "ResourceNotFoundException", "InvalidObjectState"})
_TRANSIENT = frozenset(
    {"RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "Throttling", "ThrottlingException",
     "ThrottledException", "Throttled", "TooManyRequestsException", "TooManyRequests", "SlowDown",
     "EC2ThrottledException", "BandwidthLimitExceeded", "LimitExceededException", "PriorRequestNotComplete",
     "TransactionInProgressException", "RequestTimeout", "RequestTimeoutException", "InternalError",
     "InternalFailure", "InternalServerError", "InternalServerException", "InternalErrorException",
     "ServiceException", "ServiceUnavailable", "ServiceUnavailableException", "Unavailable",
     "ConditionalRequestConflict", "OperationAborted", "OperationAbortedException", "OperationInProgressException",
     "ConcurrentAccess", "ResourceNotReadyException", "KMSThrottling", "KMSThrottlingException",
     "KMS.ThrottlingException"}
)  # fmt: skip
_TRANSIENT_STATUS = frozenset({408, 425, 429})
_LONG, _END, _LONGEST = 600, 250, 3500
"""How much of an error is kept; of a longer one its end, which says which policy forbids it; at most."""
_ENCODED = "Encoded authorization failure message"
_DECODE = "`aws sts decode-authorization-message --encoded-message …` explains the encoded part"
_ANY_SETTING = "AWS settings"
_WHERE = "see the AWS_* variables, ~/.aws/config and ~/.aws/credentials"


def code_of(error: ClientError) -> str:
    """AWS's code of an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status of an error."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def text_of(error: Exception) -> str:
    """The text of an error on one line. What a user can have decoded is never cut, nor the reason at its end."""
    text = one_line(str(error), _LONGEST)
    if _ENCODED in text or len(text) <= _LONG:
        return text
    return f"{text[: _LONG - _END]} … {text[-_END:]}"


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Raise our errors for all of botocore's. `action` completes "could not …" in their messages.

    Raises:
        NoCredentials: none were found, or AWS does not accept them.
        InvalidInput: the user's AWS settings are wrong, or there is no such bucket.
        NotAllowed: AWS refuses: a permission is missing, or the target or its KMS key is protected, disabled or gone.
        ServiceUnavailable: no answer or none that can be understood, throttled, or an internal error of AWS; the call
            may have taken effect.
    """
    try:
        yield
    except ClientError as error:
        raise (refusal(error, action) or NotAllowed(f"AWS refuses to {action}: {text_of(error)}")) from error
    except (BotoCoreError, *_BROKEN_ANSWER) as error:
        raise _local(error, action) from error
    except (*_OF_PYTHON, OSError, EOFError, Warning) as error:
        if _while_fetching_credentials(error):
            raise _no_credentials(error) from error
        if not isinstance(error, _OF_PYTHON):
            raise
        problem = f"AWS's answer cannot be understood ({type(error).__name__}: {text_of(error)})"
        raise ServiceUnavailable(f"could not {action}: {problem}") from error


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


@contextmanager
def configuring() -> Iterator[None]:
    """Raise NoCredentials or InvalidInput for whatever the making of a client raises: AWS is not asked yet."""
    try:
        with translated("make a client"):
            yield
    except (ServiceUnavailable, OSError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValueError) and ("endpoint" in str(cause) or "URL" in str(cause)):
            raise _endpoint(cause) from error
        raise InvalidInput(_ANY_SETTING, one_line(str(cause)), _WHERE) from error


def refusal(error: ClientError, action: str) -> ChronosError | None:
    """Our error for AWS's, None for a code that is not known: AWS refuses this one request."""
    code, status, text = code_of(error), status_of(error), text_of(error)
    if about_credentials := _about_credentials(code, text):
        return about_credentials
    if code == "NoSuchBucket" or (error.operation_name == "HeadBucket" and status == 404):
        return InvalidInput("bucket", text, "the stack's output Bucket names the right one")
    if code in _NOT_ACTIVE:
        hint = "open the service in the AWS console once; a new account is verified within a day"
        return NotAllowed(f"could not {action}: the account is not activated for this service or region: {text}", hint)
    if code in _TRANSIENT or code.startswith("InternalErr") or status >= 500 or status in _TRANSIENT_STATUS:
        return ServiceUnavailable(f"could not {action}: {text}")
    if _while_fetching_credentials(error):
        return _no_credentials(error)
    if code in _REFUSED:
        return NotAllowed(f"not allowed to {action}: {text}", _DECODE if _ENCODED in text else "")
    if code in _BLOCKED or code.startswith("KMS"):
        return NotAllowed(f"could not {action}: {text}")
    return None


def _about_credentials(code: str, text: str) -> NoCredentials | None:
    if code == "RequestExpired":  # EC2's word for an expired session too
        hint = f"set it, such as with `sudo timedatectl set-ntp true`; if it is right, {_LOG_IN}"
        return NoCredentials(f"the clock of this computer is wrong, or the session has expired: {text}", hint)
    if code in _CLOCK or "Signature expired" in text or "Signature not yet current" in text:
        hint = "set it, such as with `sudo timedatectl set-ntp true`"
        return NoCredentials(f"the clock of this computer is wrong: {text}", hint)
    if code in _BAD_CREDENTIALS:
        return NoCredentials(f"AWS does not accept the credentials: {text}", _LOG_IN)
    if code in _UNKNOWN_CLIENT:
        enable = (
            "if they are right, the region is not enabled for the account: use another, or enable it in the console"
        )
        return NoCredentials(f"AWS does not accept the credentials: {text}", f"{_LOG_IN}; {enable}")
    return None


def _local(error: Exception, action: str) -> ChronosError:
    """Our error for one that botocore raises itself."""
    if isinstance(error, HTTPClientError) and (found := _unsendable(error)):
        return found
    if remedy := _find(_CREDENTIALS, error):
        return _no_credentials(error, remedy)
    if setting := _find(_SETTINGS, error):
        return InvalidInput(setting[0], text_of(error), setting[1])
    could_not = f"could not {action}: {text_of(error)}"
    if isinstance(error, ParamValidationError):
        return NotAllowed(could_not)
    hint = _find(_NO_ANSWER, error)
    if hint is not None or isinstance(error, _BROKEN_ANSWER):
        return ServiceUnavailable(could_not, hint or "")
    return InvalidInput(_ANY_SETTING, text_of(error), _WHERE)


def _find(table: dict[type[Exception], _T], error: Exception) -> _T | None:
    return next((found for kind, found in table.items() if isinstance(error, kind)), None)


def _unsendable(error: HTTPClientError) -> ChronosError | None:
    """Our error for settings of which no request can be made."""
    text = str(error)
    if "Invalid header value" in text:  # the text has the credentials
        problem = "a credential or the region has a line break or another character that no header may have"
        return NoCredentials(problem, _LOG_IN)
    return _endpoint(error) if "URL scheme" in text or "Failed to parse" in text else None


def _no_credentials(error: Exception, remedy: str = _LOG_IN) -> NoCredentials:
    if isinstance(error, EOFError | Warning):
        return NoCredentials("the AWS profile asks for an MFA code, and there is no terminal to ask on", _EXPORT)
    return NoCredentials(f"no AWS credentials: {text_of(error) or type(error).__name__}", remedy)


def _endpoint(error: BaseException) -> InvalidInput:
    hint = "a URL such as http://127.0.0.1:4566; unset it for AWS itself. A proxy is a URL too"
    return InvalidInput("AWS_ENDPOINT_URL", one_line(str(error)), hint)


def _while_fetching_credentials(error: Exception) -> bool:
    """Whether botocore raised it while it looked for credentials, where files, processes and prompts raise anything."""
    modules = (frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(module in ("botocore.credentials", "botocore.tokens") for module in modules)
