"""boto3 clients with our timeouts and retries, created when first needed. They honour AWS_ENDPOINT_URL."""

from __future__ import annotations

import os
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError

from chronos_ec2.aws.errors import NO_CAPACITY, configuring

# For the agent, the launcher and people. Adaptive mode adds client-side rate limiting to jittered back-off, so a
# throttled client slows down. Five failed attempts take some seconds, five without an answer up to three minutes.
_CONFIG = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "adaptive", "total_max_attempts": 5}, max_pool_connections=32
)
# For the watchdog, whose functions have a minute and whose next sweep is the better retry. A call without an answer
# takes about 27 s (three attempts of 8 s and two pauses), which leaves time for the other work.
_BRIEF = Config(
    connect_timeout=4, read_timeout=8, retries={"mode": "adaptive", "total_max_attempts": 3}, max_pool_connections=32
)


# For locks and heartbeats. A separate client, because adaptive mode limits all calls of one client: a SlowDown for
# large objects would delay heartbeats. It gives up within two heartbeats, and the caller retries.
_SMALL_CONFIG = Config(connect_timeout=3, read_timeout=9, retries={"mode": "standard", "total_max_attempts": 2})
PAGES = {"PageSize": 1000}
"""EC2's maximum, for every list: it may time out over a long one that is asked for whole. Each page is a call."""


@cache
def client(service: str, region: str | None = None, *, brief: bool = False) -> Any:
    """The client of one service. Raises NoCredentials and InvalidInput for what the user's settings do not allow."""
    with configuring():
        made = _make(service, region_name=region, config=_direct(_BRIEF if brief else _CONFIG))
        if service == "ec2":
            made.meta.events.register_first("needs-retry.ec2.RunInstances", _at_once)
        return made


def forget_credentials() -> None:
    """Look for credentials anew: clients made from now on are those of a new session."""
    client.cache_clear()
    boto3.DEFAULT_SESSION = None


def instance_s3() -> tuple[Any, Any]:
    """New S3 clients for an instance: one for small objects and one for large ones.

    Raises:
        NoCredentials: there are none yet. Clients created without credentials would never get any.
        InvalidInput: the settings are wrong.
    """
    with configuring():
        if boto3.DEFAULT_SESSION is None:
            boto3.setup_default_session()
        # A session without credentials tries to get them at each call.
        if boto3.DEFAULT_SESSION is None or boto3.DEFAULT_SESSION.get_credentials() is None:
            raise NoCredentialsError
        return _make("s3", config=_direct(_SMALL_CONFIG)), _make("s3", config=_direct(_CONFIG))


def _direct(config: Config) -> Config:
    """The configuration, without a proxy if the endpoint is on this machine, which a proxy does not reach."""
    local = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname in ("127.0.0.1", "::1", "localhost")
    return config.merge(Config(proxies={})) if local else config


def _at_once(response: tuple[Any, dict[str, Any]] | None, **_: Any) -> None:
    """Raise EC2's refusal for want of capacity: it has status 500, which botocore would retry for 25 s."""
    if response is not None and response[1].get("Error", {}).get("Code") in NO_CAPACITY:
        raise ClientError(response[1], "RunInstances")  # type: ignore[arg-type]


_make: Any = boto3.client  # its stubs accept literal service names only
