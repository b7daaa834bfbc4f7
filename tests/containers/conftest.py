"""Functions, built by the real sam, and instances, in containers on the embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chronos_ec2.local import LocalAws, LocalAwsFailed
from chronos_ec2.local.ec2 import instance_container
from chronos_ec2.local.sam_invoke import BuiltFunctions, built_functions, ensure_image
from verification.instance_faults.testbed import Testbed, open_testbed


@pytest.fixture(scope="session")
def image() -> None:
    """Lambda's image, or its substitute; skips without Docker."""
    try:
        ensure_image()
    except LocalAwsFailed as reason:
        pytest.skip(f"no container of Lambda: {reason}")


@pytest.fixture(scope="session")
def containers(image: None, embedded_aws: LocalAws) -> Iterator[BuiltFunctions]:
    with built_functions(embedded_aws) as ready:
        yield ready


@pytest.fixture(scope="module")
def instances(embedded_aws: LocalAws) -> Iterator[Testbed]:
    try:
        instance_container.ensure_image()
    except LocalAwsFailed as reason:
        pytest.skip(f"no instance in a container: {reason}")
    with open_testbed(embedded_aws) as ready:
        yield ready
