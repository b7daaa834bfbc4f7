"""A comparison of models in the trainer's process, from top to bottom: load, forecast the windows, compare, report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from agent.chronos.batching.held_out import HeldOutWindows
from agent.chronos.batching.load import load_panel
from agent.chronos.batching.split import held_out_for_test, with_observations
from agent.chronos.comparison.report import write_report
from agent.chronos.comparison.verdict import NAIVE, ranking, verdict
from agent.chronos.evaluate import statistical
from agent.chronos.evaluate.evaluate import EvaluatedModels, flat_scores, fitted_baselines
from agent.chronos.evaluate.forecast_table import examples, ids_of, write_forecasts
from agent.chronos.evaluate.metrics import scores, series_mase, table, undefined
from agent.chronos.evaluate.predict import Forecaster, free_memory
from agent.chronos.evaluate.report import without_nan
from agent.chronos.evaluate.seasonal_naive import naive_forecasts
from agent.chronos.evaluate.significance import documents
from agent.chronos.model.family import Family
from agent.chronos.model.load import forecasting_model
from agent.data.covariate_schema import categories_of, with_categories
from agent.data.frequency import frequency_of
from agent.data.panel import Floats, Panel
from agent.protocol.metrics_log import BEGAN, Metrics
from agent.protocol.trainer import StopSignal, write_json
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.jobs import EvaluateConfig


def run(workdir: Workdir, config: EvaluateConfig, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Forecast the same windows with every model, and compare them. Writes `eval/` and `forecasts.parquet`.

    Raises:
        InvalidInput: the data or a model cannot be used.
        StoppedEarly: SIGTERM before the models were compared.
    """
    started = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    metrics.event("loading", what="data", device=device)
    data_sha256, panel = load_panel(workdir, config, metrics)
    stop.check()
    named, test = held_out_for_test(panel, config)
    test = with_observations(test, f"its last {config.evaluation.windows * config.prediction_length} points")
    metrics.event(BEGAN, step=0)
    with statistical.fitting(panel, test, config.evaluation) as fits:
        job = _Comparison(workdir, config, metrics, stop, panel, test)
        for given in config.models:
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
        "examples": job.examples(best),
        "seconds": {"evaluation": round(time.monotonic() - started, 3)},
    }
