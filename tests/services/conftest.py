"""A small world for each test of the services."""

from __future__ import annotations

import pytest

from tests.services.scenario import Scenario


@pytest.fixture
def scene() -> Scenario:
    return Scenario()
