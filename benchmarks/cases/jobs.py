"""Forecast and evaluate the data of a case with a tiny model, as the instance does, and say what came of it."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.chronos.comparison import job as comparison
from agent.chronos.forecast import job as forecast
from agent.chronos.model.families import family_of
from agent.chronos.model.from_scratch import new_pipeline
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from benchmarks.cases.right import RIGHT
from benchmarks.cases.runner import DATA
from chronos_ec2.domain.errors import UserError
from chronos_ec2.job_config.jobs import EvaluateConfig, ForecastConfig
from chronos_ec2.job_config.parse import load_document
from chronos_ec2.job_config.schema import FromScratch

_MODEL = "amazon/chronos-2"
_TINY = FromScratch(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, patch=4)
_FORECAST_TOO = {"01-constant/train"}
"""What training refuses and a forecast does not."""


def problems_of_forecast(name: str, folder: Path) -> list[str]:
    """How a forecast of CASE/CONFIG in an empty folder differs from the right outcome."""
    workdir, document = _prepare(name, folder)
    del document["season_length"]
    refused = "" if name in _FORECAST_TOO else RIGHT[name].refused
    try:
        config = ForecastConfig.model_validate({"job": "forecast", "model": _MODEL, **document})
        with closing(Metrics(workdir.metrics)) as metrics:
            found = forecast.run(workdir, config, metrics, StopSignal())["forecast"]
    except UserError as error:
        return _refusal(str(error), refused)
    table = pa.concat_tables(map(pq.read_table, sorted(workdir.forecast_parts.glob("part-*.parquet"))))
    checks = {
        "not refused": bool(refused),
        "not a row for each point and target": len(table) != found["items"] * config.prediction_length
        * len(config.data.target),
        "not finite": not np.isfinite(table["predictions"].to_numpy()).all(),
        "quantiles cross": found["quantiles_cross"] > 0,
        "another name": table.column_names[: len(config.data.item_id) + 1]
        != [*config.data.item_id, config.data.timestamp],
    }  # fmt: skip
    return [text for text, wrong in checks.items() if wrong]


def problems_of_evaluation(name: str, folder: Path) -> list[str]:
    """How an evaluation of CASE/CONFIG in an empty folder differs from the right outcome."""
    workdir, document = _prepare(name, folder)
    evaluation = {"season_length": document.pop("season_length"), "baselines": []}
    try:
        config = EvaluateConfig.model_validate(
            {"job": "evaluate", "models": [_MODEL], "evaluation": evaluation, **document}
        )
        with closing(Metrics(workdir.metrics)) as metrics:
            found = comparison.run(workdir, config, metrics, StopSignal())["comparison"]
    except UserError as error:
        return _refusal(str(error), RIGHT[name].refused)
    text = (workdir.evaluation / "report.md").read_text()
    checks = {
        "not refused": bool(RIGHT[name].refused),
        "nan in the report": "nan" in re.findall(r"\bnan\b", text.lower()),
        "no verdict": not found["verdict"]["sentence"],
    }
    return [text for text, wrong in checks.items() if wrong]


def _prepare(name: str, folder: Path) -> tuple[Workdir, dict[str, Any]]:
    """A workdir with the data and the model, and the keys that all jobs share."""
    case, _, config = name.partition("/")
    workdir = Workdir(folder)
    workdir.create()
    shutil.copytree(DATA / case / "data", workdir.data, dirs_exist_ok=True)
    document = load_document(DATA / case / f"{config}.yaml")
    shared = {key: document[key] for key in ("data", "prediction_length", "context_length") if key in document}
    shared["season_length"] = document.get("evaluation", {}).get("season_length", 1)
    context, horizon = shared.get("context_length", 64), shared["prediction_length"]
    family_of(new_pipeline(_TINY, context, horizon), context, horizon).save(workdir.reference(_MODEL))
    return workdir, shared


def _refusal(message: str, expected: str) -> list[str]:
    if not expected:
        return [f"refused: {message}"]
    return [] if re.search(expected, message) else [f"refused, but: {message}"]
