"""Data sets of many daily series, written in row groups of whole series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.training.workload import HORIZON

HISTORY, FUTURE = "history.parquet", "future.parquet"
LENGTH, CONTEXT = 64, 64
_GROUP = 10_000


def write_dataset(folder: Path, count: int, *, covariates: bool) -> None:
    """`count` series of noise; with covariates two that are known ahead, a number and a text."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    days = np.datetime64("2024-01-01", "ms") + np.arange(LENGTH + HORIZON) * np.timedelta64(1, "D")
    spans = {HISTORY: days[:LENGTH]} | ({FUTURE: days[LENGTH:]} if covariates else {})
    for name, times in spans.items():
        writer = None
        for start in range(0, count, _GROUP):
            names = [f"item_{index:07d}" for index in range(start, min(start + _GROUP, count))]
            size = len(names) * len(times)
            columns = {
                "item_id": pa.array(np.repeat(names, len(times))), "timestamp": pa.array(np.tile(times, len(names)))
            }  # fmt: skip
            if name == HISTORY:
                columns["target"] = pa.array(random.normal(10, 1, size).astype(np.float32))
            if covariates:
                columns["price"] = pa.array(random.normal(size=size).astype(np.float32))
                columns["kind"] = pa.array(np.array(["a", "b", "c"])[random.integers(3, size=size)])
            table = pa.table(columns)
            writer = writer or pq.ParquetWriter(folder / name, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=size)
        assert writer is not None
        writer.close()
