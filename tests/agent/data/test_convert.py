"""Tables as people have them become long Parquet that a run can read."""

from __future__ import annotations

import gzip
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from agent.data.convert import Names, convert
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.services.publish.data import table_kind

LONG = "item_id,timestamp,target\nNA,2024-01-01,1\nNA,2024-01-02,\nB,2024-01-01,2.5\n"
WIDE = "timestamp,north,south\n2024-01-01,1,10\n2024-01-02,,20\n"


def rows(folder: Path, name: str, content: str | bytes, **options: Any) -> list[dict[str, Any]]:
    source = folder / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = convert(source, folder / "out", **options)
    found: list[dict[str, Any]] = pq.read_table(done.path).to_pylist()
    assert (done.path.name, done.rows) == (f"{name}.parquet", len(found))
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", LONG),
        ("a.CSV", LONG.replace("\n", "\r\n")),
        ("a.csv.gz", gzip.compress(LONG.encode(), mtime=0)),
        ("a.tsv", LONG.replace(",", "\t")),
        ("a.csv", LONG.replace(",", ";")),
        ("a.csv", LONG.replace(",", ";").replace("2.5", "2,5")),
        ("bom.csv", "\ufeff" + LONG),
    ],
)
def test_a_long_table_stays_as_it_is(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert rows(tmp_path, name, content) == [
        {"item_id": "NA", "timestamp": date(2024, 1, 1), "target": 1.0},
        {"item_id": "NA", "timestamp": date(2024, 1, 2), "target": None},
        {"item_id": "B", "timestamp": date(2024, 1, 1), "target": 2.5},
    ]


@pytest.mark.parametrize("content", [WIDE, WIDE.replace("timestamp", ""), WIDE.replace("timestamp", "Unnamed: 0")])
def test_the_columns_of_a_wide_table_become_series(tmp_path: Path, content: str) -> None:
    assert rows(tmp_path, "wide.csv", content) == [
        {"item_id": "north", "timestamp": date(2024, 1, 1), "target": 1.0},
        {"item_id": "north", "timestamp": date(2024, 1, 2), "target": None},
        {"item_id": "south", "timestamp": date(2024, 1, 1), "target": 10.0},
        {"item_id": "south", "timestamp": date(2024, 1, 2), "target": 20.0},
    ]


def test_a_series_without_a_single_value_is_a_series_too(tmp_path: Path) -> None:
    found = rows(tmp_path, "wide.csv", "timestamp,a,b\n2024-01-01,1,\n2024-01-02,2,\n")
    assert [row["target"] for row in found if row["item_id"] == "b"] == [None, None]


def test_the_names_of_a_configuration_count(tmp_path: Path) -> None:
    names = Names(item_id=("shop",), timestamp="day", target=("sold",))
    (first, *_) = rows(tmp_path, "wide.csv", WIDE.replace("timestamp", "day"), names=names)
    assert first == {"shop": "north", "day": date(2024, 1, 1), "sold": 1.0}
    # It names a column of ids, which the checks of the data miss.
    assert [*rows(tmp_path, "one.csv", "day,sold,price\n2024-01-01,1,2\n", names=names)[0]] == ["day", "sold", "price"]


def test_an_index_without_a_name_is_no_column(tmp_path: Path) -> None:
    content = "\n".join(f"{number},{line}" for number, line in zip(["", 0, 1, 2], LONG.splitlines(), strict=True))
    assert [*rows(tmp_path, "indexed.csv", content)[0]] == ["item_id", "timestamp", "target"]


def test_times_of_another_form_need_it(tmp_path: Path) -> None:
    content = "item_id,timestamp,target\na,31.12.2023 13:00,1\n"
    with pytest.raises(InvalidInput, match=r"such as '31\.12\.2023 13:00'.*--timestamp-format"):
        rows(tmp_path, "german.csv", content)
    (row,) = rows(tmp_path, "german.csv", content, timestamp_format="%d.%m.%Y %H:%M")
    assert row["timestamp"] == datetime.fromisoformat("2023-12-31T13:00")
    with pytest.raises(InvalidInput, match="timestamp-format"):
        rows(tmp_path, "german.csv", content, timestamp_format="%Y")


def test_times_that_are_all_missing_have_no_form(tmp_path: Path) -> None:
    feather.write_feather(pa.table({"timestamp": pa.array([None, None], pa.string())}), tmp_path / "a.feather")
    with pytest.raises(InvalidInput, match="column 'timestamp'"):
        convert(tmp_path / "a.feather", tmp_path / "out")


def test_feather_is_read(tmp_path: Path) -> None:
    feather.write_feather(pa.table({"timestamp": [1, 2], "a": [1, 2]}), tmp_path / "a.feather")
    done = convert(tmp_path / "a.feather", tmp_path / "out")
    assert (done.rows, done.series) == (2, ("a",))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "cannot be read"),
        ("a.csv", "item_id,timestamp,target\n", "has no rows"),
        ("a.csv", "a,a\n1,2\n", "column 'a' twice"),
        ("a.csv", "a,b\n1,2,3\n", "cannot be read"),
        ("a.csv", b"\x00\x01\x02", "cannot be read"),
        ("a.csv", LONG.replace("B", "n\xf6rd").encode("latin-1"), "item_id': holds text that is not UTF-8"),
        ("a.csv", LONG.replace("item_id", "l\xe4den").encode("latin-1"), "has a header that is not UTF-8"),
        ("a.csv", LONG.replace("2024-01-02", "last Monday"), "such as 'last Monday'"),
        ("a.feather", "no feather", "cannot be read"),
        ("a.csv.gz", "not compressed", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        rows(tmp_path, name, content)
    assert name in refused.value.where
    assert refused.value.hint


def test_only_tables_are_convertible() -> None:
    names = ("a.csv", "a.CSV.GZ", "a.tsv", "a.arrow", "a.parquet", "a.json", "README.txt", "csv")
    assert [table_kind(Path(name)) for name in names] == [".csv", ".csv", ".tsv", ".arrow", None, None, None, None]


def test_a_table_of_times_and_values_alone_is_one_series_named_like_its_file(tmp_path: Path) -> None:
    source = tmp_path / "Café sales.csv"
    source.write_text("timestamp,target\n2024-01-01,1\n2024-01-02,2.5\n")
    table = pq.read_table(convert(source, tmp_path / "out").path)
    assert table.column_names == ["item_id", "timestamp", "target"]
    assert table["item_id"].to_pylist() == ["Café sales"] * 2
    folder = tmp_path / "item_id=a"
    folder.mkdir()
    table = pq.ParquetFile(convert(source.rename(folder / "1.csv"), tmp_path / "out").path).read()
    assert table.column_names == ["timestamp", "target"]


def test_a_table_with_text_that_may_name_its_series_is_left_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "sales.csv"
    source.write_text("Shop,timestamp,target\na,2024-01-01,1\nb,2024-01-01,2\n")
    assert pq.read_table(convert(source, tmp_path / "out").path).column_names == ["Shop", "timestamp", "target"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_text_of_excel_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    source, mark = tmp_path / "sales.csv", "\ufeff" if encoding == "utf-16-le" else ""
    source.write_bytes((mark + "item_id\ttimestamp\ttarget\nGröße\t2024-01-01\t1\n").encode(encoding))
    assert pq.read_table(convert(source, tmp_path / "out").path)["item_id"].to_pylist() == ["Größe"]


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (["2024-02", "2024-03"], datetime.fromisoformat("2024-02-01")),
        (["2024-W02", "2024-W03"], datetime.fromisoformat("2024-01-08")),
        (["2024-W02", ""], datetime.fromisoformat("2024-01-08")),
    ],
)
def test_months_and_weeks_are_times(tmp_path: Path, texts: list[str], first: datetime) -> None:
    content = "item_id,timestamp,target\n" + "".join(f"a,{text},1\n" for text in texts)
    assert rows(tmp_path, "periods.csv", content)[0]["timestamp"] == first


def test_the_hint_has_the_form_of_the_times(tmp_path: Path) -> None:
    content = "item_id,timestamp,target\na,1/13/2024,1\n"
    with pytest.raises(InvalidInput, match=r"'1/13/2024'.*--timestamp-format '%m/%d/%Y'\)?$"):
        rows(tmp_path, "american.csv", content)


def test_times_with_and_without_a_zone_are_refused(tmp_path: Path) -> None:
    content = "item_id,timestamp,target\na,2024-W02,1\na,2024-01-15T00:00:00+01:00,2\n"
    with pytest.raises(InvalidInput, match="with and without a zone"):
        rows(tmp_path, "mixed.csv", content)


def test_a_decimal_comma_stands_beside_dates_with_points(tmp_path: Path) -> None:
    content = "item_id;timestamp;target\na;31.12.2023;788,12\na;01.01.2024;3\n"
    first, _ = rows(tmp_path, "german.csv", content, timestamp_format="%d.%m.%Y")
    assert first["target"] == 788.12
    content = "item_id;timestamp;target;note\na;2023-12-31;788.12;1,5 l\n"
    assert rows(tmp_path, "points.csv", content)[0]["target"] == 788.12
