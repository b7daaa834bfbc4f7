"""Forecasts of held-out points by one model after the other, as much at a time as fits into memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from agent.data.panel import Floats, Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.training.batching.sampler import Draw
from agent.training.evaluate import metrics as scoring
from agent.training.evaluate.metrics import Held
from agent.training.evaluate.seasonal_naive import QUANTILES, Array
from agent.training.model import load
from agent.training.model.families import Family, family_of
from chronos_ec2.domain.errors import InvalidInput

_RELOADED_SERIES = 16


@dataclass(frozen=True, slots=True)
class Forecaster:
    """Every batch is a sign of work, after which a signal is obeyed."""

    panel: Panel
    metrics: Metrics
    stop: StopSignal

    def forecasts(self, family: Family, held: Held) -> Floats:
        """(k, n, V, h, q). Raises StoppedEarly, and InvalidInput when not even one window fits into memory."""
        # Chronos-T5 draws its forecasts.
        torch.manual_seed(0)
        done, total, windows = 0, held.cuts.size, []
        for cuts in held.cuts:
            found = []
            for block in blocks(family, self.panel, Draw(held.series, cuts)):
                found.append(block)
                done += len(block)
                self.metrics.event("evaluating", done=done, total=total)
                self.stop.check()
            windows.append(np.concatenate(found))
        return np.stack(windows)

    def wql(self, family: Family, held: Held) -> float:
        """The weighted quantile loss of a model."""
        return scoring.scores(scoring.errors(held, self.forecasts(family, held)))["wql"]

    def reloaded(self, family: Family, folder: Path, held: Held) -> tuple[Array, Array]:
        """The first forecasts by the model in memory and by the one on disk."""
        part = next(held.parts(0, _RELOADED_SERIES))
        both = []
        for one in (family, family_of(load.load(str(folder), family.device), family.context, family.horizon)):
            torch.manual_seed(0)
            both.append(np.concatenate(list(blocks(one, self.panel, part))))
        return both[0], both[1]


def blocks(family: Family, panel: Panel, draw: Draw) -> Iterator[Floats]:
    """(n, V, h, q) forecasts of windows in their order, half as many at a time whenever the GPU's memory is too small.

    Raises:
        InvalidInput: not even one window fits.
    """
    start, size = 0, min(family.at_once(panel.columns), len(draw.series))
    while start < len(draw.series):
        found = _fitting(family, panel, Draw(draw.series[start : start + size], draw.cuts[start : start + size]))
        if found is not None:
            start += size
            yield found
            continue
        if size == 1:
            raise InvalidInput("context_length", "not even one forecast fits into the GPU's memory", "shorten it")
        size = -(-size // 2)
        release()


def _fitting(family: Family, panel: Panel, part: Draw) -> Floats | None:
    """None when it does not fit. What the failed forecast held is free only when its exception is gone."""
    try:
        return family.forecast(panel, part, QUANTILES)
    except torch.OutOfMemoryError:
        return None


def release() -> None:
    """Give the GPU back what nobody refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
