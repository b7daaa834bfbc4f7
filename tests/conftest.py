"""Fixtures for all rooms."""

from __future__ import annotations

import os

import pytest

from chronos_ec2.aws.clients import client

# Before anything makes a client: no test may reach the real AWS, whatever the developer's shell holds.
for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
for _name in ("BUCKET", "ENVIRONMENT", "INSTANCE_TYPE"):
    os.environ.pop(_name, None)
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "POWERTOOLS_SERVICE_NAME": "chronos-ec2",
    "TOKENIZERS_PARALLELISM": "false",
}


@pytest.fixture(autouse=True)
def _fresh_clients() -> None:
    """A client made under one emulator must not serve a test under another."""
    client.cache_clear()
