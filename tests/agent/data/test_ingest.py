"""Reading Parquet into a panel, and one clear line about bad data."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.data.columns import count_rows
from agent.data.ingest.read import read_panel
from agent.data.ingest.sorting import order_of
from agent.data.panel import open_panel
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.data import Data
from tests.agent.data.files import DATA, a_file, days, numbers, read


def test_rows_in_any_order_become_series_sorted_by_item_and_time(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["b", "a", "b", "a"], timestamp=days(2, 2, 1, 1), target=[4.0, 2.0, 3.0, 1.0])
    panel = read([path], tmp_path)
    assert panel.items.to_pylist() == ["a", "b"]
    assert numbers(panel) == [[1, 2], [3, 4]]
    assert [panel.times(index, 0, 2).to_pylist() for index in (0, 1)] == [days(1, 2), days(1, 2)]
    assert panel.values.dtype == np.float32


def test_a_panel_is_reopened_as_it_was_written(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["b", "a", "b", "a"], timestamp=days(2, 2, 1, 1), target=[4.0, 2.0, 3.0, 1.0])
    panel = read([path], tmp_path)
    again = open_panel(tmp_path / "panel")
    assert again.items.equals(panel.items)
    assert np.array_equal(again.values, panel.values)
    assert again.time_type == panel.time_type
    assert not again.values.flags.writeable
    assert [child.name for child in tmp_path.iterdir() if child.is_dir()] == ["panel"]


def test_a_series_may_span_files(tmp_path: Path) -> None:
    files = [
        a_file(tmp_path, "1.parquet", item_id=["a", "b", "b"], timestamp=days(1, 1, 2), target=[1, 9, 8]),
        a_file(tmp_path, "2.parquet", item_id=["a"], timestamp=days(2), target=[2]),
    ]
    assert numbers(read(files, tmp_path)) == [[1, 2], [9, 8]]


def test_missing_targets_are_nan(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"] * 3, timestamp=days(1, 2, 3), target=[1.0, None, 2.0])
    assert np.isnan(read([path], tmp_path).series(0)[0, 1])


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
    assert numbers(read([path], tmp_path)) == [[1, 2]]


def test_column_names_come_from_the_configuration(tmp_path: Path) -> None:
    path = a_file(tmp_path, shop=["a", "a"], day=days(1, 2), sales=[1, 2])
    data = {"item_id": "shop", "timestamp": "day", "target": "sales"}
    assert count_rows([path], Data.model_validate({"path": "x"} | data)) == 2
    assert read([path], tmp_path, **data).items.to_pylist() == ["a"]


def test_several_targets_and_covariates_are_rows_in_the_order_of_chronos_2(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        item_id=["a", "a", "b", "b"], timestamp=days(2, 1, 1, 2),
        heat=[1.0, 2.0, None, 4.0], price=[5, 6, 7, 8], sales=[1, 2, 3, 4], returns=[0, 1, 0, 1],
        weather=["sun", "rain", "sun", None], holiday=[True, False, False, True],
    )  # fmt: skip
    panel = read(
        [path], tmp_path, target=["sales", "returns"], past_covariates=["heat", "weather"],
        known_covariates=["price", "holiday"],
    )  # fmt: skip
    assert (panel.columns.targets, panel.columns.past, panel.columns.known) == (2, 2, 2)
    assert panel.series(0).tolist() == [[2, 1], [1, 0], [2, 1], [0, 1], [6, 5], [0, 1]]
    assert np.isnan(panel.series(1)[2, 0])
    assert np.isnan(panel.series(1)[3, 1])


def test_the_code_of_a_category_does_not_depend_on_later_targets(tmp_path: Path) -> None:
    """The library encodes a category by the mean of its targets, including those after the cutoff."""
    rows = {"item_id": ["a"] * 4, "timestamp": days(1, 2, 3, 4), "kind": ["x", "y", "x", "y"]}
    codes = []
    for name, target in (("one", [1, 2, 3, 4]), ("other", [1, 2, 300, 400])):
        path = a_file(tmp_path, f"{name}.parquet", **rows, target=target)
        codes.append(numbers(read([path], tmp_path, known_covariates="kind"), row=1))
    assert codes[0] == codes[1] == [[0, 1, 0, 1]]


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"], timestamp=days(1), sales=[1])
    with pytest.raises(InvalidInput, match=r"^part.parquet: has no column 'target' for data.target \(its columns: "):
        count_rows([path], DATA)


@pytest.mark.parametrize(("column", "values"), [("target", ["1"]), ("timestamp", ["2024-01-01"]), ("item_id", [1.5])])
def test_a_column_of_the_wrong_type_is_named(tmp_path: Path, column: str, values: list[Any]) -> None:
    columns: dict[str, Any] = {"item_id": ["a"], "timestamp": days(1), "target": [1.0], column: values}
    with pytest.raises(InvalidInput, match=f"column '{column}' is .*, which cannot be data.{column}"):
        count_rows([a_file(tmp_path, **columns)], DATA)


def test_what_is_not_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    path.write_text("item_id,timestamp,target")
    with pytest.raises(InvalidInput, match=r"^notes.parquet: is not Parquet"):
        count_rows([path], DATA)


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    path = a_file(
        tmp_path, item_id=pa.array([], pa.string()), timestamp=pa.array([], pa.int64()), target=pa.array([], pa.int64())
    )
    with pytest.raises(InvalidInput, match="the data set has no rows"):
        count_rows([path], DATA)


def test_duplicate_times_are_counted_with_examples_or_dropped(tmp_path: Path) -> None:
    path = a_file(
        tmp_path, item_id=["b", "a", "b", "b", "b", "a"], timestamp=days(1, 1, 1, 1, 2, 2), target=[1, 2, 3, 4, 5, 6]
    )
    with pytest.raises(InvalidInput, match=r"2 rows repeat a time of their series, for instance in b \(data.problems"):
        read([path], tmp_path)
    assert numbers(read([path], tmp_path, problems={"duplicates": "drop"})) == [[2, 6], [4, 5]]


def test_short_series_are_counted_with_examples_or_dropped(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a", "a", "b", "b", "b"], timestamp=days(1, 2, 1, 2, 3), target=[1, 2, 3, 4, 5])
    with pytest.raises(InvalidInput, match=r"1 of 2 series have fewer than the 3 points .* for instance a \(2\)"):
        read([path], tmp_path, 3, problems={"short": "refuse"})
    assert numbers(read([path], tmp_path, 3, problems={"short": "drop"})) == [[3, 4, 5]]
    with pytest.raises(InvalidInput, match="2 of 2 series"):
        read([path], tmp_path, 9, problems={"short": "drop"})


def test_constant_and_missing_series_are_counted_or_dropped(tmp_path: Path) -> None:
    path = a_file(
        tmp_path,
        item_id=["a", "a", "b", "b", "c", "c"],
        timestamp=days(1, 2, 1, 2, 1, 2),
        target=[7.0, 7.0, 1.0, 2.0, None, None],
    )
    with pytest.raises(InvalidInput, match="2 of 3 series have no two different numbers, for instance a, c"):
        read([path], tmp_path)
    panel = read([path], tmp_path, problems={"empty": "drop"})
    assert panel.items.to_pylist() == ["b"]
    assert numbers(panel) == [[1, 2]]


def test_infinite_values_are_counted_or_treated_as_missing(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"] * 3, timestamp=days(1, 2, 3), target=[1.0, float("inf"), 2.0])
    with pytest.raises(
        InvalidInput, match="column 'target': 1 values are infinite, in 1 of 1 series, for instance in a "
    ):
        read([path], tmp_path)
    assert not (tmp_path / "panel").exists()
    assert np.isnan(read([path], tmp_path, problems={"infinite": "fill"}).series(0)[0, 1])


@pytest.mark.parametrize("column", ["item_id", "timestamp"])
def test_rows_without_an_item_or_a_time_are_counted(tmp_path: Path, column: str) -> None:
    columns: dict[str, Any] = {"item_id": ["a", "a"], "timestamp": days(1, 2), "target": [1, 2]}
    columns[column] = [columns[column][0], None]
    with pytest.raises(
        InvalidInput, match=f"column '{column}': 1 of 2 rows have no value, for instance in part.parquet"
    ):
        read([a_file(tmp_path, **columns)], tmp_path)


def test_an_item_name_cannot_inject_a_line(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a\nERROR all is lost"] * 2, timestamp=days(1, 2), target=[1, 2])
    with pytest.raises(InvalidInput) as caught:
        read([path], tmp_path, 3)
    assert "\n" not in str(caught.value)


def test_partition_folders_do_not_become_columns(tmp_path: Path) -> None:
    folder = tmp_path / "year=2010" / "month=01"
    folder.mkdir(parents=True)
    path = a_file(folder, item_id=["a", "a"], timestamp=days(1, 2), target=[1, 2])
    assert numbers(read([path], tmp_path)) == [[1, 2]]


def two_files(tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> list[Path]:
    """Series a in the first file, series b in the second, both with days 1 and 2."""
    plain: dict[str, Any] = {"timestamp": days(1, 2), "target": [1, 2]}
    return [
        a_file(tmp_path, "1.parquet", **({"item_id": ["a", "a"]} | plain | first)),
        a_file(tmp_path, "2.parquet", **({"item_id": ["b", "b"]} | plain | second)),
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"target": pa.array([1, 2], pa.int16())}, {"target": [1.0, 2.0]}),
        ({"target": pa.array([1, 2], pa.float64())}, {"target": pa.array([1, 2], pa.float32())}),
        ({"timestamp": pa.array(days(1, 2), pa.timestamp("us"))}, {"timestamp": pa.array(days(1, 2), "timestamp[s]")}),
        ({"timestamp": pa.array(days(1, 2), pa.timestamp("ns"))}, {"timestamp": [date(2024, 1, 1), date(2024, 1, 2)]}),
        ({"item_id": pa.array(["a", "a"], pa.large_string())}, {"item_id": pa.array(["b", "b"]).dictionary_encode()}),
        ({"item_id": pa.array(["5", "5"])}, {"item_id": pa.array([7, 7], pa.int32())}),
    ],
)  # fmt: skip
def test_files_may_differ_in_compatible_types(tmp_path: Path, first: dict[str, Any], second: dict[str, Any]) -> None:
    panel = read(two_files(tmp_path, first, second), tmp_path)
    assert numbers(panel) == [[1, 2], [1, 2]]
    assert [f"{time:%Y-%m-%d}" for time in panel.times(1, 0, 2).to_pylist()] == ["2024-01-01", "2024-01-02"]


def test_of_several_units_of_time_the_finest_is_kept(tmp_path: Path) -> None:
    whole = pa.array(days(1, 2), pa.timestamp("ms"))
    finer = pa.array([1_704_067_200_000_500, 1_704_153_600_000_500], pa.timestamp("us"))
    panel = read(two_files(tmp_path, {"timestamp": whole}, {"timestamp": finer}), tmp_path)
    assert [time.microsecond for time in panel.times(1, 0, 2).to_pylist()] == [500, 500]
    assert [time.day for time in panel.times(0, 0, 2).to_pylist()] == [1, 2]


def test_a_series_is_kept_if_any_of_its_targets_has_two_different_numbers(tmp_path: Path) -> None:
    path = a_file(
        tmp_path, item_id=["a", "a", "b", "b"], timestamp=days(1, 2, 1, 2), sold=[1.0, 2.0, 5.0, 5.0],
        returned=[7.0, 7.0, 5.0, 5.0],
    )  # fmt: skip
    settings: dict[str, Any] = {"target": ["sold", "returned"]}
    with pytest.raises(InvalidInput, match="1 of 2 series have no two different numbers, for instance b"):
        read([path], tmp_path, **settings)
    panel = read([path], tmp_path, problems={"empty": "drop"}, **settings)
    assert panel.items.to_pylist() == ["a"]
    assert panel.series(0).tolist() == [[1.0, 2.0], [7.0, 7.0]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array(["x", "y"]), pa.array(["y", "z"], pa.large_string()).dictionary_encode()),
        (pa.array(["x", "y"]), pa.array([None, None], pa.null())),
    ],
)
def test_a_category_has_the_same_code_in_all_files(tmp_path: Path, first: pa.Array, second: pa.Array) -> None:
    panel = read(two_files(tmp_path, {"kind": first}, {"kind": second}), tmp_path, known_covariates="kind")
    assert panel.series(0)[1].tolist() == [0, 1]
    assert panel.series(1)[1].tolist() == pytest.approx([1, 2] if second.null_count == 0 else [np.nan] * 2, nan_ok=True)
    names = ["x", "y", "z"] if second.null_count == 0 else ["x", "y"]
    assert open_panel(tmp_path / "panel").categories == {"kind": names}
    about = json.loads((tmp_path / "panel" / "panel.json").read_text())
    assert about["names"] == ["target", "kind"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"kind": ["x", "y"]}, {"kind": [1, 2]}, "column 'kind': text in 1 of 2 files, .* 1.parquet; a number in 1 of"),
        ({"timestamp": [1, 2]}, {}, "column 'timestamp': a number in 1 of 2 files, .* 1.parquet; a time in"),
        ({"timestamp": pa.array([1, 2], pa.uint64())}, {"timestamp": pa.array([2**63, 2], pa.uint64())},
         "2.parquet: column 'timestamp' is uint64 and cannot be read as int64"),
    ],
)  # fmt: skip
def test_incompatible_files_are_named(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], message: str
) -> None:
    more = {} if "timestamp" in first else {"known_covariates": "kind"}
    with pytest.raises(InvalidInput, match=message):
        read(two_files(tmp_path, first, second), tmp_path, **more)


def test_times_in_several_zones_are_counted_with_examples_or_treated_as_instants(tmp_path: Path) -> None:
    utc, berlin = (pa.array(days(1, 2), pa.timestamp("us", zone)) for zone in ("UTC", "Europe/Berlin"))
    files = two_files(tmp_path, {"timestamp": utc}, {"timestamp": berlin})
    files.append(a_file(tmp_path, "3.parquet", item_id=["c", "c"], timestamp=days(1, 2), target=[1, 2]))
    with pytest.raises(
        InvalidInput,
        match=r"column 'timestamp': times in UTC in 1 of 3 files, .* 1.parquet; times in Europe/Berlin in 1 of "
        r"3 files, .*; times without a zone in 1 of 3 files, for instance 3.parquet \(data.problems.zones: utc treats",
    ):
        count_rows(files, DATA)
    panel = read(files, tmp_path, problems={"zones": "utc"})
    assert str(panel.time_type) == "timestamp[us, tz=UTC]"
    assert panel.times(1, 0, 2).equals(panel.times(0, 0, 2))
    assert panel.times(2, 0, 2).equals(panel.times(0, 0, 2))


def test_progress_is_reported_for_every_chunk(tmp_path: Path) -> None:
    """Reading a large data set takes longer than the limit for a run without progress."""
    path = a_file(tmp_path, item_id=["a"] * 4, timestamp=days(1, 2, 3, 4), target=range(4), heat=range(4))
    calls: list[tuple[int, int]] = []
    data = Data.model_validate({"path": "x", "past_covariates": "heat"})
    read_panel([path], data, 1, tmp_path / "panel", lambda done, total: calls.append((done, total)))
    assert calls == [(4, 20), (8, 20), (12, 20), (20, 20)]


def test_small_files_are_written_together(tmp_path: Path) -> None:
    """A thousand files of ten rows in a thousand pieces took longer than one file of ten thousand rows."""
    files = [
        a_file(tmp_path, f"{number}.parquet", item_id=[f"i{number:02}"] * 3, timestamp=days(1, 2, 3), target=range(3))
        for number in range(20)
    ]
    calls: list[tuple[int, int]] = []
    panel = read_panel(
        files, Data.model_validate({"path": "x"}), 1, tmp_path / "panel", lambda *call: calls.append(call)
    )
    assert calls == [(60, 180), (120, 180), (180, 180)]
    assert panel.values.tolist() == [[0, 1, 2] * 20]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), min_size=2, max_size=60, unique=True),
    st.sampled_from([1, 7, 1000]),
)
def test_the_order_equals_that_of_a_stable_sort(places: list[tuple[int, int]], step: int) -> None:
    """Both in linear time and by sorting."""
    codes = np.array([code for code, _ in places], dtype=np.int32)
    ticks = np.array([tick * step for _, tick in places])
    found = order_of(codes, ticks, 6)
    expected = np.lexsort((ticks, codes))
    assert np.array_equal(np.arange(len(codes)) if found is None else found, expected)
