"""Long-format Parquet, one row per series and time, to a panel: one column after another, each value to its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from agent.training.panel import Columns, Floats, Indices, Panel, PanelWriter
from agent.training.spacing import TICKS_PER_SECOND, Spacing, find_spacing
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.text import one_line
from chronos_ec2.training_config import Data

_EXAMPLES = 3
Mask = np.ndarray[Any, np.dtype[np.bool_]]


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
            named = getattr(data, role)
            for column in [named] if isinstance(named, str) else named:
                if column not in schema.names:
                    names = one_line(", ".join(schema.names), 160)
                    raise InvalidInput(path.name, f"has no column {column!r} for data.{role}", f"its columns: {names}")
                if not fits(kind := schema.field(column).type):
                    raise InvalidInput(path.name, f"column {column!r} is {kind}, which cannot be data.{role}")
        rows += metadata.num_rows
    if rows == 0:
        raise InvalidInput("data.path", "the data set has no rows")
    return rows


def read_panel(files: Sequence[Path], data: Data, min_length: int, folder: Path) -> Panel:
    """All series of the files together, written to a folder as a panel. Text covariates become codes from 0 on.

    Raises:
        InvalidInput: a column is missing or of the wrong type, an item or time is null, or the data have a problem that
            `data.problems` refuses: counts, examples and the setting that would take them are given.
    """
    check_columns(files, data)
    rows = _without_empty(_without_duplicates(_rows(files, data), data), files, data)
    rows, slots, lengths = _long_enough(*_spaced(rows, data), data, min_length)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    columns = Columns(len(data.target), len(data.past_covariates), len(data.known_covariates))
    writer = PanelWriter(folder, columns, int(offsets[-1]))
    try:
        places = offsets[rows.codes] + slots
        for index, name in enumerate(data.values):
            _fill(writer.row(index), places, _numbers(files, name, rows.order), name, data)
        return writer.finish(list(rows.items), offsets, rows.ticks_of_all(offsets, places), rows.time_type)
    except BaseException:
        writer.abandon()
        raise


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that are used, in order of item and time: `order` are their numbers in the files, None for all of them.

    `codes` are indices into `items`, `ticks` the times; `spacing` is None when the rows are taken as adjacent.
    """

    items: Sequence[str]
    codes: Indices
    ticks: Indices
    order: Indices | None
    time_type: pa.DataType
    spacing: Spacing | None = None

    @property
    def ticks_per_second(self) -> int | None:
        return TICKS_PER_SECOND[self.time_type.unit] if pa.types.is_timestamp(self.time_type) else None

    @property
    def inside(self) -> Mask:
        """(n - 1,) whether a row and the next one are of the same series."""
        same: Mask = np.diff(self.codes) == 0
        return same

    def keep(self, mask: Mask) -> _Rows:
        """Only some of the rows."""
        order = np.flatnonzero(mask) if self.order is None else self.order[mask]
        return replace(self, codes=self.codes[mask], ticks=self.ticks[mask], order=order)

    def without(self, gone: Mask) -> tuple[_Rows, Mask]:
        """Without the series of a mask (S,), and the mask (n,) of the rows that are left."""
        keep = ~gone[self.codes]
        items = [name for name, out in zip(self.items, gone, strict=True) if not out]
        kept = self.keep(keep)
        return replace(kept, items=items, codes=(np.cumsum(~gone) - 1)[kept.codes]), keep

    def ticks_of_all(self, offsets: Indices, places: Indices) -> Indices:
        """(N,) the time of every point, those that were filled in too."""
        count = int(offsets[-1])
        if count == len(self.ticks):
            return self.ticks
        assert self.spacing is not None
        firsts = np.searchsorted(places, offsets[:-1])
        lengths = np.diff(offsets)
        first = np.repeat(self.spacing.positions(self.ticks[firsts]), lengths)
        into = np.arange(count) - np.repeat(offsets[:-1], lengths)
        return self.spacing.ticks(first + into, np.repeat(self.spacing.phase(self.ticks[firsts]), lengths))


def _rows(files: Sequence[Path], data: Data) -> _Rows:
    """Every row, in order."""
    raw_items, times = _column(files, data.item_id), _column(files, data.timestamp)
    for name, column in ((data.item_id, raw_items), (data.timestamp, times)):
        if column.null_count:
            raise InvalidInput(f"column {name!r}", f"{column.null_count} of {len(column)} rows have no value")
    items, codes = _coded(raw_items)
    if pa.types.is_date(times.type):
        times = times.cast(pa.timestamp("ms"))
    ticks: Indices = times.cast(pa.int64()).to_numpy()
    rows = _Rows(items, codes, ticks, None, times.type)
    steps = np.diff(codes)
    if np.all((steps > 0) | ((steps == 0) & (np.diff(ticks) >= 0))):
        return rows
    order = np.lexsort((ticks, codes))
    return replace(rows, codes=codes[order], ticks=ticks[order], order=order)


def _coded(column: pa.Array) -> tuple[list[str], Indices]:
    """The names that occur, sorted, and for each row the index into them."""
    encoded = column.cast(pa.string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    ranks = np.empty(len(names), dtype=np.int64)
    ranks[np.argsort(np.array(names, dtype=object), kind="stable")] = np.arange(len(names))
    return sorted(names), ranks[encoded.indices.to_numpy()]


def _column(files: Sequence[Path], name: str) -> pa.Array:
    """One column of all files as one array; one at a time, so that no whole table is ever in memory."""
    # Not partitioning: a folder named day=1 would become a column that the schema does not have.
    chunks = [chunk for path in files for chunk in pq.ParquetFile(path).read([name]).column(0).chunks]
    decoded = [chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk for chunk in chunks]
    try:
        return pa.concat_arrays(decoded)
    except pa.ArrowException as error:
        raise InvalidInput(f"column {name!r}", "has different types in different files") from error


def _without_duplicates(rows: _Rows, data: Data) -> _Rows:
    repeated = rows.inside & (np.diff(rows.ticks) == 0)
    if not repeated.any():
        return rows
    if data.problems.duplicates == "refuse":
        examples = _examples(rows.items, rows.codes[1:][repeated])
        problem = f"{int(repeated.sum())} rows repeat a time of their series, for instance in {examples}"
        raise _refused(f"column {data.timestamp!r}", problem, "duplicates: drop keeps the last of them")
    return rows.keep(np.append(~repeated, True))


def _without_empty(rows: _Rows, files: Sequence[Path], data: Data) -> _Rows:
    """Without the series that have nothing to learn from: less than two different numbers in every target."""
    starts = np.flatnonzero(np.diff(rows.codes, prepend=-1))
    empty = np.ones(len(rows.items), dtype=bool)
    for name in data.target:
        values = _numbers(files, name, rows.order)
        empty &= ~(np.fmin.reduceat(values, starts) < np.fmax.reduceat(values, starts))
    if not empty.any():
        return rows
    if data.problems.empty == "refuse" or empty.all():
        problem = f"{int(empty.sum())} of {len(empty)} series have no two different numbers, for instance "
        problem += _examples(rows.items, np.flatnonzero(empty))
        raise _refused("column " + ", ".join(map(repr, data.target)), problem, "empty: drop leaves them out")
    return rows.without(empty)[0]


def _spaced(rows: _Rows, data: Data) -> tuple[_Rows, Indices, Indices]:
    """The rows, their places within their series (n,), and the lengths of the series (S,)."""
    counts = np.bincount(rows.codes, minlength=len(rows.items))
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    adjacent = np.arange(len(rows.codes)) - np.repeat(firsts, counts)
    if data.problems.gaps == "ignore":
        return rows, adjacent, counts
    positions = None
    for ticks in _readings(rows):
        spacing = find_spacing(np.diff(ticks)[rows.inside], ticks, rows.ticks_per_second)
        positions = None if spacing is None else _positions(spacing, ticks, rows.inside)
        if positions is not None:
            break
    where = f"column {data.timestamp!r}"
    if positions is None:
        odd = _odd(rows)
        problem = f"the times fit no common step, for instance in {_examples(rows.items, odd)}"
        raise _refused(where, problem, "gaps: ignore takes the rows as if they were adjacent")
    steps = np.diff(positions)
    missing = rows.inside & (steps > 1)
    if not missing.any():
        return replace(rows, spacing=spacing), adjacent, counts
    coarse = _never_one(steps, rows)
    if len(coarse):
        problem = f"{len(coarse)} of {len(rows.items)} series have a longer step than the others, for instance "
        problem += _examples(rows.items, coarse)
        raise _refused(where, problem, "train each frequency by itself, or gaps: ignore")
    if data.problems.gaps == "refuse":
        count = int((steps[missing] - 1).sum())
        problem = f"{count} times are missing, for instance in {_examples(rows.items, rows.codes[1:][missing])}"
        raise _refused(where, problem, "gaps: fill puts missing observations there, ignore joins what is there")
    slots = positions - np.repeat(positions[firsts], counts)
    lasts = np.concatenate([firsts[1:], [len(slots)]]) - 1
    filled = replace(rows, spacing=spacing, ticks=ticks)
    return filled, slots, slots[lasts] + 1


def _readings(rows: _Rows) -> Iterable[Indices]:
    """The ticks, and for times with a zone what its clocks show: days are not all of one length."""
    yield rows.ticks
    if rows.ticks_per_second and rows.time_type.tz:
        local = pc.local_timestamp(pa.array(rows.ticks).cast(rows.time_type))
        yield local.cast(pa.int64()).to_numpy()


def _positions(spacing: Spacing, ticks: Indices, inside: Mask) -> Indices | None:
    """(n,) positions; None when two times share one, or a series changes its phase."""
    positions = spacing.positions(ticks)
    fits = (np.diff(positions)[inside] >= 1).all() and not np.diff(spacing.phase(ticks))[inside].any()
    return positions if fits else None


def _odd(rows: _Rows) -> Indices:
    """The series with a step that is no multiple of the smallest."""
    steps = np.diff(rows.ticks)
    smallest = steps[rows.inside].min()
    odd: Indices = rows.codes[1:][rows.inside & (steps % smallest != 0)]
    return odd


def _never_one(steps: Indices, rows: _Rows) -> Indices:
    """The series of three points or more that never take one step."""
    codes = rows.codes[1:][rows.inside]
    shortest = np.full(len(rows.items), np.iinfo(np.int64).max)
    np.minimum.at(shortest, codes, steps[rows.inside])
    enough = np.bincount(codes, minlength=len(rows.items)) >= 2
    return np.flatnonzero(enough & (shortest > 1))


def _long_enough(
    rows: _Rows, slots: Indices, lengths: Indices, data: Data, min_length: int
) -> tuple[_Rows, Indices, Indices]:
    short = lengths < min_length
    if not short.any():
        return rows, slots, lengths
    if data.problems.short == "refuse" or short.all():
        worst = np.flatnonzero(short)
        examples = ", ".join(f"{one_line(rows.items[one], 40)} ({lengths[one]})" for one in worst[:_EXAMPLES])
        problem = f"{len(worst)} of {len(lengths)} series have fewer than the {min_length} points that the "
        problem += f"evaluation needs, for instance {examples}"
        raise _refused("data.path", problem, "short: drop leaves them out, and so may a lower prediction_length")
    kept, keep = rows.without(short)
    return kept, slots[keep], lengths[~short]


def _numbers(files: Sequence[Path], name: str, order: Indices | None) -> Floats:
    column = _column(files, name)
    if _is_text(column.type):
        codes = column.dictionary_encode()
        order_of = np.argsort(np.argsort(np.array(codes.dictionary.to_pylist(), dtype=object)))
        ranks = pa.array(order_of.astype(np.float64))
        column = ranks.take(codes.indices)
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    ordered: Floats = (values if order is None else values[order]).astype(np.float32)
    return ordered


def _fill(row: Floats, places: Indices, values: Floats, name: str, data: Data) -> None:
    if (infinite := np.isinf(values)).any():
        if data.problems.infinite == "refuse":
            problem = f"{int(infinite.sum())} values are infinite"
            raise _refused(f"column {name!r}", problem, "infinite: fill takes them as missing")
        values[infinite] = np.nan
    if len(places) < len(row):
        row[:] = np.nan
    row[places] = values


def _refused(where: str, problem: str, setting: str) -> InvalidInput:
    return InvalidInput(where, problem, f"data.problems.{setting}")


def _examples(names: Sequence[str], codes: Indices) -> str:
    shown = list(dict.fromkeys(codes[: 100 * _EXAMPLES].tolist()))[:_EXAMPLES]
    return ", ".join(one_line(names[code], 40) for code in shown)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind))


def _is_item(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_item(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _is_covariate(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_covariate(kind.value_type)
    return _is_number(kind) or _is_text(kind)


_ROLES = {
    "item_id": _is_item,
    "timestamp": _is_time,
    "target": _is_number,
    "past_covariates": _is_covariate,
    "known_covariates": _is_covariate,
}
