"""The frequency of a data set as an ISO 8601 duration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.data.frequency import frequency_of
from agent.data.ingest.future import Horizon
from agent.data.ingest.read import read_panel
from chronos_ec2.domain.errors import InvalidInput
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
    write(tmp_path / "data.parquet", times)
    data = Data.model_validate({"path": "x", "problems": {"gaps": "ignore"}})
    assert frequency_of(read_panel([tmp_path / "data.parquet"], data, 1, tmp_path / "panel")) == expected


def write(path: Path, times: pa.Array) -> None:
    """One series at these times."""
    table = pa.table({"item_id": ["a"] * len(times), "timestamp": times, "target": np.arange(len(times)) % 3.0})
    pq.write_table(table, path)


def offsets(alias: str, count: int = 30, hour: int = 0) -> pa.Array:
    """Times as pandas makes them."""
    times = pd.date_range("2019-11-01", periods=count, freq=alias) + pd.Timedelta(hours=hour)
    return pa.array(times.as_unit("us"))


@pytest.mark.parametrize(
    ("alias", "expected"),
    [("BME", "BME"), ("BMS", "BMS"), ("BQE", "3BME"), ("BQS-FEB", "3BMS"), ("BYE", "12BME"), ("BYS-JUL", "12BMS"),
     ("2BME", "2BME"), ("QE-FEB", "P3M"), ("YS-APR", "P12M"), ("W-FRI", "P7D"), ("ME", "P1M")],
)  # fmt: skip
@pytest.mark.parametrize("hour", [0, 16])
def test_what_pandas_calls_a_frequency_is_one(tmp_path: Path, alias: str, expected: str, hour: int) -> None:
    """Gaps are filled with the times that pandas would have, and named by it."""
    times, missing = offsets(alias, hour=hour), [7, 8, 20]
    kept = [row for row in range(len(times)) if row not in missing]
    table = pa.table(
        {"item_id": ["a"] * len(kept), "timestamp": times.take(pa.array(kept)), "target": map(float, kept)}
    )
    pq.write_table(table, tmp_path / "data.parquet")
    data = Data.model_validate({"path": "x", "frequency": alias})
    panel = read_panel([tmp_path / "data.parquet"], data, 1, tmp_path / "panel")
    assert frequency_of(panel) == expected
    assert panel.ticks.tolist() == times.cast(pa.int64()).to_pylist()
    assert np.flatnonzero(np.isnan(panel.values[0])).tolist() == missing
    following = Horizon.of(panel, data, 6).ticks(np.arange(1))
    wanted = offsets(alias, 36, hour)[30:]
    assert following.ravel().tolist() == wanted.cast(pa.int64()).to_pylist()


@pytest.mark.parametrize("last", ["2018-11-03", "2018-11-04", "2018-11-20"])
@pytest.mark.parametrize("step", ["D", "W-SUN"])
def test_days_that_begin_when_clocks_change_are_days(tmp_path: Path, last: str, step: str) -> None:
    """In Brazil the clocks of 2018 went from midnight of November 4 to one o'clock."""
    days = pd.date_range("2018-09-01", last, freq=step)
    days = days.union(pd.date_range(days[-1], periods=8, freq=step))
    times = days.as_unit("us").tz_localize("America/Sao_Paulo", nonexistent="shift_forward")
    write(tmp_path / "data.parquet", pa.array(times[:-7]))
    data = Data.model_validate({"path": "x", "frequency": step})
    panel = read_panel([tmp_path / "data.parquet"], data, 1, tmp_path / "panel")
    assert panel.ticks.tolist() == pa.array(times[:-7]).cast(pa.int64()).to_pylist()
    following = Horizon.of(panel, data, 7).ticks(np.arange(1))
    assert following.ravel().tolist() == pa.array(times[-7:]).cast(pa.int64()).to_pylist()


@pytest.mark.parametrize("alias", ["SME", "WOM-3FRI", "LWOM-THU"])
def test_a_step_that_the_calendar_does_not_have_is_refused_with_what_to_do(tmp_path: Path, alias: str) -> None:
    write(tmp_path / "data.parquet", offsets(alias))
    data = Data.model_validate({"path": "x"})
    with pytest.raises(InvalidInput, match="the times have no common step") as refused:
        read_panel([tmp_path / "data.parquet"], data, 1, tmp_path / "panel")
    assert "ignore" in refused.value.hint
