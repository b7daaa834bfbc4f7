"""The rows of a long-format table, sorted by item and time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agent.data.frequency import Spacing, instants_of, multiples, ticks_per_second
from agent.data.ingest.scan import Codes, Mask, Scan, ValueColumn
from agent.data.panel import Block, Floats, Indices, item_names

_SPARSE = 4
"""Maximum size of a table of all positions relative to the number of rows; beyond that, sorting is faster."""
_SAMPLE = 10_000
_PART = 1 << 17
_THREADS = 2
"""Each holds a column; numpy lets others run while it picks values in another order."""
Numbers = np.ndarray[Any, np.dtype[np.int32 | np.int64]]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows sorted by item and time, as they are in the block, of which those of the mask `kept` (n,) are left, or all.

    `ids`: S series, one a row; `names` (S,): their names. `codes` (n,): indices of series. `ticks` (n,): times, local
    ones of the zone if `local`. `spacing`: None if rows are treated as adjacent.
    """

    ids: pa.Table
    names: Sequence[str]
    codes: Codes
    ticks: Indices
    time_type: pa.DataType
    kept: Mask | None = None
    spacing: Spacing | None = None
    local: bool = False

    @property
    def ticks_per_second(self) -> int | None:
        """None for integer times."""
        return ticks_per_second(self.time_type)

    @property
    def inside(self) -> Mask:
        """(n - 1,) whether a row and the next are of the same series."""
        same: Mask = self.codes[1:] == self.codes[:-1]
        return same

    @property
    def starts(self) -> Indices:
        """(S,) position of the first row of each series."""
        return np.flatnonzero(np.diff(self.codes, prepend=np.int32(-1)))

    def of(self, values: Floats) -> Floats:
        """(n,) of a row of the block."""
        return values if self.kept is None else values[self.kept]

    def keep(self, mask: Mask) -> Rows:
        """The rows of a mask (n,). Each series keeps at least one."""
        kept = mask
        if self.kept is not None:
            kept = self.kept.copy()
            kept[self.kept] = mask
        return replace(self, codes=self.codes[mask], ticks=self.ticks[mask], kept=kept)

    def without(self, dropped: Mask) -> Rows:
        """The rows without the series of a mask (S,)."""
        kept = self.keep(~dropped[self.codes])
        codes = (np.cumsum(~dropped) - 1).astype(np.int32)[kept.codes]
        names = [name for name, drop in zip(self.names, dropped, strict=True) if not drop]
        return replace(kept, ids=self.ids.filter(pa.array(~dropped)), names=names, codes=codes)

    def time(self, tick: int) -> str:
        """A time as text, in its zone."""
        text = str(pa.scalar(tick, pa.int64()).cast(self.time_type).cast(pa.string()))
        return re.sub(r" 00:00:00(\.0*)?$", "", text)

    def ticks_of_all(self, offsets: Indices, places: Indices | None) -> Indices:
        """(N,) the time of every point, including filled gaps. `places` (n,): row positions, None without gaps."""
        if places is None:
            return self.ticks
        assert self.spacing is not None
        count = int(offsets[-1])
        firsts = np.searchsorted(places, offsets[:-1])
        lengths = np.diff(offsets)
        first = np.repeat(self.spacing.positions(self.ticks[firsts]), lengths)
        into = np.arange(count) - np.repeat(offsets[:-1], lengths)
        ticks = self.spacing.ticks(first + into, np.repeat(self.spacing.phase(self.ticks[firsts]), lengths))
        return instants_of(ticks, self.time_type) if self.local else ticks


def sort(
    found: Scan, columns: Sequence[str], block: Block, progress: Callable[[int], None]
) -> tuple[Rows, Numbers | None]:
    """Sort the rows by item and time, also in the block; returns them, and their row numbers in the files.

    `progress` is called after each value column with its number of rows. The row numbers are None if the rows are in
    this order in the files. Texts get the codes of their sorted order.
    """
    ids, codes = _distinct(found, columns)
    order = order_of(codes, found.ticks, len(ids))
    if order is not None:
        codes = np.repeat(np.arange(len(ids), dtype=np.int32), np.bincount(codes, minlength=len(ids)))
        found.ticks = found.ticks[order]
    # In the order of the files they are not needed any more, and would be the largest part of the memory.
    found.codes.clear()
    ticks = found.ticks
    with ThreadPoolExecutor(_THREADS) as pool:
        sort_column = partial(_sort_column, order, block)
        for _ in pool.map(sort_column, found.columns, range(len(found.columns))):
            progress(len(ticks))
    return Rows(ids, item_names(ids).to_pylist(), codes, ticks, found.time_type), order


def _sort_column(order: Numbers | None, block: Block, column: ValueColumn, index: int) -> None:
    """Sort a row of the block, and give texts the codes of their sorted order."""
    recoded = None
    if column.texts is not None and column.texts != sorted(column.texts):
        recoded = np.full(len(column.texts) + 1, np.nan, np.float32)
        recoded[:-1] = _ranks(pa.array(column.texts))
        column.texts = sorted(column.texts)
    if order is None and recoded is None:
        return
    values = block.read(index)
    if order is not None:
        values = values[order]
    if recoded is not None:
        # In parts that stay in the processor's cache, and in place.
        for part in np.split(values, range(_PART, len(values), _PART)):
            part[:] = recoded[np.where(np.isnan(part), -1, part).astype(np.int32)]
    block.write(index, 0, values)


def _distinct(found: Scan, columns: Sequence[str]) -> tuple[pa.Table, Codes]:
    """The sorted ids, and for each row the index of its id."""
    sorted_values, ranked = [], []
    for values, codes in zip(found.ids, found.codes, strict=True):
        ranks = _ranks(values)
        sorted_values.append(values.take(pc.array_sort_indices(values)))
        ranked.append(codes if np.array_equal(ranks, np.arange(len(ranks))) else ranks[codes])
    if len(columns) == 1:
        return pa.table(sorted_values, names=list(columns)), ranked[0]
    joint = np.zeros(len(found.ticks), np.int64)
    for values, codes in zip(sorted_values, ranked, strict=True):
        joint = joint * len(values) + codes
    encoded = pa.array(joint).dictionary_encode()
    distinct = encoded.dictionary.to_numpy()
    codes = _ranks(encoded.dictionary)[encoded.indices.to_numpy()]
    left, picks = np.sort(distinct), []
    for values in reversed(sorted_values):
        left, into = np.divmod(left, len(values))
        picks.append(values.take(pa.array(into)))
    return pa.table(picks[::-1], names=list(columns)), codes


def _ranks(values: pa.Array) -> Codes:
    """(n,) position of each value in sorted order."""
    ranks = np.empty(len(values), np.int32)
    ranks[pc.array_sort_indices(values).to_numpy()] = np.arange(len(values), dtype=np.int32)
    return ranks


def order_of(codes: Codes, ticks: Indices, series: int) -> Numbers | None:
    """(n,) row numbers sorted stably by item and time; None if the rows are in this order."""
    later = (codes[1:] == codes[:-1]) & (ticks[1:] >= ticks[:-1])
    if np.all(later | (codes[1:] > codes[:-1])):
        return None
    found = _by_place(codes, ticks, series)
    return np.lexsort((ticks, codes)) if found is None else found


def _by_place(codes: Codes, ticks: Indices, series: int) -> Numbers | None:
    """Sort in linear time: put each row's number at the position of its item and time in a table of all positions.

    None if the times have no common step, the table would be too sparse, or two rows have the same position.
    """
    first = int(ticks.min())
    step = int(np.gcd.reduce(ticks[:_SAMPLE] - first))
    width = (int(ticks.max()) - first) // max(step, 1) + 1
    if step == 0 or series * width > _SPARSE * len(ticks):
        return None
    places = multiples(ticks - first, step)
    if places is None:
        return None
    places += codes * np.int64(width)
    number = np.dtype(np.int32 if len(ticks) < 2**31 else np.int64)
    table: Any = np.full(series * width, -1, dtype=number)
    table[places] = np.arange(len(ticks), dtype=number)
    order: Numbers = table[table >= 0]
    return order if len(order) == len(ticks) else None
