"""One panel for all tests of the training loop."""

from __future__ import annotations

import pytest

from agent.data.panel import Panel
from tests.agent.chronos.builders import a_panel


@pytest.fixture(scope="session")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Panel:
    return a_panel(tmp_path_factory.mktemp("panel"))
