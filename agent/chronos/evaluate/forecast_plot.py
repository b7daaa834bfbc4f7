"""Load a model, forecast the last points of each series, and plot some of them.

Run as `python -m agent.chronos.evaluate.forecast_plot`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from agent import plots
from agent.chronos.batching.held_out import hold_out
from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.evaluate.forecast_table import examples
from agent.chronos.evaluate.metrics import errors, scores, series_mase
from agent.chronos.evaluate.predict import forecast_batches
from agent.chronos.evaluate.seasonal_naive import naive_forecasts
from agent.chronos.model.families import family_of
from agent.chronos.model.load import load_pipeline
from agent.data.ingest.read import read_panel
from chronos_ec2.domain.errors import UserError
from chronos_ec2.job_config.data import Data


def main(arguments: list[str] | None = None) -> int:
    """Print the scores as JSON."""
    options = _options(arguments)
    try:
        found = forecast(options)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


def forecast(options: argparse.Namespace) -> dict[str, Any]:
    """Load, forecast, score and plot. Raises InvalidInput for unusable data."""
    horizon, season = options.prediction_length, options.season_length
    columns = {"item_id": options.item_id, "timestamp": options.timestamp, "target": options.target}
    data = Data.model_validate({"path": "local", **columns})
    with tempfile.TemporaryDirectory() as folder:
        panel = read_panel([options.data], data, horizon + 1, Path(folder) / "panel")
        test = hold_out(panel, horizon, 1, season)
        pipeline = load_pipeline(options.model, "cpu")
        family = family_of(pipeline, pipeline.model_context_length, horizon)
        batch = WindowBatch(test.series, test.cutoffs[0])
        forecasts = np.concatenate(list(forecast_batches(family, panel, batch)))[None]
        naive = naive_forecasts(panel, test)
        found, naive_errors = errors(test, forecasts), errors(test, naive)
        shown = examples(panel, test, family.name, forecasts, naive, series_mase(found))
        plots.draw_forecasts(shown, options.output, season)
        return {
            "model": options.model,
            "pipeline": type(pipeline).__name__,
            "series": len(panel),
            "prediction_length": horizon,
            **scores(found),
            **{f"{name}_seasonal_naive": value for name, value in scores(naive_errors).items()},
            "output": str(options.output),
        }


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent.chronos.evaluate.forecast_plot", description=__doc__)
    parser.add_argument("--model", required=True, help="s3:// URI, local folder or hub id")
    parser.add_argument("--data", type=Path, required=True, help="long-format Parquet file")
    parser.add_argument("--prediction-length", type=int, required=True)
    parser.add_argument("--season-length", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--item-id", default="item_id")
    parser.add_argument("--timestamp", default="timestamp")
    parser.add_argument("--target", default="target")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
