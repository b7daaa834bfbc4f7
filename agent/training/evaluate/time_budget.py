"""How much time to reserve for the evaluation, measured by a dry run before training.

The dry run loads each reference model once, so one that cannot be used ends the run before training is paid for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np

from agent.data.panel import Panel
from agent.protocol.trainer import StopSignal
from agent.training.batching.held_out import HeldOutWindows
from agent.training.batching.sampler import WindowBatch
from agent.training.batching.split import Split
from agent.training.evaluate import statistical
from agent.training.evaluate.metrics import Errors, by_horizon, errors
from agent.training.evaluate.predict import forecast_batches, free_memory
from agent.training.evaluate.reference_models import ReferenceModel
from agent.training.evaluate.seasonal_naive import naive_forecasts
from agent.training.evaluate.significance import RESAMPLES, compare
from agent.training.model.families import Family
from chronos_ec2.training_config.schema import Evaluation

UPLOAD_SECONDS = 60.0
_SAFETY_FACTOR = 1.5
_NAIVE_SERIES = 64
_RESAMPLES = 5


def evaluation_seconds(
    family: Family,
    references: Sequence[ReferenceModel],
    split: Split,
    settings: Evaluation,
    stop: StopSignal,
    monotonic: Callable[[], float] = time.monotonic,
) -> float:
    """Seconds to reserve for loading, forecasting with and comparing every model, and for uploading the results.

    Raises:
        InvalidInput: a reference model cannot be loaded, or its horizon is shorter.
    """
    test, panel = split.test, split.training.panel
    windows = test.cutoffs.size
    if split.validation is not None and references and settings.export == "better":
        windows += split.validation.cutoffs.size
    seconds, sample = _forecast_seconds(family, panel, test, windows, monotonic)
    load_seconds = [0.0]
    for reference in references:
        began = monotonic()
        model = reference.load(family, cached=reference.name == "base")
        load_seconds.append(monotonic() - began)
        seconds += _forecast_seconds(model, panel, test, windows, monotonic)[0]
        del model
        free_memory()
    # The trained model is loaded once too, to check that it was saved correctly.
    seconds += sum(load_seconds) + max(load_seconds)
    comparisons = 1 + len(references)
    seconds += _naive_seconds(panel, test, monotonic) + comparisons * _compare_seconds(sample, test, monotonic)
    fits = statistical.estimate_seconds(panel, test, settings, stop.ends_at - time.monotonic())
    return _SAFETY_FACTOR * (seconds + fits) + UPLOAD_SECONDS


def _forecast_seconds(
    family: Family, panel: Panel, test: HeldOutWindows, windows: int, monotonic: Callable[[], float]
) -> tuple[float, Errors]:
    """Seconds for forecasts of so many windows and their errors, extrapolated from one batch; and its errors."""
    size = min(family.forecast_windows(panel.columns), len(test.series))
    sample = replace(test.select(np.arange(size)), cutoffs=test.cutoffs[:1, :size], truth=test.truth[:1, :size])
    batch = WindowBatch(sample.series, sample.cutoffs[0])
    # Warm-up: the first forecast is slower.
    next(forecast_batches(family, panel, WindowBatch(batch.series[:1], batch.cutoffs[:1])))
    began = monotonic()
    forecasts = np.concatenate(list(forecast_batches(family, panel, batch)))[None]
    found = errors(sample, forecasts)
    by_horizon(sample, forecasts)
    return (monotonic() - began) * -(-windows // size), found


def _naive_seconds(panel: Panel, test: HeldOutWindows, monotonic: Callable[[], float]) -> float:
    sample = test.select(np.arange(min(_NAIVE_SERIES, len(test.series))))
    began = monotonic()
    naive_forecasts(panel, sample)
    return (monotonic() - began) * len(test.series) / len(sample.series)


def _compare_seconds(sample: Errors, test: HeldOutWindows, monotonic: Callable[[], float]) -> float:
    repeated = Errors(*(np.resize(getattr(sample, one.name), len(test.series)) for one in fields(Errors)))
    began = monotonic()
    compare(repeated, repeated, resamples=_RESAMPLES)
    return (monotonic() - began) * RESAMPLES / _RESAMPLES
