"""The frequency of a data set as an ISO 8601 duration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.data.frequency import frequency_of
from agent.data.ingest.read import read_panel
from chronos_ec2.job_config.data import Data


def days(*texts: str) -> pa.Array:
    return pa.array(np.array(texts, dtype="datetime64[D]"))


def stepped(step: int, unit: str) -> pa.Array:
    times = np.datetime64("2024-01-31", unit) + np.arange(6) * np.timedelta64(step, unit)
    return pa.array(times.astype("datetime64[ms]"))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (stepped(30, "m"), "PT30M"),
        (stepped(90, "s"), "PT90S"),
        (stepped(250, "ms"), "PT0.25S"),
        (stepped(6, "h"), "PT6H"),
        (stepped(1, "D"), "P1D"),
        (stepped(7, "D"), "P7D"),
        (days("2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"), "P1M"),
        (days("2024-01-01", "2024-04-01", "2024-07-01", "2024-10-01"), "P3M"),
        (pa.array([1, 3, 5, 7]), "2"),
        (days("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-08", "2024-01-09"), "P1D"),
        (stepped(1, "D").take(pa.array([0, 2, 4, 5])), "P1D"),
        (stepped(1, "D").take(pa.array([0, 2, 5])), None),
    ],
)
def test_the_frequency_is_an_iso_8601_duration(tmp_path: Path, times: pa.Array, expected: str | None) -> None:
    table = pa.table({"item_id": ["a"] * len(times), "timestamp": times, "target": np.arange(len(times)) % 3.0})
    pq.write_table(table, tmp_path / "data.parquet")
    data = Data.model_validate({"path": "x", "problems": {"gaps": "ignore"}})
    assert frequency_of(read_panel([tmp_path / "data.parquet"], data, 1, tmp_path / "panel")) == expected
