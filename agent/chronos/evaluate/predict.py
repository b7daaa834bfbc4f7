"""Forecasts of held-out windows, in batches that fit into memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows
from agent.chronos.batching.histories import Array
from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.evaluate.metrics import errors, scores
from agent.chronos.model.families import Family, family_of
from agent.chronos.model.load import load_pipeline
from agent.data.panel import Floats, Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from chronos_ec2.domain.errors import InvalidInput

_RELOADED_SERIES = 16


@dataclass(frozen=True, slots=True)
class Forecaster:
    """Forecasts with one model at a time; reports progress and checks for SIGTERM after every batch."""

    panel: Panel
    metrics: Metrics
    stop: StopSignal
    on_windows: Callable[[int], None] = lambda _done: None

    def forecast(self, family: Family, held_out: HeldOutWindows) -> Floats:
        """(k, n, V, h, q). Raises StoppedEarly; InvalidInput if a single window does not fit into memory."""
        # Chronos-T5 samples its forecasts.
        torch.manual_seed(0)
        done, total, windows = 0, held_out.cutoffs.size, []
        for cutoffs in held_out.cutoffs:
            found = []
            for block in forecast_batches(family, self.panel, WindowBatch(held_out.series, cutoffs)):
                found.append(block)
                done += len(block)
                self.metrics.event("evaluating", done=done, total=total)
                self.on_windows(done)
                self.stop.check()
            windows.append(np.concatenate(found))
        return np.stack(windows)

    def wql(self, family: Family, held_out: HeldOutWindows) -> float:
        """The model's weighted quantile loss."""
        return scores(errors(held_out, self.forecast(family, held_out)))["wql"]

    def forecast_reloaded(self, family: Family, folder: Path, held_out: HeldOutWindows) -> tuple[Array, Array]:
        """Forecasts of the first series by the model in memory, and by the same model loaded from disk."""
        batch = next(held_out.batches(0, _RELOADED_SERIES))
        pipeline = load_pipeline(str(folder), family.device)
        reloaded = family_of(pipeline, family.context, family.horizon, family.precision)
        found = []
        for model in (family, reloaded):
            torch.manual_seed(0)
            found.append(np.concatenate(list(forecast_batches(model, self.panel, batch))))
        return found[0], found[1]


def forecast_batches(
    family: Family, panel: Panel, batch: WindowBatch, levels: Sequence[float] = QUANTILES
) -> Iterator[Floats]:
    """(n, V, h, q) forecasts in order, at ascending levels; halves a batch that does not fit into the GPU's memory.

    Raises:
        InvalidInput: a single window does not fit.
    """
    if family.attention is None:
        family.choose_attention(panel, batch)
    start, size = 0, min(family.forecast_windows(panel.columns), len(batch.series))
    while start < len(batch.series):
        stop = start + size
        found = _try_forecast(family, panel, WindowBatch(batch.series[start:stop], batch.cutoffs[start:stop]), levels)
        if found is not None:
            start += size
            # Quantiles may cross; sorted, their loss is never higher (Chernozhukov et al. 2010).
            yield np.sort(found, axis=-1)
            continue
        if size == 1:
            raise InvalidInput("context_length", "a single forecast does not fit into the GPU's memory", "shorten it")
        size = family.fitting = -(-size // 2)
        free_memory()


def _try_forecast(family: Family, panel: Panel, batch: WindowBatch, levels: Sequence[float]) -> Floats | None:
    """None if out of memory. Returns first, so the exception no longer keeps the failed forecast's tensors alive."""
    try:
        return family.forecast(panel, batch, levels)
    except torch.OutOfMemoryError:
        return None


def free_memory() -> None:
    """Return unreferenced memory to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
