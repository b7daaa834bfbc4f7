"""Time to build a batch, by the length and the number of series."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from chronos.chronos2 import Chronos2Dataset
from chronos.chronos2.dataset import DatasetMode

from agent.chronos.batching.sampler import Sampler, TrainingWindows
from agent.chronos.model.families import Batch, Chronos2Family
from agent.data.panel import Columns, Panel, PanelWriter, open_panel
from benchmarks.training.workload import (
    HORIZON,
    ROUNDS,
    TINY,
    Section,
    random_pipeline,
    random_series,
    ratio,
    write_panel,
)

_ROWS = 256
# (series, their length, context)
_LENGTHS = ((100, 1_000, 512), (100, 100_000, 2_048), (10, 1_000_000, 2_048))
_COUNTS, _POINTS, _CONTEXT = (1, 10_000, 1_000_000), 60, 32


def batches() -> Section:
    """Milliseconds to build a batch of 256 rows."""
    figures, lines = {}, ["| series x length, context | stock, ms | ours, ms | ratio |", "|---|---:|---:|---:|"]
    for count, length, context in _LENGTHS:
        series = random_series(count, length)
        stock = iter(Chronos2Dataset(series, context, HORIZON, _ROWS, TINY.patch, HORIZON, DatasetMode.TRAIN))
        with tempfile.TemporaryDirectory() as folder:
            ours = _our_batches(write_panel(Path(folder) / "panel", series), context)
            pairs = [(_seconds_per_batch(stock), _seconds_per_batch(ours)) for _ in range(ROUNDS)]
        figures[f"{length}"] = found = ratio(*zip(*pairs, strict=True))
        lines.append(
            f"| {count} x {length:,}, {context} | {1e3 * found['stock']:.2f} | {1e3 * found['ours']:.2f} "
            f"| {found['ratio']:.0f} |"
        )
    return Section("Building batches", {"batch_build_ratio": figures}, "\n".join(lines))


def scaling() -> Section:
    """Milliseconds to open a data set and to build a batch, by the number of series of 60 points."""
    figures, lines = {}, ["| series | open, ms | batch of 256, ms |", "|---:|---:|---:|"]
    for count in _COUNTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "panel"
            writer = PanelWriter(folder, Columns(1))
            block = writer.new_block(count * _POINTS)
            block.write(0, 0, np.random.default_rng(0).standard_normal(count * _POINTS, dtype=np.float32))
            writer.finish(
                block,
                pa.table({"item_id": range(count)}),
                np.arange(count + 1) * _POINTS,
                np.arange(count * _POINTS),
                (pa.int64(), pa.int64()),
                {"complete": True},
            )
            opened, built = [], []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                panel = open_panel(folder)
                opened.append(time.perf_counter() - began)
                built.append(_seconds_per_batch(_our_batches(panel, _CONTEXT)))
        open_ms, batch_ms = (round(1e3 * statistics.median(seconds), 2) for seconds in (opened, built))
        figures[str(count)] = {"open_ms": open_ms, "batch_ms": batch_ms}
        lines.append(f"| {count:,} | {open_ms} | {batch_ms} |")
    return Section("Number of series", {"scaling": figures}, "\n".join(lines))


def _our_batches(panel: Panel, context: int) -> Iterator[Batch]:
    family = Chronos2Family(random_pipeline(TINY, context), context, HORIZON)
    sampler = Sampler(TrainingWindows(panel, panel.lengths, context, HORIZON, HORIZON), _ROWS, "series", 0)
    return iter(family.batch(panel, sampler.draw(number)) for number in range(10**6))


def _seconds_per_batch(batches: Iterator[Any], count: int = 5) -> float:
    """After a first batch, which warms up."""
    next(batches)
    began = time.perf_counter()
    for _ in range(count):
        next(batches)
    return (time.perf_counter() - began) / count
