"""An environment in memory for each test of the services."""

from __future__ import annotations

import pytest

from chronos_ec2.testing import Environment, Faults


@pytest.fixture
def env() -> Environment:
    return Environment()


@pytest.fixture
def faults(env: Environment) -> Faults:
    return env.faults
