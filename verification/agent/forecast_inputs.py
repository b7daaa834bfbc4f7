"""A tiny model, and daily series for it to forecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.chronos.model.families import family_of
from agent.chronos.model.from_scratch import new_pipeline
from chronos_ec2.job_config.schema import FromScratch

_LENGTH, _HORIZON, _CONTEXT = 40, 6, 24
SETTINGS = {"job": "forecast", "prediction_length": _HORIZON, "context_length": _CONTEXT}


def write_inputs(model: Path, data: Path, series: int) -> None:
    """Write a Chronos-2 that forecasts as SETTINGS say, and so many series."""
    shape = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=6)
    family_of(new_pipeline(shape, _CONTEXT, _HORIZON), _CONTEXT, _HORIZON).save(model)
    days = np.datetime64("2024-01-01", "ms") + np.arange(_LENGTH) * np.timedelta64(1, "D")
    names = np.repeat([f"item-{index:03d}" for index in range(series)], _LENGTH)
    values = np.random.default_rng(0).normal(size=series * _LENGTH)
    pq.write_table(pa.table({"item_id": names, "timestamp": np.tile(days, series), "target": values}), data)
