"""The template's functions, built by the real sam, in containers, on the embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chronos_ec2.local import LocalAws, LocalAwsFailed
from chronos_ec2.local.invoke import Bench, bench, ensure_image


@pytest.fixture(scope="session")
def image() -> None:
    """Lambda's image or its stand-in; without Docker there is none."""
    try:
        ensure_image()
    except LocalAwsFailed as reason:
        pytest.skip(f"no container of Lambda: {reason}")


@pytest.fixture(scope="session")
def containers(image: None, embedded_aws: LocalAws) -> Iterator[Bench]:
    with bench(embedded_aws) as ready:
        yield ready
