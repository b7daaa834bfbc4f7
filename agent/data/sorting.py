"""The rows of a long table in order of item and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from agent.data.columns import Codes, Mask, Source
from agent.data.frequency import Spacing, instants_of, multiples, ticks_per_second
from agent.data.panel import Indices

_SPARSE = 4
"""A table of all places may have so many times as many as there are rows; beyond that sorting is faster."""
_SAMPLE = 10_000
Numbers = np.ndarray[Any, np.dtype[np.int32 | np.int64]]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that are used, in order of item and time: `order` are their numbers in the files, None for all of them.

    `codes` are indices into `items`, `ticks` the times; `spacing` is None when the rows are taken as adjacent.
    `local` says that `ticks` are what the clocks of the times' zone show.
    """

    items: Sequence[str]
    codes: Codes
    ticks: Indices
    order: Numbers | None
    time_type: pa.DataType
    spacing: Spacing | None = None
    local: bool = False

    @classmethod
    def of(cls, source: Source) -> Rows:
        """Every row."""
        items, codes = source.items()
        ticks, kind = source.times()
        order = order_of(codes, ticks, len(items))
        if order is not None:
            codes, ticks = codes[order], ticks[order]
        return cls(items, codes, ticks, order, kind)

    @property
    def ticks_per_second(self) -> int | None:
        """None for times that are plain integers."""
        return ticks_per_second(self.time_type)

    @property
    def inside(self) -> Mask:
        """(n - 1,) whether a row and the next one are of the same series."""
        same: Mask = self.codes[1:] == self.codes[:-1]
        return same

    def keep(self, mask: Mask) -> Rows:
        """Only some of the rows."""
        order = np.flatnonzero(mask) if self.order is None else self.order[mask]
        return replace(self, codes=self.codes[mask], ticks=self.ticks[mask], order=order)

    def without(self, gone: Mask) -> tuple[Rows, Mask]:
        """Without the series of a mask (S,), and the mask (n,) of the rows that are left."""
        keep = ~gone[self.codes]
        items = [name for name, out in zip(self.items, gone, strict=True) if not out]
        kept = self.keep(keep)
        return replace(kept, items=items, codes=(np.cumsum(~gone) - 1).astype(np.int32)[kept.codes]), keep

    def ticks_of_all(self, offsets: Indices, places: Indices | None) -> Indices:
        """(N,) the time of every point, those that were filled in too; without `places` there are none of these."""
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
    """(n,) row numbers by item and time, a later row behind an earlier one of the same time; None if that is so."""
    later = (codes[1:] == codes[:-1]) & (ticks[1:] >= ticks[:-1])
    if np.all(later | (codes[1:] > codes[:-1])):
        return None
    found = _by_place(codes, ticks, series)
    return np.lexsort((ticks, codes)) if found is None else found


def _by_place(codes: Codes, ticks: Indices, series: int) -> Numbers | None:
    """The order without a comparison: each row's number goes to its item's and time's place in a table of all.

    None when the times have no common step, when the table would be too sparse, or when two rows want one place.
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
