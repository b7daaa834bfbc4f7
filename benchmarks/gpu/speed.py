"""Training steps a second, stock and ours, one improvement after the other; evaluation before and now."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.evaluate.predict import forecast_batches
from agent.chronos.model.chronos2 import Chronos2Family
from agent.chronos.model.family import BLOCK, STOCK
from agent.data.panel import Panel
from agent.protocol.metrics_log import read_metrics
from benchmarks.gpu.sizes import Sizes
from benchmarks.training.steps import StepClock, a_job, train_timed
from benchmarks.training.workload import HORIZON, random_pipeline, random_series, write_panel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_SERIES, _SPARE_POINTS = 200, 200
MODELS = 3
"""Those of an evaluation: trained, base and champion."""
_STOCK_ROWS = 256
"""Rows per forward pass of the library by default."""


def steps(sizes: Sizes, context: int) -> dict[str, dict[str, float]]:
    """Steps a second in bf16 of the library's `fit` and of ours: with its attention, blocks, no mask, compiled."""
    return {
        "fit": _measured(partial(_stock_fit, sizes, context)),
        "stock_attention": _measured(partial(_our_fit, sizes, context, STOCK, masked=True)),
        "blocks": _measured(partial(_our_fit, sizes, context, BLOCK, masked=True)),
        "blocks_without_mask": _measured(partial(_our_fit, sizes, context, BLOCK)),
        "compiled": _measured(partial(_our_fit, sizes, context, BLOCK, backend=sizes.compile_backend)),
    }


def _measured(run: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What it returns, with the most memory that it needed."""
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    found = run()
    if DEVICE == "cuda":
        found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return found


def _stock_fit(sizes: Sizes, context: int) -> dict[str, float]:
    clock, pipeline = StepClock(), random_pipeline(sizes.shape, context)
    pipeline.model.to(DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        pipeline.fit(
            random_series(_SERIES, context + _SPARE_POINTS), prediction_length=HORIZON, context_length=context,
            batch_size=sizes.rows, num_steps=sizes.steps + 1, output_dir=folder, callbacks=[clock], min_past=context,
            remove_printer_callback=True, disable_tqdm=True, bf16=True, use_cpu=DEVICE == "cpu",
        )  # fmt: skip
    return {"steps_per_second": round(clock.rate, 3)}


def _our_fit(
    sizes: Sizes, context: int, attention: str, masked: bool = False, backend: str | None = None
) -> dict[str, float]:
    family = a_family(sizes, context)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        panel = a_panel(folder, context)
        family.use_attention(attention, panel.columns)
        if backend is not None:
            compile_layers(family, backend)
        job = a_job(family, panel, sizes.rows, sizes.steps + 1, min_past=context)
        if masked:
            whole = job.batch
            job = replace(job, batch=lambda number, part, parts: whole(number, part, parts) | {"padded": True})
        rate = train_timed(job, folder)
        waits = [line["data_wait_ms"] for line in read_metrics(folder / "metrics.jsonl") if "data_wait_ms" in line]
    return {"steps_per_second": round(rate, 3), "data_wait_ms": round(median(waits[1:]), 3)}


def compile_layers(family: Chronos2Family, backend: str) -> None:
    """Compile each layer of the encoder by itself: they are alike, so the code of the first serves for all."""
    encoder: Any = family.base_model.encoder
    for block in encoder.block:
        block.compile(backend=backend, fullgraph=True)


def forecasts(sizes: Sizes, precision: str = "bf16") -> dict[str, float]:
    """Seconds to forecast all series with each model, as rivals were (stock attention, fp32, 256 rows) and as now."""
    context = sizes.contexts[0]
    with tempfile.TemporaryDirectory() as folder:
        panel = a_panel(Path(folder), context, sizes.series)
        stock, ours = a_family(sizes, context, "fp32"), a_family(sizes, context, precision)
        for family in (stock, ours):
            family.model.eval()
        stock.use_attention(STOCK, panel.columns)
        stock.fitting = _STOCK_ROWS
        before, now = (_seconds(family, panel) for family in (stock, ours))
    return {
        "seconds_before": round(MODELS * before, 3),
        "seconds": round(MODELS * now, 3),
        "models": MODELS,
        "series_per_second": round(sizes.series / now, 1),
    }


def _seconds(family: Chronos2Family, panel: Panel) -> float:
    """Of a second pass: the first one warms up, chooses the attention and finds the size that fits."""
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        for _ in forecast_batches(family, panel, first_windows(panel, len(panel))):
            pass
        seconds = time.perf_counter() - began
    return seconds


def a_family(sizes: Sizes, context: int, precision: str = "bf16") -> Chronos2Family:
    """A new model on the device."""
    pipeline = random_pipeline(sizes.shape, context)
    pipeline.model.to(DEVICE)
    family = Chronos2Family(pipeline, context, HORIZON)
    family.precision = precision
    return family


def first_windows(panel: Panel, count: int) -> WindowBatch:
    """The last window of each of the first series."""
    return WindowBatch(np.arange(count), panel.lengths[:count] - HORIZON)


def a_panel(folder: Path, context: int, series: int = _SERIES) -> Panel:
    """Series that fill a context and have some points more."""
    return write_panel(folder / "panel", random_series(series, context + _SPARE_POINTS))
