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
import pyarrow.compute as pc
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

    `ids` (S rows): the columns that name a series, with names, types and values as in the files. `values` (V, N)
    float32, V as in `columns`; series i is `values[:, offsets[i]:offsets[i + 1]]`. `offsets` (S + 1,). `ticks` (N,):
    times as Arrow's integers of `time_type`; `stored_type` is their type in the files. `categories`: for each text
    covariate, the texts that its codes 0, 1, … stand for. `findings`: what was accepted about the data, with counts,
    as plain JSON values. `complete`: no observation of a target is known to be missing.
    """

    ids: pa.Table
    offsets: Indices
    values: Floats
    ticks: Indices
    time_type: pa.DataType
    stored_type: pa.DataType
    columns: Columns
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    findings: Sequence[Mapping[str, Any]] = ()
    complete: bool = False

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def items(self) -> pa.StringArray:
        """(S,) the names of the series as text, for patterns and messages."""
        return item_names(self.ids)

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
        return self.times_at(np.arange(first + start, first + end))

    def times_at(self, points: Indices) -> pa.Array:
        """(n,) times of points, by their positions in the block."""
        return pa.array(self.ticks[points]).cast(self.time_type).cast(self.stored_type)


def item_names(ids: pa.Table) -> pa.StringArray:
    """(S,) names as text; those of several columns are joined by a slash."""
    texts = [column.combine_chunks().cast(pa.string()) for column in ids.columns]
    return texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, "/")


def plain_times(times: pa.Array) -> list[Any]:
    """Times for plots: numbers as they are, times as local texts without an offset."""
    if pa.types.is_integer(times.type):
        return list(times.to_pylist())
    local = pc.local_timestamp(times) if getattr(times.type, "tz", None) else times
    return [str(time) for time in local.to_pylist()]


class Block:
    """A matrix of float32 in a .npy file, read and written by parts of its rows.

    Through system calls, not a memory map, so that none of it counts as memory of this process. Threads may share it.
    """

    def __init__(self, path: Path, rows: int, length: int) -> None:
        self.path = path
        self.length = length
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, length)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            self._start = file.tell()
            file.truncate(self._start + 4 * rows * length)
        self._file = path.open("r+b", buffering=0)

    def write(self, row: int, start: int, values: Floats) -> None:
        """Write values into a row, from position `start` on."""
        place = self._start + 4 * (row * self.length + start)
        stored: Any = np.ascontiguousarray(values, dtype="<f4")
        left = memoryview(stored).cast("B")
        while left:
            size = os.pwrite(self._file.fileno(), left, place)
            left, place = left[size:], place + size

    def read(self, row: int) -> Floats:
        """(length,) a row."""
        place = self._start + 4 * row * self.length
        found: Any = np.empty(self.length, dtype="<f4")
        left = memoryview(found).cast("B")
        while left:
            size = os.preadv(self._file.fileno(), [left], place)
            if not size:
                raise EOFError(f"{self.path} is too short")
            left, place = left[size:], place + size
        row_values: Floats = found
        return row_values

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class PanelWriter:
    """Writes a panel into a folder atomically: blocks are drafts until one of them is finished."""

    def __init__(self, folder: Path, columns: Columns) -> None:
        self._folder = folder
        self._draft = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        shutil.rmtree(self._draft, ignore_errors=True)
        self._draft.mkdir(parents=True)
        self._columns = columns
        self._blocks: list[Block] = []

    def new_block(self, points: int) -> Block:
        """A block for the rows of all series."""
        block = Block(self._draft / f"block-{len(self._blocks)}.npy", self._columns.all, points)
        self._blocks.append(block)
        return block

    def finish(
        self,
        block: Block,
        ids: pa.Table,
        offsets: Indices,
        ticks: Indices,
        time_types: tuple[pa.DataType, pa.DataType],
        about: Mapping[str, Any] | None = None,
    ) -> Panel:
        """Make the block the panel's, write the rest, and open the panel.

        `time_types`: of the ticks and in the files. `about`: `names`, `categories`, `findings` and `complete`, as in
        panel.json.
        """
        for one in self._blocks:
            one.close()
            if one is not block:
                one.path.unlink()
        block.path.rename(self._draft / _VALUES)
        np.save(self._draft / _OFFSETS, offsets)
        np.save(self._draft / _TICKS, ticks)
        pq.write_table(ids, self._draft / _ITEMS)
        # An empty table, to keep the Arrow types of the times.
        types = {name: pa.array([], kind) for name, kind in zip(("time", "stored"), time_types, strict=True)}
        pq.write_table(pa.table(types), self._draft / _TIMES)
        columns = {name: getattr(self._columns, name) for name in ("targets", "past", "known")}
        metadata = {"schema_version": _SCHEMA_VERSION, "columns": columns, **(about or {})}
        (self._draft / _METADATA).write_text(json.dumps(metadata))
        shutil.rmtree(self._folder, ignore_errors=True)
        self._draft.rename(self._folder)
        return open_panel(self._folder)

    def abandon(self) -> None:
        """Remove the unfinished panel."""
        for one in self._blocks:
            one.close()
        shutil.rmtree(self._draft, ignore_errors=True)


def open_panel(folder: Path) -> Panel:
    """Open the panel in a folder. Raises FileNotFoundError if there is none."""
    metadata, times = json.loads((folder / _METADATA).read_text()), pq.read_schema(folder / _TIMES)
    return Panel(
        ids=pq.read_table(folder / _ITEMS),
        offsets=np.load(folder / _OFFSETS),
        # As plain arrays on the memory map: slicing numpy's memmap class costs more than copying the slice.
        values=np.asarray(np.load(folder / _VALUES, mmap_mode="r")),
        ticks=np.asarray(np.load(folder / _TICKS, mmap_mode="r")),
        time_type=times.field("time").type,
        stored_type=times.field("stored").type,
        columns=Columns(**metadata["columns"]),
        categories=metadata.get("categories", {}),
        findings=metadata.get("findings", []),
        complete=metadata.get("complete", False),
    )
