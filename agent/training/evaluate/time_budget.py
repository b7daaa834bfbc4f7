"""How long the judgement after the training will take, by a rehearsal before it, in which every rival is met once.

What is wrong with a rival ends the run here, before the training is paid for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from agent.data.panel import Panel
from agent.protocol.trainer import StopSignal
from agent.training.batching.sampler import Draw
from agent.training.batching.split import Split
from agent.training.evaluate import metrics as scoring
from agent.training.evaluate import statistical
from agent.training.evaluate.metrics import Errors, Held
from agent.training.evaluate.predict import blocks, release
from agent.training.evaluate.reference_models import reference_models
from agent.training.model.families import Family
from chronos_ec2.training_config.schema import TrainingConfig

UPLOAD_SECONDS = 60.0
_CAUTION = 1.5
_NAIVE_SERIES = 64
_RESAMPLES = 5


def evaluation_seconds(
    family: Family,
    split: Split,
    config: TrainingConfig,
    stop: StopSignal,
    monotonic: Callable[[], float] = time.monotonic,
) -> float:
    """Seconds to keep for loading, forecasting and comparing every model, and for bringing the results to S3.

    Raises:
        InvalidInput: a rival cannot be loaded, or cannot forecast so far ahead.
    """
    test, panel, references = split.test, split.windows.panel, reference_models(config)
    windows = test.cuts.size
    if split.validation is not None and references and config.evaluation.export == "better":
        windows += split.validation.cuts.size
    seconds, errors = _forecasting(family, panel, test, windows, monotonic)
    loads = [0.0]
    for reference in references:
        began = monotonic()
        one = reference.load(family.device, family.horizon, fetched=reference.name == "base")
        loads.append(monotonic() - began)
        seconds += _forecasting(one, panel, test, windows, monotonic)[0]
        del one
        release()
    # The trained model too is loaded once, to see whether it is the same.
    seconds += sum(loads) + max(loads)
    seconds += _naive(panel, test, monotonic) + _comparing(errors, len(test.series), monotonic) * (1 + len(references))
    fits = statistical.seconds_to_keep(panel, test, config.evaluation, stop.ends_at - time.monotonic())
    return _CAUTION * (seconds + fits) + UPLOAD_SECONDS


def _forecasting(
    family: Family, panel: Panel, test: Held, windows: int, monotonic: Callable[[], float]
) -> tuple[float, Errors]:
    """Seconds for forecasts and their errors, by those of one batch; and its errors."""
    size = min(family.at_once(panel.columns), len(test.series))
    part = replace(test.of(np.arange(size)), cuts=test.cuts[:1, :size], truth=test.truth[:1, :size])
    draw = Draw(part.series, part.cuts[0])
    # The first call prepares what later ones find.
    next(blocks(family, panel, Draw(draw.series[:1], draw.cuts[:1])))
    began = monotonic()
    found = np.concatenate(list(blocks(family, panel, draw)))[None]
    errors = scoring.errors(part, found)
    scoring.by_horizon(part, found)
    return (monotonic() - began) * -(-windows // size), errors


def _naive(panel: Panel, test: Held, monotonic: Callable[[], float]) -> float:
    few = test.of(np.arange(min(_NAIVE_SERIES, len(test.series))))
    began = monotonic()
    scoring.naive_forecasts(panel, few)
    return (monotonic() - began) * len(test.series) / len(few.series)


def _comparing(errors: Errors, series: int, monotonic: Callable[[], float]) -> float:
    """Seconds to resample so many series as often as a comparison does."""
    many = Errors(*(np.resize(getattr(errors, one.name), series) for one in fields(Errors)))
    began = monotonic()
    scoring.compare(many, many, resamples=_RESAMPLES)
    return (monotonic() - began) * scoring.RESAMPLES / _RESAMPLES
