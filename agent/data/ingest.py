"""Read long-format Parquet, one row per series and time, into a panel, one column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.data.columns import EXAMPLES, Codes, ColumnReader, Mask, Progress, ignore_progress
from agent.data.frequency import Grid, days_of_month, find_grid, name_of, usual_step
from agent.data.panel import Columns, Floats, Indices, Panel, PanelWriter
from agent.data.sorting import Rows
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.training_config.frequency import same_frequency
from chronos_ec2.training_config.schema import Data

_MAX_FILL_RATIO = 10
"""Maximum points per observation after filling gaps, for a step that is not the most frequent one."""
_MONTH_SECONDS = 28 * 86_400


def read_panel(
    files: Sequence[Path], data: Data, min_length: int, folder: Path, progress: Progress = ignore_progress
) -> Panel:
    """Read all series into a panel in a folder. Text covariates become codes from 0.

    At most two columns are in memory at a time, and for each row its item, time and position.

    Raises:
        InvalidInput: a column is missing or of the wrong type, an item or time is null, or the data have a problem that
            `data.problems` refuses: the text has counts, examples and the setting that accepts them.
    """
    reader = ColumnReader(files, data, progress)
    values = _SortedValues(reader, data)
    rows = values.without_empty(_drop_duplicates(Rows.of(reader), data))
    placed = _drop_short(_place(rows, data), data, min_length)
    offsets = np.concatenate([[0], np.cumsum(placed.lengths)])
    columns = Columns(len(data.target), len(data.past_covariates), len(data.known_covariates))
    writer = PanelWriter(folder, columns, int(offsets[-1]))
    try:
        places = placed.places(offsets)
        categories = {}
        for index, name in enumerate(data.values):
            column, names = values.numbers(name, placed.rows)
            _fill(writer.row(index), places, column)
            if names is not None:
                categories[name] = names
        ticks = placed.rows.ticks_of_all(offsets, places)
        return writer.finish(list(placed.rows.items), offsets, ticks, rows.time_type, data.values, categories)
    except BaseException:
        writer.abandon()
        raise


class _SortedValues:
    """Value columns in the order of rows, without infinite values.

    Keeps the last column, so that a target that was checked for empty series is not read twice.
    """

    def __init__(self, reader: ColumnReader, data: Data) -> None:
        self._reader = reader
        self._data = data
        self._last: tuple[str, Codes, Floats, list[str] | None] | None = None

    def numbers(self, name: str, rows: Rows) -> tuple[Floats, list[str] | None]:
        """(n,) values, and for text the texts that the codes stand for."""
        if self._last is None or self._last[0] != name or self._last[1] is not rows.codes:
            self._last = None
            self._last = (name, rows.codes, *self._read(name, rows))
        return self._last[2:]

    def _read(self, name: str, rows: Rows) -> tuple[Floats, list[str] | None]:
        values, names = self._reader.numbers(name)
        if rows.order is not None:
            values = values[rows.order]
        infinite = np.isinf(values)
        if not infinite.any():
            return values, names
        if self._data.problems.infinite == "refuse":
            series = rows.codes[infinite]
            problem = f"{int(infinite.sum())} values are infinite, in {len(np.unique(series))} of {len(rows.items)} "
            problem += f"series, for instance in {_examples(rows.items, series)}"
            raise _refused(f"column {name!r}", problem, "infinite: fill treats them as missing")
        return np.where(infinite, np.float32(np.nan), values), names

    def without_empty(self, rows: Rows) -> Rows:
        """Drop series without two different numbers in any target: there is nothing to learn from them."""
        starts = np.flatnonzero(np.diff(rows.codes, prepend=np.int32(-1)))
        empty = np.ones(len(rows.items), dtype=bool)
        for name in self._data.target:
            values, _ = self.numbers(name, rows)
            empty &= ~(np.fmin.reduceat(values, starts) < np.fmax.reduceat(values, starts))
            if not empty.any():
                return rows
        if self._data.problems.empty == "refuse" or empty.all():
            problem = f"{int(empty.sum())} of {len(empty)} series have no two different numbers, for instance "
            problem += _examples(rows.items, np.flatnonzero(empty))
            where = "column " + ", ".join(map(repr, self._data.target))
            raise _refused(where, problem, "empty: drop removes them")
        return rows.without(empty)[0]


@dataclass(frozen=True, slots=True)
class _Placed:
    """Rows, their positions within their series (n,), None if adjacent, and the lengths of the series (S,)."""

    rows: Rows
    slots: Indices | None
    lengths: Indices

    def places(self, offsets: Indices) -> Indices | None:
        """(n,) positions of the rows in the block; None without gaps."""
        return None if self.slots is None else self.slots + offsets[self.rows.codes]


def _fill(row: Floats, places: Indices | None, values: Floats) -> None:
    if places is None:
        row[:] = values
        return
    row[:] = np.nan
    row[places] = values


def _drop_duplicates(rows: Rows, data: Data) -> Rows:
    repeated = rows.inside & (rows.ticks[1:] == rows.ticks[:-1])
    if not repeated.any():
        return rows
    if data.problems.duplicates == "refuse":
        examples = _examples(rows.items, rows.codes[1:][repeated])
        problem = f"{int(repeated.sum())} rows repeat a time of their series, for instance in {examples}"
        raise _refused(f"column {data.timestamp!r}", problem, "duplicates: drop keeps the last of them")
    return rows.keep(np.append(~repeated, True))


def _place(rows: Rows, data: Data) -> _Placed:
    """Find the common step, and the position of each row."""
    counts = np.bincount(rows.codes, minlength=len(rows.items))
    if data.problems.gaps == "ignore":
        return _Placed(rows, None, counts)
    where, inside = f"column {data.timestamp!r}", rows.inside
    grid = find_grid(rows.ticks, inside, rows.time_type)
    if grid is None:
        raise _refused(where, _irregular(rows, inside), "gaps: ignore treats rows as adjacent")
    _check_frequencies(rows, grid, inside, where)
    step = grid.spacing.name(rows.ticks_per_second)
    if data.frequency is not None and inside.any() and not same_frequency(data.frequency, step):
        raise InvalidInput(where, f"the step is {step}, not {data.frequency}", "data.frequency")
    missing = grid.jumps > 1
    if not missing.any():
        return _Placed(replace(rows, spacing=grid.spacing), None, counts)
    if data.problems.gaps == "refuse":
        series = rows.codes[1:][missing]
        problem = f"{int((grid.jumps[missing] - 1).sum())} times are missing from the step {step}, in "
        problem += f"{len(np.unique(series))} of {len(counts)} series, for instance in {_examples(rows.items, series)}"
        raise _refused(where, problem, "gaps: fill inserts missing observations, ignore treats rows as adjacent")
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    slots = np.concatenate([[0], np.cumsum(grid.jumps)])
    slots -= np.repeat(slots[firsts], counts)
    filled = replace(rows, spacing=grid.spacing, ticks=grid.ticks, local=grid.local)
    return _Placed(filled, slots, slots[firsts + counts - 1] + 1)


def _check_frequencies(rows: Rows, grid: Grid, inside: Mask, where: str) -> None:
    """Refuse series that never take the common step, and a common step that would leave almost nothing but gaps."""
    shortest = _shortest(rows, grid.jumps, inside)
    coarse, fine = np.flatnonzero(shortest > 1), np.flatnonzero(shortest == 1)
    if len(coarse):
        fewer, kind = (coarse, "longer") if len(coarse) <= len(fine) else (fine, "shorter")
        problem = f"{len(fewer)} of {len(rows.items)} series have a {kind} step than the others, for instance "
        problem += ", ".join(
            f"{one_line(rows.items[one], 40)} ({grid.spacing.name(rows.ticks_per_second, int(shortest[one]))})"
            for one in fewer[:EXAMPLES].tolist()
        )
        raise _refused(where, problem, "gaps: ignore, or train each frequency by itself")
    if not grid.usual and grid.jumps.sum() > _MAX_FILL_RATIO * inside.sum():
        raise _refused(where, _irregular(rows, inside), "gaps: ignore treats rows as adjacent")


def _shortest(rows: Rows, jumps: Indices, inside: Mask) -> Indices:
    """(S,) the smallest step of each series in multiples of the common one; 0 for fewer than three points."""
    if not (jumps > 1).any():
        return np.ones(len(rows.items), dtype=np.int64)
    codes = rows.codes[1:][inside]
    shortest = np.full(len(rows.items), np.iinfo(np.int64).max)
    np.minimum.at(shortest, codes, jumps[inside])
    shortest[np.bincount(codes, minlength=len(rows.items)) < 2] = 0
    return shortest


def _irregular(rows: Rows, inside: Mask) -> str:
    """Describe the steps that are not multiples of the most frequent one, or change the day of the month."""
    steps, second = np.diff(rows.ticks), rows.ticks_per_second
    steps[~inside] = 0
    usual = usual_step(steps)
    name = name_of(usual, second)
    if second and usual >= _MONTH_SECONDS * second:
        days = days_of_month(rows.ticks, second)
        values, counts = np.unique(days, return_counts=True)
        odd, name = inside & (days[1:] != values[np.argmax(counts)]), "a month"
    else:
        odd = steps % usual != 0
    if not odd.any():
        odd = inside & (steps != usual)
    series = rows.codes[1:][odd]
    problem = (
        f"the times have no common step: {int(odd.sum())} of {int(inside.sum())} steps are not multiples of {name}, in "
    )
    return (
        problem
        + f"{len(np.unique(series))} of {len(rows.items)} series, for instance in {_examples(rows.items, series)}"
    )


def _drop_short(placed: _Placed, data: Data, min_length: int) -> _Placed:
    rows, lengths = placed.rows, placed.lengths
    short = lengths < min_length
    if not short.any():
        return placed
    if data.problems.short == "refuse" or short.all():
        positions = np.flatnonzero(short)
        examples = ", ".join(f"{one_line(rows.items[one], 40)} ({lengths[one]})" for one in positions[:EXAMPLES])
        problem = (
            f"{len(positions)} of {len(lengths)} series have fewer than the {min_length} points that the evaluation "
        )
        problem += f"needs, for instance {examples}"
        raise _refused("data.path", problem, "short: drop removes them; or lower prediction_length")
    kept, keep = rows.without(short)
    return _Placed(kept, None if placed.slots is None else placed.slots[keep], lengths[~short])


def _refused(where: str, problem: str, setting: str) -> InvalidInput:
    return InvalidInput(where, problem, f"data.problems.{setting}")


def _examples(names: Sequence[str], codes: Indices | Codes) -> str:
    shown = list(dict.fromkeys(codes[: 100 * EXAMPLES].tolist()))[:EXAMPLES]
    return ", ".join(one_line(names[code], 40) for code in shown)
