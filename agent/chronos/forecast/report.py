"""The report of a forecast: report.json and report.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.chronos.evaluate.report import code, escaped, how_to_forecast
from chronos_ec2.job_config.jobs import ForecastConfig


def write_report(folder: Path, found: Mapping[str, Any], config: ForecastConfig) -> None:
    """What was forecast, by which model, and what was accepted about the data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    cross = "Cross-learning is on: a series' forecast depends on the others of its batch."
    lines = [
        "# Forecast",
        "",
        _extent(found),
        f"Model: {code(config.model)} ({found['family']}), context length {found['context_length']}, "
        f"{found['precision']}.",
        *([cross] if found["cross_learning"] else []),
        *(f"Data: {escaped(problem)}." for problem in found["findings"]),
        *_without_numbers(found),
        "",
        how_to_forecast(config.model, config.data, config.prediction_length),
    ]
    (folder / "report.md").write_text("\n".join(lines) + "\n")


def _without_numbers(found: Mapping[str, Any]) -> list[str]:
    if not (rows := found["rows_without_numbers"]):
        return []
    return [f"{rows} rows have no numbers: their targets have no observation in the model's context."]


def _extent(found: Mapping[str, Any]) -> str:
    if not found["parts"]:
        return "No series falls to this shard."
    parts = "part" if found["parts"] == 1 else "parts"
    times = f"from {found['first_timestamp']} to {found['last_timestamp']}"
    return f"{found['items']} series, {found['rows']} rows in {found['parts']} {parts}, {times}."
