"""The report of a comparison: report.json, report.md and series.parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from agent.chronos.evaluate.metrics import Errors
from agent.chronos.evaluate.report import (
    baselines,
    differences,
    escaped,
    horizon_table,
    how_to_forecast,
    judged_series,
    score_table,
    shown_name,
    undefined_scores,
    write_documents,
    write_series,
)
from chronos_ec2.job_config.jobs import EvaluateConfig


def write_report(
    folder: Path,
    document: dict[str, Any],
    models: Mapping[str, Errors],
    ids: Mapping[str, pa.Array],
    config: EvaluateConfig,
) -> None:
    """The leaderboard with paired intervals, the tables by forecast step and by series, and how to go on."""
    found = document["verdict"]
    ours = shown_name(found["best"] or config.models[0])
    lines = [
        "# Comparison",
        "",
        f"**{escaped(found['sentence'])}.**",
        *judged_series(document["series"], document["windows"]),
        *(f"Data: {escaped(problem)}." for problem in document["findings"]),
        "",
        *score_table(document["models"]),
        "",
        *undefined_scores(document["undefined"]),
        *differences(document["best_minus"], ours),
        "",
        *baselines(document["baselines"], ours),
        *horizon_table(document["by_horizon"]),
        "",
        how_to_forecast(found["best"] or config.models[0], config.data, config.prediction_length),
    ]
    write_documents(folder, document, "\n".join(lines) + "\n")
    write_series(folder, models, ids)
