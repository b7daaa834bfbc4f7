"""`python -m agent.training.evaluate.forecast_plot`: load a trained model from where it lies, and draw its forecast beside what happened."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from agent import plots
from agent.data.ingest import read_panel
from agent.training.batching.sampler import Draw
from agent.training.evaluate import metrics as scoring
from agent.training.evaluate.forecast_table import examples
from agent.training.evaluate.predict import blocks
from agent.training.model.families import family_of
from agent.training.model.load import load
from chronos_ec2.domain.errors import UserError
from chronos_ec2.training_config.schema import Data


def main(arguments: list[str] | None = None) -> int:
    """Forecast the last points of each series, draw some, print what was found as JSON."""
    options = _options(arguments)
    try:
        found = forecast(options)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


def forecast(options: argparse.Namespace) -> dict[str, Any]:
    """Load, forecast, judge, draw. Raises InvalidInput for data that cannot be used."""
    horizon, season = options.prediction_length, options.season_length
    columns = {"item_id": options.item_id, "timestamp": options.timestamp, "target": options.target}
    data = Data.model_validate({"path": "local", **columns})
    with tempfile.TemporaryDirectory() as folder:
        panel = read_panel([options.data], data, horizon + 1, Path(folder) / "panel")
        held = scoring.hold_out(panel, horizon, 1, season)
        pipeline = load(options.model, "cpu")
        family = family_of(pipeline, pipeline.model_context_length, horizon)
        ours = np.concatenate(list(blocks(family, panel, Draw(held.series, held.cuts[0]))))[None]
        naive = scoring.naive_forecasts(panel, held)
        found, theirs = scoring.errors(held, ours), scoring.errors(held, naive)
        shown = examples(panel, held, family.name, ours, naive, scoring.series_mase(found))
        plots.draw_forecasts(shown, options.output, season)
        return {
            "model": options.model,
            "pipeline": type(pipeline).__name__,
            "series": len(panel),
            "prediction_length": horizon,
            **scoring.scores(found),
            **{f"{name}_seasonal_naive": value for name, value in scoring.scores(theirs).items()},
            "output": str(options.output),
        }


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent.training.evaluate.forecast_plot", description=__doc__)
    parser.add_argument("--model", required=True, help="s3:// URI, local folder or hub id")
    parser.add_argument("--data", type=Path, required=True, help="long-format Parquet file")
    parser.add_argument("--prediction-length", type=int, required=True)
    parser.add_argument("--season-length", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="the picture, PNG")
    parser.add_argument("--item-id", default="item_id")
    parser.add_argument("--timestamp", default="timestamp")
    parser.add_argument("--target", default="target")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
