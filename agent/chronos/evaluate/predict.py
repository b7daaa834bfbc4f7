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
from agent.chronos.model.families import Family, family_of
from agent.chronos.model.load import load_pipeline
from agent.data.panel import Floats, Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from chronos_ec2.domain.errors import InvalidInput

_RELOADED_SERIES = 16


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes that share the forecasts of a model, which each of them has: the batches by turns.

    `gather` gives rank 0 the blocks of all, and the others nothing; `smallest` gives all the smallest of their numbers.
    """

    rank: int = 0
    processes: int = 1
    gather: Callable[[Floats | None], Sequence[Floats | None]] = lambda block: [block]
    smallest: Callable[[int], int] = lambda number: number


@dataclass(frozen=True, slots=True)
class Forecaster:
    """Forecasts with one model at a time; reports progress and checks for SIGTERM after every batch."""

    panel: Panel
    metrics: Metrics
    stop: StopSignal
    on_windows: Callable[[int], None] = lambda _done: None
    ranks: Ranks = Ranks()

    def forecast(self, family: Family, held_out: HeldOutWindows) -> Floats:
        """(k, n, V, h, q); nothing but on rank 0. The same, bit for bit, by any number of processes of one kind.

        Raises StoppedEarly; InvalidInput if a single window does not fit into memory.
        """
        ranks, count = self.ranks, len(held_out.series)
        if family.attention is None:
            # By the same windows in each process.
            family.choose_attention(self.panel, next(held_out.batches(0, count)))
        size = ranks.smallest(min(family.forecast_windows(self.panel.columns), count))
        batches = [(window, start) for window in range(len(held_out.cutoffs)) for start in range(0, count, size)]
        forecasts = np.empty((*held_out.truth.shape, len(QUANTILES)) if ranks.rank == 0 else 0, np.float32)
        done, total = 0, held_out.cutoffs.size
        for turn in range(0, len(batches), ranks.processes):
            shared = batches[turn : turn + ranks.processes]
            ours = self._block(family, held_out, *shared[ranks.rank], size) if ranks.rank < len(shared) else None
            for (window, start), block in zip(shared, ranks.gather(ours), strict=False):
                assert block is not None
                forecasts[window, start : start + len(block)] = block
                done += len(block)
            if ranks.rank == 0:
                self.metrics.event("evaluating", done=done, total=total)
                self.on_windows(done)
                self.stop.check()
        return forecasts

    def _block(self, family: Family, held_out: HeldOutWindows, window: int, start: int, size: int) -> Floats:
        # Chronos-T5 samples its forecasts.
        torch.manual_seed(window * len(held_out.series) + start)
        stop = start + size
        batch = WindowBatch(held_out.series[start:stop], held_out.cutoffs[window, start:stop])
        return np.concatenate(list(forecast_batches(family, self.panel, batch)))

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
