"""A forecast that was cut off anywhere ends as an uninterrupted one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from verification.agent.forecast_resume import measure


@pytest.mark.thorough
def test_the_union_of_the_parts_is_that_of_an_uninterrupted_forecast(tmp_path: Path) -> None:
    found = measure(4, tmp_path, [(signal.SIGKILL, 1)])
    assert (found.cut, found.equal) == (5, 5)
