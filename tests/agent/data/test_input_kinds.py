"""Data as other tools write them: read as they are meant, or refused in a line that names column and remedy."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_ec2.domain.errors import InvalidInput
from tests.agent.data.files import a_file, days, numbers, read


def refusal(files: list[Path], tmp_path: Path, **data: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(files, tmp_path, **data)
    assert not list(tmp_path.glob("panel.*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([Decimal("1.00"), Decimal("2.50")], pa.decimal128(10, 2)),
        pa.array([1.0, 2.5], pa.float16()),
        pa.array([1.0, 2.5]).dictionary_encode(),
    ],
    ids=["decimal", "half", "dictionary"],
)
def test_numbers_of_many_types(tmp_path: Path, values: pa.Array) -> None:
    assert numbers(read([a_file(tmp_path, item_id=["a", "a"], timestamp=days(1, 2), target=values)], tmp_path)) == [
        [1, 2.5]
    ]


@pytest.mark.parametrize("values", [[True, False], pa.array([1, 0], pa.uint64()), pa.array([1, 0], pa.int8())])
def test_whole_numbers_and_booleans(tmp_path: Path, values: Any) -> None:
    path = a_file(tmp_path, item_id=["a", "a"], timestamp=days(1, 2), target=values)
    assert numbers(read([path], tmp_path)) == [[1, 0]]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.binary(), pa.string()])
def test_text_of_many_types(tmp_path: Path, kind: pa.DataType) -> None:
    names = pa.array(["ä", "", "ä"]).cast(kind)
    path = a_file(tmp_path, item_id=names, timestamp=days(1, 1, 2), target=[1, 5, 2], kind=names)
    message = refusal([path], tmp_path, known_covariates="kind", problems={"empty": "refuse"})
    assert "1 of 2 series have no two different numbers" in message
    panel = read([path], tmp_path, known_covariates="kind", problems={"empty": "drop"})
    assert panel.items.to_pylist() == ["ä"]
    assert panel.series(0).tolist() == [[1, 2], [1, 1]]


def test_a_file_without_rows_makes_no_difference(tmp_path: Path) -> None:
    """Whatever its columns: writers leave the type of an empty column open."""
    full = a_file(tmp_path, "1.parquet", item_id=["a", "a"], timestamp=days(1, 2), target=[1, 2])
    empty = a_file(tmp_path, "2.parquet", item_id=pa.array([], pa.null()), other=pa.array([], pa.bool_()))
    assert numbers(read([full, empty], tmp_path)) == [[1, 2]]


def test_a_column_without_values_may_be_of_any_type(tmp_path: Path) -> None:
    full = a_file(tmp_path, "1.parquet", item_id=["a"] * 2, timestamp=days(1, 2), target=[1, 2], kind=["x", None])
    none = pa.nulls(2)
    part = a_file(tmp_path, "2.parquet", item_id=["b"] * 2, timestamp=days(1, 2), target=[3.0, 4.0], kind=none)
    panel = read([full, part], tmp_path, known_covariates="kind")
    assert np.isnan(panel.series(1)[1]).all()
    lost = a_file(tmp_path, "3.parquet", item_id=none, timestamp=days(1, 2), target=[3.0, 4.0], kind=none)
    assert "column 'item_id': 2 of 4 rows have no value, for instance in 3.parquet" in refusal([full, lost], tmp_path)


def test_a_column_name_twice_is_named_with_its_file(tmp_path: Path) -> None:
    columns = [pa.array(["a"]), pa.array(days(1)), pa.array([1.0]), pa.array([2.0])]
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays(columns, names=["item_id", "timestamp", "target", "target"]), path)
    assert refusal([path], tmp_path).startswith("twice.parquet: has 2 columns of the name 'target' (rename")


def test_a_column_name_twice_that_is_not_read_is_no_problem(tmp_path: Path) -> None:
    columns = [pa.array(["a", "a"]), pa.array(days(1, 2)), pa.array([1.0, 2.0]), pa.array([1, 2]), pa.array([1, 2])]
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays(columns, names=["item_id", "timestamp", "target", "x", "x"]), path)
    assert numbers(read([path], tmp_path)) == [[1, 2]]


def test_a_damaged_page_is_named_with_its_file_and_column(tmp_path: Path) -> None:
    files = [
        a_file(tmp_path, f"{name}.parquet", item_id=[name] * 500, timestamp=np.arange(500), target=np.arange(500) * 1.5)
        for name in "ab"
    ]
    place = pq.read_metadata(files[1]).row_group(0).column(2).data_page_offset
    content = bytearray(files[1].read_bytes())
    content[place : place + 20] = bytes(range(20))
    files[1].write_bytes(content)
    assert refusal(files, tmp_path).startswith("b.parquet: column 'target' is damaged: ")


def test_a_page_with_another_checksum_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    rows = {"item_id": ["a"] * 500, "timestamp": np.arange(500), "target": np.random.default_rng(0).normal(size=500)}
    pq.write_table(pa.table(rows), path, compression="none", write_page_checksum=True, use_dictionary=False)
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(2)
    content[column.data_page_offset + column.total_compressed_size - 9] ^= 0x40
    path.write_bytes(content)
    assert "column 'target' is damaged" in refusal([path], tmp_path)


def test_pandas_periods_are_refused_with_what_to_write(tmp_path: Path) -> None:
    """pandas writes them as numbers: months since 1970."""
    about = {b"ARROW:extension:name": b"pandas.period", b"ARROW:extension:metadata": b'{"freq": "M"}'}
    fields = [
        pa.field("item_id", pa.string()),
        pa.field("timestamp", pa.int64(), metadata=about),
        pa.field("target", pa.float64()),
    ]
    path = tmp_path / "periods.parquet"
    pq.write_table(pa.table([["a", "a"], [644, 645], [1.0, 2.0]], schema=pa.schema(fields)), path)
    message = refusal([path], tmp_path)
    assert "column 'timestamp' has pandas periods" in message
    assert ".dt.to_timestamp()" in message


@pytest.mark.parametrize(
    ("written", "read_as"), [("UTC+09:00", "+09:00"), ("GMT-3", "-03:00"), ("utc", "UTC"), ("Etc/UTC", "UTC")]
)
def test_a_zone_may_be_written_in_several_ways(tmp_path: Path, written: str, read_as: str) -> None:
    times = pa.array(days(1, 2), pa.timestamp("us", written))
    panel = read([a_file(tmp_path, item_id=["a", "a"], timestamp=times, target=[1, 2])], tmp_path)
    assert panel.time_type.tz == read_as
    assert panel.times(0, 0, 2).cast(pa.int64()).equals(times.cast(pa.int64()))


def test_an_unknown_zone_is_refused_before_training(tmp_path: Path) -> None:
    times = pa.array(days(1, 2), pa.timestamp("us", "CEST/somewhere"))
    path = a_file(tmp_path, item_id=["a", "a"], timestamp=times, target=[1, 2])
    assert "is in the time zone 'CEST/somewhere', which is unknown" in refusal([path], tmp_path)


def test_numbers_that_are_dates_are_refused(tmp_path: Path) -> None:
    dates = [20240130, 20240131, 20240201, 20240202]
    path = a_file(tmp_path, item_id=["a"] * 4, timestamp=dates, target=[1, 2, 3, 4])
    for gaps in ("refuse", "fill"):
        assert "its integers are dates" in refusal([path], tmp_path, problems={"gaps": gaps})


def test_folders_named_name_value_are_columns(tmp_path: Path) -> None:
    files = []
    for country, first in (("DE", 1), ("Côte d%27Ivoire", 5)):
        (tmp_path / f"country={country}" / f"share={first}").mkdir(parents=True)
        place = f"country={country}/share={first}/part.parquet"
        files.append(a_file(tmp_path, place, item_id=[7, 7], timestamp=days(1, 2), target=[first, first + 1]))
    settings: dict[str, Any] = {"item_id": ["country", "item_id"], "known_covariates": "share"}
    panel = read(files, tmp_path, **settings)
    assert panel.items.to_pylist() == ["Côte d'Ivoire/7", "DE/7"]
    assert panel.ids.to_pydict() == {"country": ["Côte d'Ivoire", "DE"], "item_id": [7, 7]}
    assert panel.series(0).tolist() == [[5, 6], [5, 5]]


def test_a_folder_may_be_the_time(tmp_path: Path) -> None:
    files = []
    for day in (1, 2):
        (tmp_path / f"day=2024-01-0{day}").mkdir()
        files.append(a_file(tmp_path, f"day=2024-01-0{day}/part.parquet", item_id=["a", "b"], target=[day, 2 * day]))
    panel = read(files, tmp_path, timestamp="day")
    assert numbers(panel) == [[1, 2], [2, 4]]
    assert panel.times(0, 0, 2).to_pylist() == days(1, 2)


def countries(tmp_path: Path, *names: str) -> list[Path]:
    files = []
    for number, name in enumerate(names):
        (tmp_path / f"country={name}").mkdir()
        rows = {"item_id": ["a", "a", "b", "b"], "timestamp": days(1, 2, 1, 2), "target": [number, 2, 3, number]}
        files.append(a_file(tmp_path, f"country={name}/part.parquet", **rows))
    return files


def test_a_folder_that_is_not_named_is_said_not_to_be_read(tmp_path: Path) -> None:
    files = countries(tmp_path, "DE", "FR")
    message = refusal(files, tmp_path)
    assert "4 rows repeat a time of their series, for instance in a, b; they are in folders of different" in message
    assert "data.item_id: [country, item_id] keeps them apart" in message
    message = refusal(files, tmp_path, problems={"duplicates": "drop"})
    assert "all 4 rows of the folder country=DE repeat times of other folders, and would be dropped" in message
    assert len(read(files, tmp_path, item_id=["country", "item_id"])) == 4


def test_ids_keep_their_names_types_and_values(tmp_path: Path) -> None:
    stores = pa.array([10, 9, 10, 9], pa.int16())
    path = a_file(
        tmp_path,
        **{"store nbr": stores, "Größe (€)": [1, 2, 3, 4], "date": [date(2024, 1, day) for day in (1, 1, 2, 2)]},
    )
    panel = read([path], tmp_path, item_id="store nbr", timestamp="date", target="Größe (€)")
    assert panel.ids.schema == pa.schema([("store nbr", pa.int16())])
    assert panel.ids["store nbr"].to_pylist() == [9, 10]
    assert panel.items.to_pylist() == ["9", "10"]
    assert numbers(panel) == [[2, 4], [1, 3]]
    assert panel.times(0, 0, 2).type == pa.date32()


def test_leading_and_trailing_rows_without_observations_are_left_out(tmp_path: Path) -> None:
    path = a_file(
        tmp_path, item_id=["a"] * 6 + ["b"] * 2, timestamp=days(1, 2, 3, 4, 5, 6, 3, 4),
        target=[None, 1.0, None, 2.0, None, float("nan"), 5.0, 6.0],
    )  # fmt: skip
    panel = read([path], tmp_path)
    assert panel.lengths.tolist() == [3, 2]
    assert panel.times(0, 0, 3).to_pylist() == days(2, 3, 4)
    assert [(one["kind"], one["counts"]) for one in panel.findings] == [
        ("leading", {"rows": 1, "series": 1}),
        ("trailing", {"rows": 2, "series": 1}),
    ]


def test_values_too_large_for_the_models_are_refused_or_missing(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"] * 3, timestamp=days(1, 2, 3), target=[1e16, 2e16, 3e21])
    assert "1 values are larger than 1e+17" in refusal([path], tmp_path)
    assert np.isnan(read([path], tmp_path, problems={"infinite": "fill"}).lengths).sum() == 0
    assert read([path], tmp_path, problems={"infinite": "fill"}).lengths.tolist() == [2]


def test_a_series_whose_variation_float32_would_round_away_is_refused(tmp_path: Path) -> None:
    """A meter that counts in watt hours: float32 has steps of 64 at a billion."""
    meter = [10**9 + step for step in (0, 13, 29, 41)]
    path = a_file(tmp_path, item_id=["a"] * 4 + ["b"] * 4, timestamp=days(1, 2, 3, 4) * 2, target=[*meter, 1, 2, 3, 4])
    message = refusal([path], tmp_path)
    assert "1 of 2 series vary too little for their size, and would be rounded, for instance a; a is between" in message
    assert "between 1000000000 and 1000000041" in message


def test_constants_and_exact_numbers_are_not_taken_for_rounded_ones(tmp_path: Path) -> None:
    """0.1 is rounded too, but does not vary; neither does what arithmetic leaves of it in the last digit."""
    values = [0.1, 0.1, 0.1 + 2e-17, 0.1, 16_777_216.0, 16_777_217.0, 16_777_216.0, 16_000_000.0]
    path = a_file(tmp_path, item_id=["a"] * 4 + ["b"] * 4, timestamp=days(1, 2, 3, 4) * 2, target=values)
    assert read([path], tmp_path, problems={"empty": "drop"}).items.to_pylist() == ["b"]


@pytest.mark.parametrize("frequency", [None, "B", "D"])
def test_business_days_are_a_step_of_their_own(tmp_path: Path, frequency: str | None) -> None:
    """A holiday is a gap, a weekend is not, unless days are asserted."""
    friday, monday, wednesday, thursday = (datetime(2024, 1, day) for day in (5, 8, 10, 11))  # noqa: DTZ001
    first = [datetime(2024, 1, day) for day in (1, 2, 3, 4)]  # noqa: DTZ001
    times = [*first, friday, monday, wednesday, thursday]
    path = a_file(tmp_path, item_id=["a"] * 8, timestamp=times, target=range(8))
    panel = read([path], tmp_path, frequency=frequency, problems={"gaps": "fill"})
    assert panel.lengths.tolist() == [11 if frequency == "D" else 9]
    missing = [time.day for time in panel.times(0, 0, int(panel.lengths[0])).to_pylist() if time not in times]
    assert missing == ([6, 7, 9] if frequency == "D" else [9])


@pytest.mark.parametrize("name", ["a.b", "x[0]", "Größe in m²", "a/b", "`q`", ".", "a\nb", "{x}"])
def test_names_that_mean_something_elsewhere_are_names(tmp_path: Path, name: str) -> None:
    """Beside a nested column with a field of that name, and one that is not read."""
    nested = pa.array([{"b": 7.0}, {"b": 8.0}])
    columns = {"item_id": ["a", "a"], "timestamp": days(1, 2), name: [1.0, 2.5], "a": nested, "x": nested}
    assert numbers(read([a_file(tmp_path, **columns)], tmp_path, target=name)) == [[1, 2.5]]


@pytest.mark.parametrize("name", ["__filename", "__fragment_index", "__batch_index", "__last_in_fragment"])
def test_a_name_that_arrow_keeps_for_itself_is_refused(tmp_path: Path, name: str) -> None:
    file = a_file(tmp_path, **{"item_id": ["a", "a"], "timestamp": days(1, 2), name: [1.0, 2.5]})
    assert refusal([file], tmp_path, target=name) == (
        f"part.parquet: column '{name}' has a name that Arrow keeps for itself (rename it)"
    )


def test_a_date_beyond_nanoseconds_says_what_to_do(tmp_path: Path) -> None:
    """One file has nanoseconds, which end in 2262, and another one a sentinel date."""
    fine = pa.array(days(1, 2)).cast(pa.timestamp("ns"))
    files = [
        a_file(tmp_path, "1.parquet", item_id=["a", "a"], timestamp=fine, target=[1, 2]),
        a_file(tmp_path, "2.parquet", item_id=["b", "b"], timestamp=[datetime(2024, 1, 1), datetime(9999, 12, 31)],  # noqa: DTZ001
               target=[1, 2]),
    ]  # fmt: skip
    message = refusal(files, tmp_path)
    assert "2.parquet: column 'timestamp' is timestamp[us] and cannot be read as timestamp[ns]" in message
    assert "(remove rows whose times are not real, or write all files with the same unit of time)" in message


@pytest.mark.parametrize(
    ("times", "what", "format_"),
    [
        ([202311, 202312, 202401, 202402], "months of years, and 202312 and 202401 are 89 apart", "'%Y%m'"),
        ([202351, 202352, 202401, 202402], "weeks of years, and 202352 and 202401 are 49 apart", "'%G%V%u'"),
    ],
)
def test_months_and_weeks_as_numbers_are_refused(tmp_path: Path, times: list[int], what: str, format_: str) -> None:
    path = a_file(tmp_path, item_id=["a"] * 4, timestamp=times, target=[1.0, 2.0, 3.0, 4.0])
    found = refusal([path], tmp_path)
    assert what in found
    assert format_ in found


def test_numbers_that_only_look_like_months_are_times(tmp_path: Path) -> None:
    path = a_file(tmp_path, item_id=["a"] * 4, timestamp=[202350, 202351, 202353, 202354], target=[1.0, 2.0, 3.0, 4.0])
    assert len(read([path], tmp_path).ticks) == 5


INVALID = pa.array([b"a", b"caf\xe9"], pa.binary())


def unchecked(values: pa.Array) -> pa.StringArray:
    """Bytes as text, which Arrow does not check."""
    return pa.StringArray.from_buffers(len(values), values.buffers()[1], values.buffers()[2])


@pytest.mark.parametrize(
    "values",
    [INVALID, unchecked(INVALID), pa.DictionaryArray.from_arrays([0, 1], unchecked(INVALID))],
    ids=["binary", "string", "dictionary"],
)
@pytest.mark.parametrize("role", ["item_id", "known_covariates"])
def test_text_that_is_not_utf8_is_refused_with_an_example(tmp_path: Path, values: pa.Array, role: str) -> None:
    columns = {"item_id": ["a", "a"]} | {"item_id" if role == "item_id" else "kind": values}
    path = a_file(tmp_path, **columns, timestamp=days(1, 2), target=[1.0, 2.0])
    found = refusal([path], tmp_path, **({} if role == "item_id" else {role: ["kind"]}))
    assert f"{path.name}: column {'item_id' if role == 'item_id' else 'kind'!r} has text that is not UTF-8" in found
    assert "b'caf\\xe9'" in found
    assert "decode" in found


def test_one_time_a_month_on_no_calendar_says_how_to_make_it_one(tmp_path: Path) -> None:
    """The last trading days of 2018: in March the Thursday before Good Friday."""
    times = ["2018-01-31", "2018-02-28", "2018-03-29", "2018-04-30", "2018-05-31", "2018-06-29"]
    path = a_file(
        tmp_path, item_id=["a"] * 6, timestamp=pa.array(np.array(times, "datetime64[D]")), target=[1.0, 2, 3, 4, 5, 6]
    )
    assert "dt.to_period('M').dt.to_timestamp()" in refusal([path], tmp_path)


@pytest.mark.parametrize(("size", "accepted"), [(1e-21, True), (1e-30, False)])
def test_values_whose_squares_vanish_are_refused(tmp_path: Path, size: float, accepted: bool) -> None:
    path = a_file(tmp_path, item_id=["a"] * 4, timestamp=days(1, 2, 3, 4), target=[size, 3 * size, 2 * size, size])
    if accepted:
        assert len(read([path], tmp_path).ticks) == 4
    else:
        assert "column 'target': 1 of 1 series vary by less than 1e-22, too little" in refusal([path], tmp_path)


def test_a_hint_looks_at_no_rows_that_cannot_be_read(tmp_path: Path) -> None:
    twice = pa.table([["a"], ["b"], [1.0]], names=["shop", "shop", "sold"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    assert "its columns: shop, shop, sold" in refusal([tmp_path / "twice.parquet"], tmp_path)
    path = a_file(tmp_path, shop=["a"] * 500, sold=[float(number) for number in range(500)])
    body = bytearray(path.read_bytes())
    body[4:400] = bytes(396)
    path.write_bytes(body)
    assert "its columns: shop, sold" in refusal([path], tmp_path)
