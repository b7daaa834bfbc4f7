"""How often the verdict is `improved` for models that are exchangeable, and how long the GPU waits for baselines."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from agent.chronos.batching.held_out import QUANTILES, HeldOutWindows, hold_out
from agent.chronos.batching.load import load_panel
from agent.chronos.evaluate.metrics import errors
from agent.chronos.evaluate.significance import compare, verdict
from agent.chronos.evaluate.statistical import FitTask, fit_series
from agent.chronos.training.run import run
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from benchmarks.training.accuracy.m3 import example, prepare
from benchmarks.training.workload import Section

_SERIES, _TRIALS = (2, 4, 8, 30, 100), 20_000
_BASELINE_SERIES = 300
_STEPS = 1_500


def false_improved() -> Section:
    """The share of trials in which one of two exchangeable models is called improved, by number of series."""
    found = {}
    for count in _SERIES:
        random = np.random.default_rng(count)
        wrong = sum(_trial(random, count) for _ in range(_TRIALS))
        found[str(count)] = {"trials": _TRIALS, "share": wrong / _TRIALS}
    rows = [f"| {count} | {100 * one['share']:.2f} |" for count, one in found.items()]
    error = 100 * (0.025 * 0.975 / _TRIALS) ** 0.5
    text = (
        "Two models with errors of the same distribution, on series of very different sizes, with heavy tails. At "
        "most 2.5 % may be called improved; fewer than six series never are. With more the test is exact, so that a "
        f"share of {_TRIALS:,} trials differs from 2.5 % by chance alone: its standard error is {error:.2f} %.\n\n"
        "| series | improved, % |\n|---:|---:|\n" + "\n".join(rows)
    )
    return Section("Improved by chance", {"false_improved": found}, text)


def _trial(random: np.random.Generator, count: int) -> bool:
    sizes = random.lognormal(0, 1, count)
    truth = random.normal(10, 1, (1, count, 1, 1)) * sizes[None, :, None, None]
    noise = random.standard_t(3, (2, *truth.shape, 1)) * sizes[None, None, :, None, None, None]
    ours, theirs = (np.repeat(truth[..., None] + one, len(QUANTILES), axis=-1) for one in noise)
    cells = np.zeros((1, count), dtype=np.int64)
    test = HeldOutWindows(np.arange(count), cells, truth.astype(np.float32), np.ones((1, count, 1)), cells, 1)
    found = verdict({"base": compare(errors(test, ours), errors(test, theirs), test.origins)}, 1)
    return bool(found["verdict"] == "improved")


def baselines() -> Section:
    """Seconds that a run waits for its baselines after the evaluation, and how long their fits take one by one."""
    config = example()
    training = config.training.model_copy(update={"steps": _STEPS})
    evaluation = config.evaluation.model_copy(update={"baseline_series": _BASELINE_SERIES})
    config = config.model_copy(update={"training": training, "evaluation": evaluation})
    with tempfile.TemporaryDirectory() as name:
        workdir = Workdir(Path(name) / "run")
        workdir.create()
        prepare(workdir.data)
        metrics = Metrics(workdir.metrics)
        result = run(workdir, config, metrics, StopSignal())
        _, panel = load_panel(workdir, config, metrics)
        metrics.close()
        test = hold_out(panel, config.prediction_length, evaluation.windows, evaluation.season_length)
        sample = np.random.default_rng(0).permutation(len(test.series))[:_BASELINE_SERIES]
        names = [str(one) for one in evaluation.baselines]
        began = time.monotonic()
        for position in sample.tolist():
            row = panel.series(position, int(test.cutoffs[0, position]))[0]
            fit_series(FitTask(names, [[row]], config.prediction_length, test.season))
        before = time.monotonic() - began
    found = result["evaluation"]["baselines"]
    figures = {"before": round(before, 1), "after": found["seconds_after_evaluation"], "series": found["tried"]}
    text = (
        f"AutoETS and AutoTheta on {found['tried']} series of M3 take {before:.1f} s one by one, for which a GPU would "
        f"wait after the evaluation. Beside {result['seconds']['training']:.0f} s of training, on two cores, the run "
        f"waits for them {figures['after']:.1f} s."
    )
    return Section("Waiting for baselines", {"gpu_idle_after_training_seconds": figures}, text)
