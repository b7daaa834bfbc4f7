"""boto3 clients with our timeouts and retries, made when first needed. They honour AWS_ENDPOINT_URL."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

# Adaptive mode adds client-side rate limiting to jittered back-off, so that a throttled sweep slows down by itself.
# Four attempts take about ten seconds at most: what fails then is tried again by the next tick, or by the person.
_CONFIG = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "adaptive", "max_attempts": 4}, max_pool_connections=32
)


@cache
def client(service: str, region: str | None = None) -> Any:
    """The client of one service. Raises botocore's errors for a missing region, see `errors.translated`."""
    make: Any = boto3.client  # its stubs know services by literal name only
    return make(service, region_name=region, config=_CONFIG)
