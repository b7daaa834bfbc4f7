"""Parquet to series, and one clear line for what cannot be one."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.series import check_columns, load_series
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config import Data

DATA = Data(path="x")


def a_file(tmp_path: Path, name: str = "part.parquet", **columns: Any) -> Path:
    path = tmp_path / name
    pq.write_table(pa.table(columns), path)
    return path


def days(*numbers: int) -> list[datetime]:
    return [datetime(2024, 1, number) for number in numbers]  # noqa: DTZ001 - Parquet times are often without a zone


def test_rows_in_any_order_become_series_in_order_of_item_and_time(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["b", "a", "b", "a"], timestamp=days(2, 2, 1, 1), target=[4.0, 2.0, 3.0, 1.0])
    series = load_series([path], DATA, min_length=1)
    assert series.items == ("a", "b")
    assert [values.tolist() for values in series.values] == [[1, 2], [3, 4]]
    assert [times.to_pylist() for times in series.timestamps] == [days(1, 2), days(1, 2)]
    assert all(values.dtype == np.float32 for values in series.values)


def test_a_series_may_span_files(tmp_path: Path) -> None:
    files = [
        a_file(tmp_path, "1.parquet", item_id=["a", "b"], timestamp=days(1, 1), target=[1, 9]),
        a_file(tmp_path, "2.parquet", item_id=["a"], timestamp=days(2), target=[2]),
    ]
    series = load_series(files, DATA, min_length=1)
    assert [values.tolist() for values in series.values] == [[1, 2], [9]]


def test_missing_targets_are_nan(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a", "a"], timestamp=days(1, 2), target=[1.0, None])
    assert np.isnan(load_series([path], DATA, 1).values[0][1])


@pytest.mark.parametrize(
    ("items", "times"),
    [
        (pa.array([7, 7]), pa.array([1, 2])),
        (pa.array(["a", "a"]).dictionary_encode(), pa.array([date(2024, 1, 1), date(2024, 1, 2)])),
        (pa.array(["a", "a"], pa.large_string()), pa.array(days(1, 2), pa.timestamp("ns", "UTC"))),
    ],
)
def test_items_and_times_of_many_types(tmp_path: Path, items: pa.Array, times: pa.Array) -> None:
    path = a_file(tmp_path, item_id=items, timestamp=times, target=[1, 2])
    series = load_series([path], DATA, 2)
    assert [values.tolist() for values in series.values] == [[1, 2]]


def test_columns_have_the_names_that_the_configuration_gives(tmp_path: Path) -> None:
    path = a_file(tmp_path, shop=["a"], day=days(1), sales=[1])
    data = Data(path="x", item_id="shop", timestamp="day", target="sales")
    assert check_columns([path], data) == 1
    assert load_series([path], data, 1).items == ("a",)


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"], timestamp=days(1), sales=[1])
    with pytest.raises(InvalidInput, match=r"^part.parquet: has no column 'target' for data.target \(its columns: "):
        check_columns([path], DATA)


@pytest.mark.parametrize(("column", "values"), [("target", ["1"]), ("timestamp", ["2024-01-01"]), ("item_id", [1.5])])
def test_a_column_of_the_wrong_type_is_named(tmp_path: Path, column: str, values: list[Any]) -> None:
    columns: dict[str, Any] = {"item_id": ["a"], "timestamp": days(1), "target": [1.0], column: values}
    with pytest.raises(InvalidInput, match=f"column '{column}' is .*, which cannot be data.{column}"):
        check_columns([a_file(tmp_path, **columns)], DATA)


def test_what_is_not_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    path.write_text("item_id,timestamp,target")
    with pytest.raises(InvalidInput, match=r"^notes.parquet: is not Parquet"):
        check_columns([path], DATA)


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    path = a_file(
        tmp_path, item_id=pa.array([], pa.string()), timestamp=pa.array([], pa.int64()), target=pa.array([], pa.int64())
    )
    with pytest.raises(InvalidInput, match="the data set has no rows"):
        check_columns([path], DATA)


def test_repeated_times_are_counted_with_examples(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["b", "a", "b", "b"], timestamp=days(1, 1, 1, 1), target=[1, 2, 3, 4])
    with pytest.raises(InvalidInput, match="2 rows repeat a time of their series, for instance in b"):
        load_series([path], DATA, 1)


def test_short_series_are_counted_with_examples(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a", "b", "b"], timestamp=days(1, 1, 2), target=[1, 2, 3])
    with pytest.raises(InvalidInput, match=r"1 of 2 series have fewer than the 2 observations .* for instance a \(1\)"):
        load_series([path], DATA, 2)


@pytest.mark.parametrize("column", ["item_id", "timestamp"])
def test_rows_without_an_item_or_a_time_are_counted(tmp_path: Path, column: str) -> None:
    columns: dict[str, Any] = {"item_id": ["a", "a"], "timestamp": days(1, 2), "target": [1, 2]}
    columns[column] = [columns[column][0], None]
    with pytest.raises(InvalidInput, match=f"column '{column}': 1 of 2 rows have no value"):
        load_series([a_file(tmp_path, **columns)], DATA, 1)


def test_an_item_name_cannot_forge_a_line(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a\nERROR all is lost"], timestamp=days(1), target=[1])
    with pytest.raises(InvalidInput) as caught:
        load_series([path], DATA, 2)
    assert "\n" not in str(caught.value)
