"""How much time to reserve for the evaluation, measured by a dry run before training.

The dry run loads each reference model once, so one that cannot be used ends the run before training is paid for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from agent.chronos.batching.held_out import HeldOutWindows
from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.batching.split import Split
from agent.chronos.evaluate.metrics import by_horizon, errors
from agent.chronos.evaluate.predict import forecast_batches, free_memory
from agent.chronos.evaluate.reference_models import ReferenceModel
from agent.chronos.model.families import Family
from agent.data.panel import Panel

UPLOAD_SECONDS = 60.0
_SAFETY_FACTOR = 1.5


def evaluation_seconds(
    family: Family,
    references: Sequence[ReferenceModel],
    split: Split,
    processes: int = 1,
    monotonic: Callable[[], float] = time.monotonic,
) -> float:
    """Seconds to reserve for loading, forecasting with and comparing every model, and for uploading the results.

    `processes` share the forecasts.

    Raises:
        InvalidInput: a reference model cannot be loaded, or its horizon is shorter.
    """
    test, panel = split.test, split.training.panel
    windows = test.cutoffs.size
    if split.selection is not None:
        windows += split.selection.cutoffs.size
    seconds = _forecast_seconds(family, panel, test, windows, processes, monotonic)
    load_seconds = [0.0]
    for reference in references:
        began = monotonic()
        model = reference.load(family, cached=reference.name == "base")
        load_seconds.append(monotonic() - began)
        seconds += _forecast_seconds(model, panel, test, windows, processes, monotonic)
        del model
        free_memory()
    # The trained model is loaded once too, to check that it was saved correctly.
    seconds += sum(load_seconds) + max(load_seconds)
    return _SAFETY_FACTOR * seconds + UPLOAD_SECONDS


def _forecast_seconds(
    family: Family, panel: Panel, test: HeldOutWindows, windows: int, processes: int, monotonic: Callable[[], float]
) -> float:
    """Seconds for forecasts of so many windows and their errors, extrapolated from one batch."""
    size = min(family.forecast_windows(panel.columns), len(test.series))
    sample = test.select(np.arange(size)).window(0)
    batch = WindowBatch(sample.series, sample.cutoffs[0])
    # Warm-up: the first forecast is slower.
    next(forecast_batches(family, panel, WindowBatch(batch.series[:1], batch.cutoffs[:1])))
    began = monotonic()
    forecasts = np.concatenate(list(forecast_batches(family, panel, batch)))[None]
    forecast = monotonic()
    errors(sample, forecasts)
    by_horizon(sample, forecasts)
    batches = -(-windows // size)
    return (forecast - began) * -(-batches // processes) + (monotonic() - forecast) * batches
