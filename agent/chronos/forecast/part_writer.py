"""Writes a part of a forecast: rows as `predict_df` of chronos-forecasting has them, in Parquet or CSV."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from agent.data.hashing import sha256_of
from agent.data.panel import item_names
from agent.protocol.forecast_parts import ForecastPart


class PartWriter:
    """Writes tables of consecutive series into one file, which has its name only once it is whole."""

    def __init__(self, folder: Path, number: int, kind: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"part-{number:05d}.{kind}"
        self._draft = folder / f"draft-{number:05d}"
        self._csv = kind == "csv"
        self._writer: Any = None
        self._rows = self._items = self._nulls = self._cross = 0
        self._edges: list[Any] = []
        self._times: list[Any] = []

    def write(self, table: pa.Table, ids: pa.Table, timestamp: str) -> None:
        """Append the rows of some series, named by `ids` in their order; quantiles are the last columns, ascending."""
        if self._writer is None:
            self._writer = self._open(table)
        self._writer.write_table(table)
        self._rows += table.num_rows
        self._items += len(ids)
        self._nulls += table["predictions"].null_count
        self._cross += _crossing(table)
        names = item_names(ids)
        self._edges += [names[0].as_py(), names[-1].as_py()]
        self._times += pc.min_max(table[timestamp]).values()

    def _open(self, table: pa.Table) -> Any:
        if self._csv:
            return pc_csv.CSVWriter(self._draft, table.schema)
        # A dictionary of numbers that hardly repeat takes most of the time and a third of the space.
        repeating = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
        return pq.ParquetWriter(self._draft, table.schema, compression="zstd", use_dictionary=repeating)

    def finish(self) -> ForecastPart:
        """Close the file and describe it."""
        self._writer.close()
        first, last = (str(edge(self._times, key=lambda one: one.as_py()).cast(pa.string())) for edge in (min, max))
        self._draft.replace(self._path)
        return ForecastPart(
            self._path.name,
            rows=self._rows,
            items=self._items,
            bytes=self._path.stat().st_size,
            sha256=sha256_of(self._path),
            first_item=self._edges[0],
            last_item=self._edges[-1],
            first_timestamp=first,
            last_timestamp=last,
            rows_without_numbers=self._nulls,
            quantiles_cross=self._cross,
        )


def _crossing(table: pa.Table) -> int:
    """Rows in which a quantile is below one of a lower level."""
    levels = table.columns[table.column_names.index("predictions") + 1 :]
    crossing = np.zeros(table.num_rows, dtype=bool)
    for lower, higher in itertools.pairwise(levels):
        crossing |= higher.to_numpy() < lower.to_numpy()
    return int(crossing.sum())
