"""What AWS and botocore answer when something is wrong: error codes by operation, bodies by protocol, local errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import botocore.exceptions as b
import urllib3.exceptions
from boto3.exceptions import RetriesExceededError, S3TransferFailedError, S3UploadFailedError
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.model import OperationModel
from botocore.parsers import ResponseParserError
from moto.core.botocore_stubber import MockRawResponse

from chronos_ec2.domain.errors import ChronosError, InvalidInput, NoCredentials, NotAllowed, ServiceUnavailable

Expected = type[ChronosError] | tuple[type[ChronosError], ...]

GENERIC: dict[type[ChronosError], dict[str, int]] = {
    NoCredentials: {
        "ExpiredToken": 403, "ExpiredTokenException": 400, "TokenRefreshRequired": 400, "InvalidToken": 400,
        "InvalidAccessKeyId": 403, "InvalidClientTokenId": 403, "UnrecognizedClientException": 400,
        "AuthFailure": 401, "SignatureDoesNotMatch": 403, "InvalidSignatureException": 403,
        "IncompleteSignature": 400, "MissingAuthenticationToken": 403, "MissingAuthenticationTokenException": 403,
        "RequestExpired": 400, "RequestTimeTooSkewed": 403, "RequestInTheFuture": 403,
    },
    NotAllowed: {
        "AccessDenied": 403, "AccessDeniedException": 400, "UnauthorizedOperation": 403, "AuthorizationError": 403,
        "NotAuthorized": 400, "OptInRequired": 401, "SubscriptionRequiredException": 403, "PendingVerification": 400,
        "AllAccessDisabled": 403, "MalformedQueryString": 404, "InvalidAction": 400, "ACodeOfTomorrow": 400,
    },
    ServiceUnavailable: {
        "SlowDown": 503, "Throttling": 400, "ThrottlingException": 400, "ThrottledException": 400,
        "RequestThrottled": 400, "RequestThrottledException": 400, "TooManyRequestsException": 429,
        "RequestLimitExceeded": 503, "BandwidthLimitExceeded": 503, "PriorRequestNotComplete": 400,
        "EC2ThrottledException": 502, "RequestTimeout": 400, "RequestTimeoutException": 400, "InternalError": 500,
        "InternalFailure": 500, "InternalServerError": 500, "ServiceUnavailable": 503, "Unavailable": 503,
        "ServiceUnavailableException": 500, "OperationAborted": 409, "ACodeOfTomorrow5": 500, "ACodeOfTomorrow429": 429,
    },
}  # fmt: skip
"""Codes that any operation may answer with, their status, and what each means."""

EC2 = {
    "RunInstances": """
        ActiveVpcPeeringConnectionPerVpcLimitExceeded AddressLimitExceeded ClientInvalidParameterValue DryRunOperation
        EncryptedVolumesNotSupported FilterLimitExceeded HostLimitExceeded IdempotentParameterMismatch
        IncompatibleHostRequirements IncorrectInstanceState InstanceLimitExceeded InsufficientAddressCapacity
        InsufficientCapacity InsufficientCapacityOnHost InsufficientFreeAddressesInSubnet InsufficientHostCapacity
        InsufficientInstanceCapacity InsufficientReservedInstanceCapacity InsufficientVolumeCapacity
        InvalidAMIID.Malformed InvalidAMIID.NotFound InvalidAMIID.Unavailable InvalidAvailabilityZone
        InvalidBlockDeviceMapping InvalidGroup.NotFound InvalidInstanceType InvalidInterface.IpAddressLimitExceeded
        InvalidKeyPair.NotFound InvalidLaunchTemplateId.Malformed InvalidLaunchTemplateId.NotFound
        InvalidLaunchTemplateId.VersionNotFound InvalidNetworkInterfaceID.NotFound InvalidParameter
        InvalidParameterCombination InvalidParameterValue InvalidPlacementGroup.Unknown InvalidSecurityGroupID.NotFound
        InvalidSnapshot.NotFound InvalidSubnet InvalidSubnetID.NotFound InvalidUserData.Malformed
        MaxIOPSLimitExceeded MaxSpotInstanceCountExceeded MissingParameter NetworkInterfaceLimitExceeded
        OperationNotPermitted ReservedInstancesLimitExceeded SecurityGroupsPerInstanceLimitExceeded
        SnapshotCreationPerVolumeRateExceeded SpotMaxPriceTooLow UnfulfillableCapacity UnknownParameter
        UnknownVolumeType Unsupported UnsupportedInstanceTypeOnHost UnsupportedOperation UnsupportedTenancy
        VPCIdNotSpecified VcpuLimitExceeded VolumeLimitExceeded VolumeTypeNotAvailableInZone""",
    "TerminateInstances": """
        IncorrectInstanceState InvalidInstanceID InvalidInstanceID.Malformed InvalidInstanceID.NotFound
        InvalidParameterCombination OperationNotPermitted UnsupportedOperation""",
    "ModifyInstanceAttribute": """
        IncorrectInstanceState InvalidInstanceID InvalidInstanceID.Malformed InvalidInstanceID.NotFound
        InvalidParameterCombination InvalidParameterValue OperationNotPermitted UnsupportedOperation""",
    "CreateTags": """
        InvalidID InvalidInstanceID InvalidInstanceID.Malformed InvalidInstanceID.NotFound InvalidParameterValue
        TagLimitExceeded TagPolicyViolation""",
    "DeleteTags": """
        InvalidID InvalidInstanceID InvalidInstanceID.Malformed InvalidInstanceID.NotFound InvalidParameterValue""",
    "DescribeInstances": "InvalidFilter InvalidInstanceID.NotFound InvalidNextToken InvalidPaginationToken",
    "DescribeVolumes": "InvalidFilter InvalidVolume.NotFound InvalidPaginationToken",
    "DescribeNetworkInterfaces": "InvalidFilter InvalidNetworkInterfaceID.NotFound InvalidPaginationToken",
    "DescribeSpotInstanceRequests": "InvalidFilter InvalidSpotInstanceRequestID.NotFound InvalidPaginationToken",
    "DescribeInstanceTypes": "InvalidInstanceType InvalidFilter InvalidNextToken",
    "DeleteVolume": "InvalidVolume.NotFound InvalidVolume.ZoneMismatch IncorrectState VolumeInUse",
    "DeleteNetworkInterface": """
        InvalidNetworkInterfaceID.NotFound InvalidNetworkInterface.InUse InvalidParameterValue OperationNotPermitted""",
}
"""From the error codes of the EC2 API reference: botocore's model of EC2 names none."""

S3 = """
    AuthorizationHeaderMalformed BadDigest BadRequest ConditionalRequestConflict EntityTooLarge EntityTooSmall
    ExpiredObjectDeleteMarker IllegalLocationConstraintException IncompleteBody InvalidArgument InvalidBucketName
    InvalidBucketState InvalidDigest InvalidObjectState InvalidPart InvalidPartOrder InvalidPayer InvalidRange
    InvalidRequest InvalidSecurity InvalidStorageClass InvalidTag KeyTooLongError KMS.DisabledException
    KMS.InvalidStateException KMS.NotFoundException MalformedXML MethodNotAllowed MissingContentLength NoSuchBucket
    NoSuchKey NoSuchUpload NoSuchVersion NotImplemented NotSignedUp PermanentRedirect PreconditionFailed Redirect
    TemporaryRedirect TooManyParts XAmzContentSHA256Mismatch"""
"""From the error codes of the S3 API reference; botocore's model names some of them. Any operation may answer so."""

BODIES = {
    "HTML of a proxy": "<html><head><title>Access blocked</title></head><body>blocked<br></body></html>",
    "nothing": "",
    "neither XML nor JSON": "}{ <<< \x00",
    "half an answer": "<?xml version='1.0'?><Error><Code>Acc",
    "JSON null": "null",
    "JSON list": "[1, 2]",
}
"""What is no answer of AWS's."""


def codes_of(operation: OperationModel) -> dict[str, int]:
    """The documented error codes of an operation, with the status of each."""
    service = operation.service_model.service_name
    found = {
        shape.error_code: int(shape.metadata.get("error", {}).get("httpStatusCode", 400))
        for shape in (*operation.error_shapes, *operation.service_model.error_shapes)
    }
    more = EC2[operation.name] if service == "ec2" else S3 if service == "s3" else "ValidationError ValidationException"
    status = {"InsufficientInstanceCapacity": 500, "PreconditionFailed": 412, "NoSuchKey": 404, "NoSuchBucket": 404}
    status |= {"PermanentRedirect": 301, "Redirect": 307, "TemporaryRedirect": 307, "ConditionalRequestConflict": 409}
    return {code: status.get(code, 400) for code in more.split()} | found


def answer_of(operation: OperationModel, url: str, code: str, status: int, message: str = "no") -> AWSResponse:
    """An error as the operation's protocol has it."""
    xml = f"<Code>{code}</Code><Message>{message}</Message>"
    headers = HTTPHeaders()
    match operation.service_model.metadata["protocol"]:
        case "ec2":
            body = f"<Response><Errors><Error>{xml}</Error></Errors><RequestID>1</RequestID></Response>"
        case "query":
            body = f"<ErrorResponse><Error><Type>Sender</Type>{xml}</Error><RequestId>1</RequestId></ErrorResponse>"
        case "rest-xml":
            body = f"<Error>{xml}<RequestId>1</RequestId></Error>"
        case _:
            headers["x-amzn-errortype"] = code
            body = json.dumps({"__type": code, "message": message})
    return AWSResponse(url, status, headers, MockRawResponse(body))


def raw_answer(url: str, body: str, status: int, **headers: str) -> AWSResponse:
    """Any answer."""
    found = HTTPHeaders()
    for name, value in headers.items():
        found[name.replace("_", "-")] = value
    return AWSResponse(url, status, found, MockRawResponse(body))


class Hanging(MockRawResponse):
    """The body of an answer that stops in the middle."""

    def __init__(self, error: Exception) -> None:
        super().__init__("")
        self.error = error

    def read(self, *_: Any, **__: Any) -> bytes:
        raise self.error

    def stream(self, *_: Any, **__: Any) -> Any:
        raise self.error


_URL = "https://ec2.us-east-1.amazonaws.com/"
_REFUSED = urllib3.exceptions.NewConnectionError(None, "refused")  # type: ignore[arg-type]
TRANSPORT: list[tuple[Exception, Expected]] = [
    *(
        (error, ServiceUnavailable)
        for error in (
            b.EndpointConnectionError(endpoint_url=_URL, error=_REFUSED),
            b.ConnectTimeoutError(endpoint_url=_URL),
            b.ReadTimeoutError(endpoint_url=_URL),
            b.ConnectionClosedError(endpoint_url=_URL),
            b.SSLError(endpoint_url=_URL, error="certificate verify failed: self-signed certificate"),
            b.ProxyConnectionError(proxy_url="http://127.0.0.1:9", error=_REFUSED),
            b.ResponseStreamingError(error="reset"),
            b.IncompleteReadError(actual_bytes=1, expected_bytes=2),
            b.HTTPClientError(error="[Errno 24] Too many open files"),
            b.ChecksumError(checksum_type="crc32", expected_checksum="1", actual_checksum="2"),
            b.FlexibleChecksumError(error_msg="Expected checksum a did not match calculated checksum b"),
            b.PaginationError(message="The same next token was received twice"),
            b.UnseekableStreamError(stream_object="s"),
            b.CapacityNotAvailableError(),
            ResponseParserError("Unable to parse response"),
            S3UploadFailedError("Failed to upload"),
            S3TransferFailedError("Failed"),
            RetriesExceededError(b.ReadTimeoutError(endpoint_url=_URL)),
            KeyError("ETag"),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        )
    ),
    *(
        (error, NoCredentials)
        for error in (
            b.NoCredentialsError(),
            b.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            b.CredentialRetrievalError(provider="custom-process", error_msg="exit 1"),
            b.TokenRetrievalError(provider="sso", error_msg="Token has expired and refresh failed"),
            b.NoAuthTokenError(),
            b.SSOTokenLoadError(error_msg="Token for s does not exist"),
            b.UnauthorizedSSOTokenError(),
            b.LoginRefreshRequired(),
            b.LoginInsufficientPermissions(),
            b.LoginTokenLoadError(error_msg="no token"),
            b.LoginAuthorizationCodeError(error_msg="no code"),
            b.RefreshWithMFAUnsupportedError(),
            b.UnknownCredentialError(name="x"),
            b.MetadataRetrievalError(error_msg="IMDS"),
            b.MissingDependencyException(msg='pip install "botocore[crt]"'),
            b.HTTPClientError(error="Invalid header value b'SECRET\\n'"),
        )
    ),
    *(
        (error, InvalidInput)
        for error in (
            b.ProfileNotFound(profile="nope"),
            b.ConfigParseError(path="~/.aws/config", error="bad line"),
            b.ConfigNotFound(path="~/.aws/config"),
            b.InvalidConfigError(error_msg="source_profile"),
            b.InfiniteLoopConfigError(source_profile="p", visited_profiles=["p"]),
            b.NoRegionError(),
            b.InvalidRegionError(region_name="us east 1"),
            b.UnknownServiceError(service_name="ec3", known_service_names="ec2"),
            b.DataNotFoundError(data_path="ec2"),
            b.UnknownEndpointError(service_name="ec2", region_name="x"),
            b.EndpointVariantError(tags=["fips"]),
            b.EndpointProviderError(msg="Invalid Configuration: FIPS and custom endpoint are not supported"),
            b.InvalidDNSNameError(bucket_name="A_B"),
            b.InvalidProxiesConfigError(),
            b.InvalidMaxRetryAttemptsError(provided_max_attempts=-1, min_value=0),
            b.HTTPClientError(error="Not supported URL scheme ftp"),
        )
    ),
    (b.ParamValidationError(report="Invalid bucket name"), NotAllowed),
]
"""What botocore raises instead of sending or reading, and what it means."""

FETCHING: list[Callable[[], Exception]] = [
    lambda: FileNotFoundError(2, "No such file or directory", "/nope/credential-process"),
    lambda: PermissionError(13, "Permission denied", "~/.aws/sso/cache/x.json"),
    lambda: json.JSONDecodeError("Expecting value", "", 0),
    lambda: ValueError("No closing quotation"),
    lambda: KeyError("AccessKeyId"),
    lambda: RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired."),
    EOFError,
    lambda: b.ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRole"),
    lambda: b.ClientError({"Error": {"Code": "ForbiddenException", "Message": "No access"}}, "GetRoleCredentials"),
    lambda: b.ClientError({"Error": {"Code": "InvalidIdentityToken", "Message": "no"}}, "AssumeRoleWithWebIdentity"),
]
"""What is raised while botocore fetches credentials: by files, processes, prompts and other services."""
