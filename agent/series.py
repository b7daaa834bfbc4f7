"""Long-format Parquet, one row per series and time, to one array per series."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.text import one_line
from chronos_ec2.training_config import Data

Floats = np.ndarray[Any, np.dtype[np.float32]]
Indices = np.ndarray[Any, np.dtype[np.int64]]
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class SeriesSet:
    """The series of a data set, ordered by item and within each by time. Missing observations are NaN.

    `values[i]` is a float32 vector (a view, not a copy), `timestamps[i]` an Arrow array of the same length.
    """

    items: tuple[str, ...]
    values: tuple[Floats, ...]
    timestamps: tuple[pa.Array, ...]

    def __len__(self) -> int:
        return len(self.items)


def check_columns(files: Iterable[Path], data: Data) -> int:
    """Look at the schema of each file, without reading it; the number of rows in all.

    Raises:
        InvalidInput: names file and column.
    """
    rows = 0
    for path in files:
        try:
            metadata = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise InvalidInput(path.name, f"is not Parquet: {one_line(str(error), 160)}") from error
        schema = metadata.schema.to_arrow_schema()
        for role, fits in _ROLES.items():
            column = getattr(data, role)
            if column not in schema.names:
                names = one_line(", ".join(schema.names), 160)
                raise InvalidInput(path.name, f"has no column {column!r} for data.{role}", f"its columns: {names}")
            if not fits(kind := schema.field(column).type):
                raise InvalidInput(path.name, f"column {column!r} is {kind}, which cannot be data.{role}")
        rows += metadata.num_rows
    if rows == 0:
        raise InvalidInput("data.path", "the data set has no rows")
    return rows


def load_series(files: Sequence[Path], data: Data, min_length: int) -> SeriesSet:
    """All series of the files together.

    Raises:
        InvalidInput: a column is missing or of the wrong type, an item or time is null, a time occurs twice in a
            series, or a series has fewer than `min_length` observations. Counts and examples are given.
    """
    check_columns(files, data)
    items, codes, times = _keys(files, data)
    values = _column(files, data.target).cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float32)
    ticks = _ticks(times)
    order = _order(codes, ticks)
    if order is not None:
        codes, ticks, values, times = codes[order], ticks[order], values[order], times.take(pa.array(order))
    _refuse_duplicates(items, codes, ticks, data)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts[1:], len(codes))
    _refuse_short(items, ends - starts, min_length)
    return SeriesSet(
        items=tuple(items),
        values=tuple(values[start:end] for start, end in zip(starts, ends, strict=True)),
        timestamps=tuple(times.slice(start, end - start) for start, end in zip(starts, ends, strict=True)),
    )


def _keys(files: Sequence[Path], data: Data) -> tuple[list[str], Indices, pa.Array]:
    """Names of the items in their order, for each row the index into them, and for each row its time."""
    raw_items, times = _column(files, data.item_id), _column(files, data.timestamp)
    for name, column in ((data.item_id, raw_items), (data.timestamp, times)):
        if column.null_count:
            raise InvalidInput(f"column {name!r}", f"{column.null_count} of {len(column)} rows have no value")
    encoded = raw_items.cast(pa.string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[np.argsort(np.array(names, dtype=object), kind="stable")] = np.arange(len(names))
    return sorted(names), ranks[encoded.indices.to_numpy()], times


def _column(files: Sequence[Path], name: str) -> pa.Array:
    """One column of all files as one array; one at a time, so that no whole table is ever in memory."""
    chunks = [chunk for path in files for chunk in pq.read_table(path, columns=[name]).column(0).chunks]
    decoded = [chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk for chunk in chunks]
    try:
        return pa.concat_arrays(decoded)
    except pa.ArrowException as error:
        raise InvalidInput(f"column {name!r}", "has different types in different files") from error


def _ticks(times: pa.Array) -> Indices:
    if pa.types.is_date(times.type):
        times = times.cast(pa.timestamp("ms"))
    ticks: Indices = times.cast(pa.int64()).to_numpy()
    return ticks


def _order(codes: Indices, ticks: Indices) -> Indices | None:
    """The rows in order of item and time; None when they are in order, as well-made files are."""
    steps = np.diff(codes)
    if np.all((steps > 0) | ((steps == 0) & (np.diff(ticks) >= 0))):
        return None
    return np.lexsort((ticks, codes))


def _refuse_duplicates(items: Sequence[str], codes: Indices, ticks: Indices, data: Data) -> None:
    same = (np.diff(codes) == 0) & (np.diff(ticks) == 0)
    if same.any():
        examples = _examples(items[code] for code in dict.fromkeys(codes[1:][same].tolist()))
        raise InvalidInput(
            f"column {data.timestamp!r}",
            f"{int(same.sum())} rows repeat a time of their series, for instance in {examples}",
        )


def _refuse_short(items: Sequence[str], lengths: Indices, min_length: int) -> None:
    short = np.flatnonzero(lengths < min_length)
    if len(short):
        examples = _examples(f"{items[index]} ({lengths[index]})" for index in short.tolist())
        raise InvalidInput(
            "data.path",
            f"{len(short)} of {len(items)} series have fewer than the {min_length} observations that "
            f"prediction_length and training.min_past need, for instance {examples}",
            "leave them out, or lower one of the two",
        )


def _examples(names: Iterable[str]) -> str:
    shown = [one_line(name, 40) for name, _ in zip(names, range(_EXAMPLES), strict=False)]
    return ", ".join(shown)


def _is_item(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_item(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


_ROLES = {"item_id": _is_item, "timestamp": _is_time, "target": _is_number}
