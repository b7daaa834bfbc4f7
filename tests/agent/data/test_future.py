"""The times of the points to forecast, and the covariates that are known for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from agent.data.ingest.future import Horizon, read_future
from agent.data.ingest.read import read_panel
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.data import Data

KNOWN = Data.model_validate({"path": "x", "known_covariates": ["price"]})


def a_table(tmp_path: Path, name: str, **columns: Any) -> Path:
    path = tmp_path / f"{name}.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def next_times(tmp_path: Path, times: Any, data: dict[str, Any] | None = None, length: int = 3) -> list[str]:
    path = a_table(tmp_path, "history", item_id=["a"] * len(times), timestamp=times, target=np.arange(len(times)) % 5.0)
    settings = Data.model_validate({"path": "x"} | (data or {}))
    panel = read_panel([path], settings, 1, tmp_path / "panel", constant=True)
    horizon = Horizon.of(panel, settings, length)
    found = pa.array(horizon.ticks(np.array([0]))[0]).cast(panel.time_type).cast(panel.stored_type)
    return [str(time)[:19] for time in found.cast(pa.string()).to_pylist()]


def days(start: str, count: int, unit: str = "D") -> Any:
    return (np.datetime64(start, unit) + np.arange(count)).astype("datetime64[s]")


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (days("2024-02-20", 8), ["2024-02-28 00:00:00", "2024-02-29 00:00:00", "2024-03-01 00:00:00"]),
        (days("2023-10", 4, "M"), ["2024-02-01 00:00:00", "2024-03-01 00:00:00", "2024-04-01 00:00:00"]),
        (
            np.array(["2023-10-31", "2023-11-30", "2023-12-31", "2024-01-31"], "datetime64[s]"),
            ["2024-02-29 00:00:00", "2024-03-31 00:00:00", "2024-04-30 00:00:00"],
        ),
        (np.arange(4) * 5, ["20", "25", "30"]),
    ],
    ids=["days", "months", "month ends", "numbers"],
)
def test_the_times_to_forecast_continue_the_common_step(tmp_path: Path, times: Any, expected: list[str]) -> None:
    assert next_times(tmp_path, times) == expected


def test_after_a_friday_comes_a_monday_unless_days_are_asked_for(tmp_path: Path) -> None:
    week = days("2024-03-01", 22)
    business = np.array([day for day in week if np.is_busday(day.astype("datetime64[D]"))])
    assert next_times(tmp_path, business)[0] == "2024-03-25 00:00:00"
    assert next_times(tmp_path, business, {"frequency": "D"})[0] == "2024-03-23 00:00:00"


def test_days_keep_their_local_hour_when_clocks_change(tmp_path: Path) -> None:
    local = pa.array(days("2024-03-20", 10), pa.timestamp("s"))
    berlin = pc.assume_timezone(local, "Europe/Berlin")
    assert next_times(tmp_path, berlin) == [
        "2024-03-30 00:00:00", "2024-03-31 00:00:00", "2024-04-01 00:00:00"
    ]  # fmt: skip


def test_without_a_common_step_nobody_knows_the_next_time(tmp_path: Path) -> None:
    times = np.array(["2024-01-01", "2024-01-02", "2024-01-09T07"], "datetime64[s]")
    with pytest.raises(InvalidInput, match="no common step"):
        next_times(tmp_path, times, {"problems": {"gaps": "ignore"}})


def joined(
    tmp_path: Path, items: list[str], times: Any, prices: list[Any], data: Data = KNOWN, past: list[Any] | None = None
) -> Any:
    """Of series a, which ends on the third, and b, which ends on the second of January."""
    ends = np.concatenate([days("2024-01-01", 3), days("2024-01-01", 2)])
    history = a_table(
        tmp_path,
        "history",
        item_id=["a"] * 3 + ["b"] * 2,
        timestamp=ends,
        target=[1.0, 2, 3, 4, 5],
        price=past or [0.0] * 5,
    )
    panel = read_panel([history], data, 1, tmp_path / "panel")
    future = a_table(tmp_path, "future", item_id=items, timestamp=times, price=prices)
    return read_future([future], data, Horizon.of(panel, data, 2), np.array([0, 1]))


WHOLE = (["b", "a", "b", "a"], np.array(["2024-01-04", "2024-01-04", "2024-01-03", "2024-01-05"], "datetime64[s]"))


def test_known_covariates_are_at_the_points_that_they_are_known_for(tmp_path: Path) -> None:
    assert joined(tmp_path, *WHOLE, [4.0, 1.0, 3.0, 2.0]).tolist() == [[[1, 2], [3, 4]]]


def test_rows_beyond_the_horizon_and_of_other_series_make_no_difference(tmp_path: Path) -> None:
    times = np.concatenate([WHOLE[1], np.array(["2024-01-09", "2024-01-01"], "datetime64[s]")])
    assert joined(tmp_path, [*WHOLE[0], "a", "c"], times, [4.0, 1.0, 3.0, 2.0, 9, 9]).tolist() == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize(
    ("item", "time", "problem"),
    [
        ("a", "2024-01-03", "1 rows are not after the last observation of their series, for instance in a"),
        ("b", "2024-01-03T06", "1 times are not on the common step of the data, for instance 2024-01-03 06:00:00"),
        ("b", "2024-01-04", "1 times occur twice, for instance in b"),
        (
            "b",
            "2024-01-09",
            "1 of 4 points to forecast have no row, in 1 of 2 series, for instance 2024-01-03 00:00:00",
        ),
    ],
)
def test_what_is_wrong_with_the_future_is_named(tmp_path: Path, item: str, time: str, problem: str) -> None:
    items, times = list(WHOLE[0]), WHOLE[1].copy()
    items[2], times[2] = item, np.datetime64(time)
    with pytest.raises(InvalidInput, match=problem):
        joined(tmp_path, items, times, [4.0, 1.0, 3.0, 2.0])


def test_series_of_single_points_have_no_next_time(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no series has two points, .* \(add earlier observations"):
        next_times(tmp_path, days("2024-01-01", 1))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e20])
def test_values_too_large_for_the_models_are_refused_or_missing(tmp_path: Path, value: float) -> None:
    problem = (
        r"column 'price' of future: 1 values are infinite or larger than 1e\+17, for instance in b \(data.problems.i"
    )
    with pytest.raises(InvalidInput, match=problem):
        joined(tmp_path, *WHOLE, [value, 1.0, 3.0, 2.0])
    lenient = Data.model_validate(KNOWN.model_dump() | {"problems": {"infinite": "fill"}})
    found = joined(tmp_path, *WHOLE, [value, 1.0, 3.0, 2.0], data=lenient)
    np.testing.assert_array_equal(found, [[[1, 2], [3, np.nan]]])


@pytest.mark.parametrize(
    ("past", "ahead", "problem"),
    [
        ([0.0] * 5, ["x"] * 4, "column 'price' of future: is text, and a number in the data"),
        (["1"] * 5, [1.0] * 4, "column 'price' of future: is a number, and text in the data"),
    ],
)
def test_a_covariate_is_of_one_kind_in_past_and_future(
    tmp_path: Path, past: list[Any], ahead: list[Any], problem: str
) -> None:
    """A text would be missing everywhere, and a number would be taken for the code of a text."""
    with pytest.raises(InvalidInput, match=problem):
        joined(tmp_path, *WHOLE, ahead, past=past)


def test_times_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"int64, and timestamp\[ms\] in the data|int64, and timestamp\[s\]"):
        joined(tmp_path, WHOLE[0], [4, 4, 3, 5], [0.0] * 4)
