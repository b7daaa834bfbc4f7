"""boto3 clients with our timeouts and retries, made when first needed. They honour AWS_ENDPOINT_URL."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

# Adaptive mode adds client-side rate limiting to jittered back-off, so that a throttled sweep slows down by itself.
# Four attempts take about ten seconds at most: what fails then is tried again by the next tick, or by the person.
_CONFIG = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "adaptive", "max_attempts": 4}, max_pool_connections=32
)


# For locks and beats. A client of its own, because the limit of the adaptive mode holds back all that one client asks:
# after a SlowDown among large objects, beats too. It gives up within two beats, and whoever asked asks again.
_SMALL_CONFIG = Config(connect_timeout=3, read_timeout=9, retries={"mode": "standard", "total_max_attempts": 2})


@cache
def client(service: str, region: str | None = None) -> Any:
    """The client of one service. Raises botocore's errors for a missing region, see `errors.translated`."""
    return _make(service, region_name=region, config=_CONFIG)


def instance_s3() -> tuple[Any, Any]:
    """S3 for an instance: a client for small objects and one for large ones, made anew at each call.

    Raises:
        NoCredentialsError: there are none yet, and clients that were made without never get any.
    """
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    # A session without credentials looks for them at each call.
    if boto3.DEFAULT_SESSION is None or boto3.DEFAULT_SESSION.get_credentials() is None:
        raise NoCredentialsError
    return _make("s3", config=_SMALL_CONFIG), _make("s3", config=_CONFIG)


_make: Any = boto3.client  # its stubs know services by literal name only
