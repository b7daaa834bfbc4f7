"""A comparison of models in the trainer's process, from top to bottom: load, forecast the windows, compare, report."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import torch

from agent.chronos.batching.held_out import HeldOutWindows
from agent.chronos.batching.load import load_panel
from agent.chronos.batching.split import held_out_for_test, with_observations
from agent.chronos.comparison.checkpoint import BestModel, load, save
from agent.chronos.comparison.report import write_report
from agent.chronos.comparison.verdict import NAIVE, ranking, verdict
from agent.chronos.evaluate import statistical
from agent.chronos.evaluate.evaluate import EvaluatedModels, fitted_baselines, flat_scores
from agent.chronos.evaluate.forecast_table import examples, ids_of, write_forecasts
from agent.chronos.evaluate.metrics import series_mase, table, undefined
from agent.chronos.evaluate.predict import Forecaster, free_memory
from agent.chronos.evaluate.report import without_nan
from agent.chronos.evaluate.seasonal_naive import naive_forecasts
from agent.chronos.evaluate.significance import documents
from agent.chronos.model.load import forecasting_model
from agent.data.covariate_schema import categories_of, with_categories
from agent.data.frequency import frequency_of
from agent.data.panel import Panel
from agent.protocol.metrics_log import BEGAN, CHECKPOINT, Metrics
from agent.protocol.trainer import StopSignal, write_json
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.jobs import EvaluateConfig


def run(workdir: Workdir, config: EvaluateConfig, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Forecast the same windows with every model, and compare them. Writes `eval/` and `forecasts.parquet`.

    After each model it writes a checkpoint, and goes on after the models of one.

    Raises:
        InvalidInput: the data or a model cannot be used.
        StoppedEarly: SIGTERM before the models were compared; those so far count.
    """
    started = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    metrics.event("loading", what="data", device=device)
    data_sha256, panel = load_panel(workdir, config, metrics)
    stop.check()
    named, test = held_out_for_test(panel, config)
    test = with_observations(test, f"its last {config.evaluation.windows * config.prediction_length} points")
    job = _Comparison(workdir, config, metrics, stop, panel, test, data_sha256)
    metrics.event(BEGAN, step=job.step)
    with statistical.fitting(panel, test, config.evaluation) as fits:
        for given in config.models[len(job.models.errors) :]:
            job.add(given, device)
        document = job.compare(fits) | {
            "series": {"judged": len(test.series), "of": len(named)},
            "windows": len(test.cutoffs),
            "findings": [one["problem"] for one in panel.findings],
        }
    write_json(workdir.facts, job.facts | {"data_sha256": data_sha256})
    write_report(workdir.evaluation, document, job.models.errors, ids_of(panel, test.series), config)
    job.write_forecasts()
    best = document["verdict"]["best"] or config.models[0]
    return {
        "stopped_early": False,
        "metrics": flat_scores(job.models.errors, best),
        "comparison": without_nan({name: one for name, one in document.items() if name != "findings"}),
        "examples": job.examples(),
        "seconds": {"evaluation": round(time.monotonic() - started, 3)},
    }


class _Comparison:
    """The models so far, in the order of the configuration, and the forecasts of the best one."""

    def __init__(
        self, workdir: Workdir, config: EvaluateConfig, metrics: Metrics, stop: StopSignal, panel: Panel,
        test: HeldOutWindows, data_sha256: str,
    ) -> None:  # fmt: skip
        self._workdir, self._config, self._metrics, self._stop = workdir, config, metrics, stop
        self._panel, self._test = panel, test
        self._naive = naive_forecasts(panel, test)
        self.models = EvaluatedModels(test)
        self._best: BestModel | None = None
        self.facts: dict[str, Any] = {"series": len(panel), "frequency": frequency_of(panel), "models": {}}
        self._named = hashlib.sha256((config.model_dump_json() + data_sha256).encode()).hexdigest()
        if found := load(workdir.checkpoints, self._named, self.models):
            self.facts["models"], self._best = found

    @property
    def step(self) -> int:
        """The windows of the models so far."""
        windows: int = self._test.cutoffs.size
        return len(self.models.errors) * windows

    def add(self, given: str, device: str) -> None:
        """Load a model, forecast the windows with it, and save its scores, with the forecasts of the best so far."""
        config, number, begun = self._config, len(self.models.errors), self.step
        self._metrics.event("loading", what=f"model {given}")
        folder = self._workdir.reference(given)
        family = forecasting_model(folder, config, device)
        panel = with_categories(
            self._panel, config.data, categories_of(folder), self._workdir.panels / f"recoded-{number}.npy"
        )
        if config.batch_size is not None:
            family.fitting = max(1, config.batch_size // family.sequences(panel.columns))
        windows = self._test.cutoffs.size

        def done(count: int) -> None:
            self._metrics.step(begun + count, len(config.models) * windows)

        forecasts = Forecaster(panel, self._metrics, self._stop, done).forecast(family, self._test)
        self.models.add(given, forecasts)
        self.facts["models"][given] = {
            "family": family.name, "context_length": family.context, "precision": family.precision,
            "attention": family.attention, "device": family.device,
        }  # fmt: skip
        if ranking(table(self.models.errors))[1][0] == given:
            self._best = BestModel(given, family.name, forecasts)
        assert self._best is not None
        save(self._workdir.checkpoints, self.step, self._named, self.models, self.facts["models"], self._best)
        self._metrics.event(CHECKPOINT, step=self.step)
        free_memory()

    def compare(self, fits: statistical.Fits) -> dict[str, Any]:
        """The document: the leaderboard, the differences of the best model from the others, and the verdict."""
        test, models = self._test, self.models
        order = ranking(table(models.errors))[1]
        for name in order:
            models.errors[name], models.by_horizon[name] = models.errors.pop(name), models.by_horizon.pop(name)
        models.add(NAIVE, self._naive)
        best_minus = models.compare(order[0])
        return {
            "models": table(models.errors),
            "verdict": verdict(self._config.models[0], table(models.errors), best_minus),
            "undefined": undefined(test),
            "best_minus": documents(best_minus),
            "by_horizon": models.by_horizon,
            "baselines": fitted_baselines(fits, test, models.errors, self._metrics, self._stop, order[0]),
        }

    def write_forecasts(self) -> None:
        """The best model's forecasts of the windows."""
        assert self._best is not None
        forecasts = self._best.forecasts
        write_forecasts(self._workdir.forecasts, self._panel, self._test, self._config.data, forecasts, self._naive)

    def examples(self) -> list[dict[str, Any]]:
        """Series to plot, with the best model's forecasts."""
        assert self._best is not None
        best, mase = self._best, series_mase(self.models.errors[self._best.given])
        return examples(self._panel, self._test, best.family, best.forecasts, self._naive, mase)
