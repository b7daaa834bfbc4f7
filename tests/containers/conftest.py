"""Containers on the embedded AWS: the functions, built by the real sam, and instances."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chronos_ec2.local import LocalAws, LocalAwsFailed
from chronos_ec2.local.ec2 import instance_container
from chronos_ec2.local.sam_invoke import BuiltFunctions, built_functions, ensure_image
from verification.instance_faults.testbed import FaultBench, fault_bench


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
def instances(embedded_aws: LocalAws) -> Iterator[FaultBench]:
    try:
        instance_container.ensure_image()
    except LocalAwsFailed as reason:
        pytest.skip(f"no instance in a container: {reason}")
    with fault_bench(embedded_aws) as ready:
        yield ready
