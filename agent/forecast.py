"""`python -m agent.forecast`: load a trained model from where it lies, and draw its forecast beside what happened."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos import BaseChronosPipeline

from agent import report
from agent.evaluate import QUANTILES, score, seasonal_naive, series_mase
from agent.forecasts import examples
from agent.series import load_series
from chronos_ec2.domain.errors import UserError
from chronos_ec2.training_config import Data


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
    data = Data(path="local", item_id=options.item_id, timestamp=options.timestamp, target=options.target)
    series = load_series([options.data], data, min_length=horizon + 1)
    histories = [values[:-horizon] for values in series.values]
    truth = np.stack([values[-horizon:] for values in series.values])
    # Without force the library trusts any file that an earlier, perhaps killed, download left in its cache.
    pipeline = BaseChronosPipeline.from_pretrained(options.model, device_map="cpu", force_s3_download=True)
    inputs = [torch.from_numpy(history.copy()) for history in histories]
    predicted, _ = pipeline.predict_quantiles(inputs, prediction_length=horizon, quantile_levels=list(QUANTILES))
    quantiles = (torch.cat(list(predicted)) if isinstance(predicted, list) else predicted).numpy()
    naive = np.stack([seasonal_naive(history, horizon, season) for history in histories])
    errors = series_mase(truth, quantiles[..., QUANTILES.index(0.5)], histories, season)
    report.draw_forecasts(examples(series, quantiles, naive, errors), options.output, season)
    ours, theirs = score(truth, quantiles, histories, season), score(truth, naive, histories, season)
    return {
        "model": options.model,
        "pipeline": type(pipeline).__name__,
        "series": len(series),
        "prediction_length": horizon,
        **asdict(ours),
        **{f"{name}_seasonal_naive": value for name, value in asdict(theirs).items()},
        "output": str(options.output),
    }


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent.forecast", description=__doc__)
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
