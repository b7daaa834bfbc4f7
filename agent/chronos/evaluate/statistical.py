"""Statistical baselines, AutoETS and AutoTheta of statsforecast, on a sample of the series.

They are fitted in processes of low priority while the model trains: what they are fitted to is known beforehand, and a
GPU that waits for them is paid for.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows
from agent.chronos.batching.histories import Array
from agent.chronos.evaluate.metrics import Errors, errors, table, undefined
from agent.chronos.evaluate.significance import compare, documents
from agent.data.panel import Floats, Indices, Panel
from agent.protocol.trainer import die_with_parent
from chronos_ec2.job_config.schema import Evaluation

MAX_SECONDS = 300.0
"""They may go on after the evaluation until this long after they began."""
_MAX_PROCESSES = 8
_MAX_POINTS = 2_000
_MIN_SEASONS = 2
_MAX_SEASON = {"auto_ets": 60}
"""AutoETS's time grows steeply with the season: 11 s for 500 points with a season of 336, minutes for more."""
_BANDS = {level: round(100 * abs(1 - 2 * level)) for level in QUANTILES}
_POLL_SECONDS = 0.5
_LOWEST_PRIORITY = 19

FittedSeries = Mapping[str, Floats | None]
"""For each baseline: forecasts (k, V, h, q), None if one of the series' histories could not be fitted."""


@dataclass(frozen=True, slots=True)
class FitTask:
    """The histories of a series before each of its k windows (k x V), and what to fit to them."""

    names: Sequence[str]
    histories: Sequence[Sequence[Array]]
    horizon: int
    season: int


@dataclass(frozen=True, slots=True)
class Fits:
    """The fits of a run: the positions in `sample` in order, and when they began, in `time.monotonic()` seconds.

    `wait(seconds)` returns the next one. It raises TimeoutError if that is not ready by then.
    """

    sample: Indices
    wait: Callable[[float], FittedSeries]
    began: float

    def collect(self, until: float, may_continue: Callable[[int, int], bool]) -> list[FittedSeries]:
        """The fits that are done by `until`, as far as they are without a gap.

        `may_continue(done, total)` is called before each and every half second; once it is False, only those that are
        done count.
        """
        found: list[FittedSeries] = []
        while len(found) < len(self.sample):
            left = until - time.monotonic() if may_continue(len(found), len(self.sample)) else 0.0
            try:
                found.append(self.wait(max(0.0, min(left, _POLL_SECONDS))))
            except TimeoutError:
                if left <= 0:
                    break
        return found


@contextmanager
def fitting(panel: Panel, held_out: HeldOutWindows, settings: Evaluation) -> Iterator[Fits]:
    """Fit the baselines to a random sample of the series, which has a fixed seed, until the context ends."""
    sample = np.random.default_rng(0).permutation(len(held_out.series))[: settings.baseline_series]
    if not settings.baselines:
        sample = sample[:0]
    names = [str(name) for name in settings.baselines]
    processes = min(max(1, len(os.sched_getaffinity(0)) // 2), _MAX_PROCESSES, max(1, len(sample)))
    if not len(sample):
        yield Fits(sample, _nothing, time.monotonic())
        return
    # Not forked: the parent has threads, and perhaps a GPU.
    with multiprocessing.get_context("spawn").Pool(processes, _prepare_process, (os.getpid(),)) as pool:
        fitted = pool.imap(fit_series, _tasks(panel, held_out, sample, names))

        def wait(seconds: float) -> FittedSeries:
            try:
                return fitted.next(seconds)
            except multiprocessing.TimeoutError as error:
                raise TimeoutError from error

        yield Fits(sample, wait, time.monotonic())


def _nothing(_seconds: float) -> FittedSeries:
    raise TimeoutError


def _prepare_process(parent: int) -> None:
    die_with_parent(parent)
    os.nice(_LOWEST_PRIORITY)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _tasks(panel: Panel, held_out: HeldOutWindows, sample: Indices, names: Sequence[str]) -> Iterator[FitTask]:
    targets, horizon = held_out.truth.shape[2:]
    for position in sample.tolist():
        index = int(held_out.series[position])
        rows = [
            [row.copy() for row in panel.series(index, cutoff, _MAX_POINTS)[:targets]]
            for cutoff in held_out.cutoffs[:, position].tolist()
        ]
        yield FitTask(names, rows, horizon, held_out.season)


def fit_series(task: FitTask) -> FittedSeries:
    """Fit each baseline to the histories of a series."""
    found: dict[str, Floats | None] = {}
    for name in task.names:
        blocks = []
        for rows in task.histories:
            forecasts = [_fit_forecast(name, row, task.horizon, task.season) for row in rows]
            blocks.append(forecasts)
        whole = all(one is not None for forecasts in blocks for one in forecasts)
        found[name] = np.array(blocks, dtype=np.float32) if whole else None
    return found


def compare_baselines(
    fits: Fits,
    done: Sequence[FittedSeries],
    held_out: HeldOutWindows,
    models: Mapping[str, Errors],
    ours: str = "trained",
) -> dict[str, Any]:
    """Scores of the baselines and of `models` on the series to which each of the baselines could be fitted.

    A baseline that could not be fitted to any series is none. `not_fitted` counts the series of each.
    """
    names = list(done[0]) if done else []
    fitted = {name: np.array([one[name] is not None for one in done]) for name in names}
    usable = [name for name in names if fitted[name].any()]
    every = np.flatnonzero(np.logical_and.reduce([fitted[name] for name in usable])) if usable else np.arange(0)
    sample = fits.sample[every]
    truth = held_out.select(sample)
    baselines = {
        name: errors(truth, np.stack([np.asarray(done[one][name]) for one in every.tolist()], axis=1))
        for name in usable
        if len(every)
    }
    sampled = {name: found.select(sample) for name, found in models.items()} if baselines else {}
    comparisons = {name: compare(sampled[ours], one, truth.origins) for name, one in baselines.items()}
    return {
        "series": len(every),
        "tried": len(done),
        "of": len(held_out.series),
        "seconds": round(time.monotonic() - fits.began, 1),
        "models": table(sampled | baselines),
        "undefined": undefined(truth) if baselines else {},
        "trained_minus" if ours == "trained" else "best_minus": documents(comparisons),
        "not_fitted": {name: int((~fitted[name]).sum()) for name in names},
    }


def _fit_forecast(name: str, history: Array, horizon: int, season: int) -> Array | None:
    """(h, q); None for a history that is constant or has under two seasons, and for a season too long to fit."""
    if season > _MAX_SEASON.get(name, season):
        return None
    past = _interpolated(history)
    if len(past) < max(_MIN_SEASONS * season, 1) or past.min() == past.max():
        return None
    from statsforecast.models import AutoETS, AutoTheta  # noqa: PLC0415 - takes a second, also without baselines

    models: dict[str, Any] = {"auto_ets": AutoETS, "auto_theta": AutoTheta}
    try:
        with np.errstate(all="ignore"):
            found = models[name](season_length=season).forecast(past, horizon, level=sorted({*_BANDS.values()} - {0}))
    except Exception:  # noqa: BLE001 - statsforecast raises bare Exceptions for series that it cannot fit
        return None
    # The point forecast counts as the median; the other quantiles are edges of prediction intervals.
    edges = [
        found["mean"] if band == 0 else found[f"{'lo' if level < 0.5 else 'hi'}-{band}"]
        for level, band in _BANDS.items()
    ]
    quantiles: Array = np.stack(edges, axis=1)
    return quantiles if np.isfinite(quantiles).all() else None


def _interpolated(history: Array) -> Array:
    """From the first observation on, with straight lines over what is missing."""
    observed = np.flatnonzero(np.isfinite(history))
    if len(observed) == 0:
        return np.empty(0)
    points = np.arange(observed[0], len(history))
    return np.interp(points, observed, history[observed].astype(np.float64))
