"""A forecast whose agent is killed, whose spot instance is reclaimed or lost, ends as one without an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest

from chronos_ec2.local import LocalAws
from verification.agent.interrupted_forecasts import SERIES, measure

pytestmark = [pytest.mark.embedded_aws, pytest.mark.thorough]


def test_the_parts_of_an_interrupted_forecast_are_those_of_an_uninterrupted_one(
    embedded_aws: LocalAws, tmp_path: Path
) -> None:
    rows = measure(embedded_aws, tmp_path)
    assert [(row.interruption, row.lost, row.attempts, row.parts, row.equal) for row in rows] == [
        ("agent killed", "infra", 2, SERIES, True),
        ("spot notice", "preempted", 2, SERIES, True),
        ("instance terminated", "infra", 2, SERIES, True),
    ]
    assert all(row.passed for row in rows), rows
