"""Convert CSV and Arrow files to long Parquet, one row per series and time."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from pyarrow import feather

from agent.data.ingest.likely import forms_of
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.input_files import shown
from chronos_ec2.services.publish.data import ARROW_TABLES, TEXT_TABLES, table_kind

PARQUET = ".parquet"
_UNNAMED = ("", "Unnamed: 0", "__index_level_0__")
"""What pandas calls an index without a name."""
_HEAD_BYTES = 65536
_DECIMAL, _DECIMAL_COMMA = re.compile(rb"[+-]?\d+\.\d+"), re.compile(rb"[+-]?\d+,\d+")
_MONTH = re.compile(r"\d{4}-\d{2}")
_AS_UTF_8 = "save it as UTF-8, such as with `iconv -f {} -t UTF-8 FILE`"
ITEM_ID, TIMESTAMP, TARGET = "item_id", "timestamp", "target"


@dataclass(frozen=True, slots=True)
class Names:
    """The columns that a configuration names: of the series, of the time, of the values."""

    item_id: Sequence[str] = (ITEM_ID,)
    timestamp: str = TIMESTAMP
    target: Sequence[str] = (TARGET,)


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted file: its rows, and the columns of a wide table that have become series."""

    source: Path
    path: Path
    rows: int
    series: tuple[str, ...] = ()


def convert(source: Path, folder: Path, names: Names | None = None, timestamp_format: str | None = None) -> Converted:
    """Write a file as Parquet into a folder. A wide table, a column per series, becomes a long one.

    Args:
        source: a CSV, TSV, Feather or Arrow file; CSV may be compressed, as `sales.csv.gz`, and have another delimiter.
        folder: where the Parquet file goes, named like the source.
        names: the columns, by default those of a configuration without any.
        timestamp_format: of times that are not ISO 8601, such as `%d.%m.%Y`.

    Raises:
        InvalidInput: the file cannot be read, or its times are text of an unknown form.
    """
    return _as_parquet(_read(source), source, folder, names or Names(), timestamp_format)


def convert_frame(frame: Any, folder: Path, names: Names | None = None) -> Converted:
    """Write a frame of pandas, polars or anything else that Arrow reads, as `convert` writes a file.

    Raises:
        InvalidInput: it is no frame, or its times are text of an unknown form.
    """
    try:
        table = pa.table(frame)
    except (TypeError, ValueError, pa.ArrowException) as error:
        problem = f"a {type(frame).__name__} is no table that Arrow reads: {one_line(str(error), 200)}"
        raise InvalidInput("frame", problem, "give a DataFrame with a column for series, time and values") from error
    return _as_parquet(table, Path("frame"), folder, names or Names(), None)


def read_parts(paths: Sequence[Path]) -> pa.Table:
    """The rows of several Parquet files of the same columns, in the order of the files."""
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths])


def _as_parquet(table: pa.Table, source: Path, folder: Path, names: Names, timestamp_format: str | None) -> Converted:
    table = _named_index(table, names.timestamp)
    _check_columns(table, source)
    table = _with_times(table, source, names.timestamp, timestamp_format)
    series = _series_of(table, names)
    if series:
        table = _long(table, series, names)
    elif _is_one_series(table, names, source):
        name = source.name.partition(".")[0]
        table = table.add_column(0, ITEM_ID, pa.repeat(pa.scalar(name), table.num_rows))
    path = folder / f"{source.name}{PARQUET}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return Converted(source, path, table.num_rows, tuple(series))


def _read(source: Path) -> pa.Table:
    kind = table_kind(source)
    try:
        if kind in ARROW_TABLES:
            return feather.read_table(source, memory_map=False)
        delimiter, decimal_point, encoding = _dialect(source)
        table = pa_csv.read_csv(
            source,
            read_options=pa_csv.ReadOptions(encoding=encoding),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter),
            convert_options=pa_csv.ConvertOptions(decimal_point=decimal_point),
        )
        not_text = [
            name for name, kind in zip(table.column_names, table.schema.types, strict=True) if kind == pa.binary()
        ]
    except UnicodeDecodeError as error:
        raise InvalidInput(shown(source), "has a header that is not UTF-8", _AS_UTF_8.format("WINDOWS-1252")) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        remedy = "check it with pandas.read_csv" if kind in TEXT_TABLES else "write it again"
        raise InvalidInput(shown(source), f"cannot be read: {one_line(str(error), 300)}", remedy) from error
    if not_text:
        where = f"{shown(source)}: column {one_line(not_text[0], 100)!r}"
        raise InvalidInput(where, "holds text that is not UTF-8", _AS_UTF_8.format("WINDOWS-1252"))
    return table


def _dialect(source: Path) -> tuple[str, str, str]:
    """The delimiter of a CSV file, its decimal point, and its encoding.

    The point is a comma where fields end with semicolons, as in Europe. UTF-16, Excel's "Unicode text", has a mark.
    """
    with pa.input_stream(source) as stream:
        head = stream.read(_HEAD_BYTES)
    encoding = "utf-16" if head[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else "utf-8"
    if encoding == "utf-16":
        head = head.decode(encoding, errors="ignore").encode()
    first = head.partition(b"\n")[0]
    delimiter = max((b",", b";", b"\t", b"|"), key=first.count)
    fields = [field.strip(b'" ') for line in head.splitlines() for field in line.split(delimiter)]
    comma = (
        delimiter != b"," and any(map(_DECIMAL_COMMA.fullmatch, fields)) and not any(map(_DECIMAL.fullmatch, fields))
    )
    return delimiter.decode(), "," if comma else ".", encoding


def _named_index(table: pa.Table, timestamp: str) -> pa.Table:
    """Give the index that pandas has written without a name the name of the times, if there are none."""
    first = table.column_names[0] if table.column_names else None
    if first in _UNNAMED and timestamp not in table.column_names:
        return table.rename_columns([timestamp, *table.column_names[1:]])
    return table.drop_columns([first]) if first in _UNNAMED else table


def _check_columns(table: pa.Table, source: Path) -> None:
    names = table.column_names
    if not table.num_rows:
        raise InvalidInput(shown(source), "has no rows", "delete it, or write it again")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise InvalidInput(shown(source), f"has column {twice[0]!r} twice", "rename one of them")


def _with_times(table: pa.Table, source: Path, timestamp: str, form: str | None) -> pa.Table:
    if timestamp not in table.column_names:
        return table
    index = table.column_names.index(timestamp)
    times = table.column(index)
    if not (pa.types.is_string(times.type) or pa.types.is_large_string(times.type)):
        return table
    where = f"{shown(source)}: column {timestamp!r}"
    if form is None:
        return table.set_column(index, timestamp, _iso_times(times, where))
    try:
        parsed = pc.strptime(times, format=form, unit="us")
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInput(where, one_line(str(error), 300), "mend --timestamp-format or the file") from error
    return table.set_column(index, timestamp, parsed)


def _iso_times(texts: pa.ChunkedArray, where: str) -> pa.Array:
    """Times of ISO 8601 that Arrow leaves as text, such as 2024-W07 and 2024-02."""
    times = []
    for text in texts.to_pylist():
        try:
            times.append(text and datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text))
        except ValueError:
            problem = f"holds text such as {one_line(text, 40)!r}, which is no time in ISO 8601"
            likely = " or ".join(f"--timestamp-format '{form}'" for form in forms_of(texts)[:2])
            form = likely or "such as --timestamp-format '%d.%m.%Y %H:%M'; of a quarter or the like write the first day"
            raise InvalidInput(where, problem, f"give its form: {form}") from None
    zones = {time.tzinfo is None for time in times if time}
    if not zones:
        raise InvalidInput(where, "has no times", "write one in each row")
    if len(zones) > 1:
        raise InvalidInput(where, "has times with and without a zone", "write all of them with their zone, or none")
    return pa.array([time or None for time in times], pa.timestamp("us", None if zones == {True} else "UTC"))


def _series_of(table: pa.Table, names: Names) -> list[str]:
    """The columns that are series: all numbers, in a table with times and neither ids nor a target."""
    if names.timestamp not in table.column_names or set(table.column_names) & {*names.item_id, *names.target}:
        return []
    others = [field for field in table.schema if field.name != names.timestamp]
    numeric = all(_is_number(field.type) for field in others)
    return [field.name for field in others] if numeric and len(names.item_id) == len(names.target) == 1 else []


def _is_one_series(table: pa.Table, names: Names, source: Path) -> bool:
    """Whether a table with times and targets has no column that could name its series: it is one, named like the file.

    If it has more than one, its times are found to occur twice. An id that the configuration or a folder names is not
    made up.
    """
    found = set(table.column_names)
    kinds = [field.type for field in table.schema if field.name != names.timestamp]
    texts = any(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in kinds)
    unnamed = [*names.item_id] == [ITEM_ID] and not any(part.startswith(f"{ITEM_ID}=") for part in source.parts)
    return unnamed and not texts and ITEM_ID not in found and {names.timestamp, *names.target} <= found


def _is_number(kind: Any) -> bool:
    # A column of a CSV file without any value has the type null.
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.null()
    )


def _long(table: pa.Table, series: Iterable[str], names: Names) -> pa.Table:
    times, count = table.column(names.timestamp), table.num_rows
    parts = [
        pa.table(
            {
                names.item_id[0]: pa.repeat(pa.scalar(name), count),
                names.timestamp: times,
                names.target[0]: table.column(name).cast(pa.float64()),
            }
        )
        for name in series
    ]
    return pa.concat_tables(parts)
