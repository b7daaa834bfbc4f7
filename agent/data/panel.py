"""A panel: all series of a data set as one block of numbers with offsets, memory-mapped from disk.

It opens in milliseconds, all processes share it through the page cache, and it may be larger than memory.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Floats = np.ndarray[Any, np.dtype[np.float32]]
Indices = np.ndarray[Any, np.dtype[np.int64]]
_METADATA, _ITEMS, _TIMES = "panel.json", "items.parquet", "times.parquet"
_VALUES, _OFFSETS, _TICKS = "values.npy", "offsets.npy", "ticks.npy"
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Columns:
    """Number of targets, past covariates and known covariates: the rows of a series, in this order."""

    targets: int
    past: int = 0
    known: int = 0

    @property
    def all(self) -> int:
        """All rows of a series."""
        return self.targets + self.past + self.known


@dataclass(frozen=True, slots=True)
class Panel:
    """S series with N points in total, ordered by item and time. Missing observations are NaN.

    `values` (V, N) float32, V as in `columns`; series i is `values[:, offsets[i]:offsets[i + 1]]`. `offsets` (S + 1,).
    `ticks` (N,): times as Arrow's integers of `time_type`. `categories`: for each text covariate, the texts that its
    codes 0, 1, … stand for.
    """

    items: pa.StringArray
    offsets: Indices
    values: Floats
    ticks: Indices
    time_type: pa.DataType
    columns: Columns
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> Indices:
        """(S,) number of points of each series."""
        return np.diff(self.offsets)

    def series(self, index: int, end: int | None = None, length: int | None = None) -> Floats:
        """(V, T) view of a series: its points before `end`, or the last `length` of them."""
        start = int(self.offsets[index])
        stop = int(self.offsets[index + 1]) if end is None else start + end
        return self.values[:, max(start, stop - length) if length else start : stop]

    def times(self, index: int, start: int, end: int) -> pa.Array:
        """Times of the points from `start` to before `end` of a series."""
        first = int(self.offsets[index])
        return pa.array(self.ticks[first + start : first + end]).cast(self.time_type)


class PanelWriter:
    """Writes a panel into a folder atomically.

    The block is filled one row at a time, so only one column is in memory.
    """

    def __init__(self, folder: Path, columns: Columns, points: int) -> None:
        self._folder = folder
        self._draft = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        shutil.rmtree(self._draft, ignore_errors=True)
        self._draft.mkdir(parents=True)
        self._columns = columns
        shape = (columns.all, points)
        self._values = np.lib.format.open_memmap(self._draft / _VALUES, mode="w+", dtype=np.float32, shape=shape)

    def row(self, index: int) -> Floats:
        """(N,) writable row of the block."""
        row: Floats = self._values[index]
        return row

    def finish(
        self,
        items: list[str],
        offsets: Indices,
        ticks: Indices,
        time_type: pa.DataType,
        names: Sequence[str] = (),
        categories: Mapping[str, Sequence[str]] | None = None,
    ) -> Panel:
        """Write the rest, and open the panel. `names`: the columns that the rows came from."""
        self._values.flush()
        np.save(self._draft / _OFFSETS, offsets)
        np.save(self._draft / _TICKS, ticks)
        # An empty table, to keep the Arrow type of the times.
        pq.write_table(pa.table({"item": pa.array(items, pa.string())}), self._draft / _ITEMS)
        pq.write_table(pa.table({"time": pa.array([], time_type)}), self._draft / _TIMES)
        columns = {name: getattr(self._columns, name) for name in ("targets", "past", "known")}
        metadata = {
            "schema_version": _SCHEMA_VERSION,
            "columns": columns,
            "names": list(names),
            "categories": dict(categories or {}),
        }
        (self._draft / _METADATA).write_text(json.dumps(metadata))
        shutil.rmtree(self._folder, ignore_errors=True)
        self._draft.rename(self._folder)
        return open_panel(self._folder)

    def abandon(self) -> None:
        """Remove the unfinished panel."""
        shutil.rmtree(self._draft, ignore_errors=True)


def open_panel(folder: Path) -> Panel:
    """Open the panel in a folder. Raises FileNotFoundError if there is none."""
    metadata = json.loads((folder / _METADATA).read_text())
    return Panel(
        items=pq.read_table(folder / _ITEMS).column(0).combine_chunks(),
        offsets=np.load(folder / _OFFSETS),
        # As plain arrays on the memory map: slicing numpy's memmap class costs more than copying the slice.
        values=np.asarray(np.load(folder / _VALUES, mmap_mode="r")),
        ticks=np.asarray(np.load(folder / _TICKS, mmap_mode="r")),
        time_type=pq.read_schema(folder / _TIMES).field(0).type,
        columns=Columns(**metadata["columns"]),
        categories=metadata["categories"],
    )
