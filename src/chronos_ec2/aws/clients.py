"""boto3 clients with our timeouts and retries, made when first needed. They honour AWS_ENDPOINT_URL."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

# Adaptive mode adds client-side rate limiting to jittered back-off, so that who is throttled slows down by itself.
# For the agent, the launcher and people: five attempts that fail at once take some seconds, those that nobody answers
# up to three minutes.
_CONFIG = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "adaptive", "total_max_attempts": 5}, max_pool_connections=32
)
# For the watchdog, whose functions have a minute and whose next tick is the better retry: a call that nobody answers
# costs it three times eight seconds and two pauses of three together, and there is time for what is left to do.
_BRIEF = Config(
    connect_timeout=4, read_timeout=8, retries={"mode": "adaptive", "total_max_attempts": 3}, max_pool_connections=32
)


# For locks and beats. A client of its own, because the limit of the adaptive mode holds back all that one client asks:
# after a SlowDown among large objects, beats too. It gives up within two beats, and whoever asked asks again.
_SMALL_CONFIG = Config(connect_timeout=3, read_timeout=9, retries={"mode": "standard", "total_max_attempts": 2})


@cache
def client(service: str, region: str | None = None, *, brief: bool = False) -> Any:
    """The client of one service. Raises botocore's errors for a missing region, see `errors.translated`."""
    return _make(service, region_name=region, config=_BRIEF if brief else _CONFIG)


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
