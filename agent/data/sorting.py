"""The rows of a long-format table, sorted by item and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from agent.data.columns import Codes, ColumnReader, Mask
from agent.data.frequency import Spacing, instants_of, multiples, ticks_per_second
from agent.data.panel import Indices

_SPARSE = 4
"""Maximum size of a table of all positions relative to the number of rows; beyond that, sorting is faster."""
_SAMPLE = 10_000
Numbers = np.ndarray[Any, np.dtype[np.int32 | np.int64]]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows sorted by item and time. `order`: their row numbers in the files, None if they are in this order there.

    `codes` (n,): indices into `items`. `ticks` (n,): times, local ones of the zone if `local`. `spacing`: None if rows
    are treated as adjacent.
    """

    items: Sequence[str]
    codes: Codes
    ticks: Indices
    order: Numbers | None
    time_type: pa.DataType
    spacing: Spacing | None = None
    local: bool = False

    @classmethod
    def of(cls, source: ColumnReader) -> Rows:
        """All rows."""
        items, codes = source.items()
        ticks, kind = source.times()
        order = order_of(codes, ticks, len(items))
        if order is not None:
            codes, ticks = codes[order], ticks[order]
        return cls(items, codes, ticks, order, kind)

    @property
    def ticks_per_second(self) -> int | None:
        """None for integer times."""
        return ticks_per_second(self.time_type)

    @property
    def inside(self) -> Mask:
        """(n - 1,) whether a row and the next are of the same series."""
        same: Mask = self.codes[1:] == self.codes[:-1]
        return same

    def keep(self, mask: Mask) -> Rows:
        """The rows of a mask (n,)."""
        order = np.flatnonzero(mask) if self.order is None else self.order[mask]
        return replace(self, codes=self.codes[mask], ticks=self.ticks[mask], order=order)

    def without(self, dropped: Mask) -> tuple[Rows, Mask]:
        """The rows without the series of a mask (S,), and the mask (n,) of the remaining rows."""
        keep = ~dropped[self.codes]
        items = [name for name, drop in zip(self.items, dropped, strict=True) if not drop]
        kept = self.keep(keep)
        return replace(kept, items=items, codes=(np.cumsum(~dropped) - 1).astype(np.int32)[kept.codes]), keep

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
