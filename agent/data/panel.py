"""All series of a data set as one block of numbers and offsets into it, on disk as memory maps.

Opened in milliseconds, shared by all processes of the box through the page cache, and never whole in memory.
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
_ABOUT, _ITEMS, _TIMES = "panel.json", "items.parquet", "times.parquet"
_VALUES, _OFFSETS, _TICKS = "values.npy", "offsets.npy", "ticks.npy"
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Columns:
    """How many rows of the block are targets, covariates known up to now, covariates known for the future too."""

    targets: int
    past: int = 0
    known: int = 0

    @property
    def all(self) -> int:
        """Rows of one series, in this order."""
        return self.targets + self.past + self.known


@dataclass(frozen=True, slots=True)
class Panel:
    """S series with N points in all, ordered by item and within each by time. Missing observations are NaN.

    `values` is (V, N) float32, V as in `columns`; series i is `values[:, offsets[i]:offsets[i + 1]]`; `offsets` is
    (S + 1,), `ticks` (N,) are the times as Arrow's integers of `time_type`. `categories` are the texts that the codes
    0, 1, … of a text covariate stand for, by its name.
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
        """(S,) points of each series."""
        return np.diff(self.offsets)

    def series(self, index: int, end: int | None = None, length: int | None = None) -> Floats:
        """(V, T): a view of a series up to its point `end`, the last `length` points of that."""
        start = int(self.offsets[index])
        stop = int(self.offsets[index + 1]) if end is None else start + end
        return self.values[:, max(start, stop - length) if length else start : stop]

    def times(self, index: int, start: int, end: int) -> pa.Array:
        """The times of the points `start` to `end` of a series."""
        first = int(self.offsets[index])
        return pa.array(self.ticks[first + start : first + end]).cast(self.time_type)


class PanelWriter:
    """Writes a panel into a folder: complete, or not there at all.

    The block is filled row by row through `row`, so that no more than one column is in memory.
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
        """(N,) one row of the block, to be filled."""
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
        """Write the rest, and open what was written. `names` are the columns that the rows of the block were."""
        self._values.flush()
        np.save(self._draft / _OFFSETS, offsets)
        np.save(self._draft / _TICKS, ticks)
        # Arrow keeps the type of the times; a table without rows is enough for that.
        pq.write_table(pa.table({"item": pa.array(items, pa.string())}), self._draft / _ITEMS)
        pq.write_table(pa.table({"time": pa.array([], time_type)}), self._draft / _TIMES)
        columns = {name: getattr(self._columns, name) for name in ("targets", "past", "known")}
        about = {
            "schema_version": _SCHEMA_VERSION,
            "columns": columns,
            "names": list(names),
            "categories": dict(categories or {}),
        }
        (self._draft / _ABOUT).write_text(json.dumps(about))
        shutil.rmtree(self._folder, ignore_errors=True)
        self._draft.rename(self._folder)
        return open_panel(self._folder)

    def abandon(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._draft, ignore_errors=True)


def open_panel(folder: Path) -> Panel:
    """The panel in a folder. Raises FileNotFoundError when there is none."""
    about = json.loads((folder / _ABOUT).read_text())
    return Panel(
        items=pq.read_table(folder / _ITEMS).column(0).combine_chunks(),
        offsets=np.load(folder / _OFFSETS),
        # As plain arrays on the map: slicing numpy's memmap class costs more than copying what is sliced.
        values=np.asarray(np.load(folder / _VALUES, mmap_mode="r")),
        ticks=np.asarray(np.load(folder / _TICKS, mmap_mode="r")),
        time_type=pq.read_schema(folder / _TIMES).field(0).type,
        columns=Columns(**about["columns"]),
        categories=about["categories"],
    )
