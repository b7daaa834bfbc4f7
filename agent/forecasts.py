"""Forecasts as people and programs take them away: a Parquet file of all, and a few examples to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.evaluate import QUANTILES, Array
from agent.series import SeriesSet

_MEDIAN = QUANTILES.index(0.5)
_EXAMPLE_RANKS = (0.2, 0.4, 0.6, 0.8)
_HISTORY_HORIZONS = 4


def write_forecasts(path: Path, series: SeriesSet, quantiles: Array, naive: Array) -> None:
    """One row per held-out point: item, time, truth, seasonal naive, and our quantiles. Shapes (n, h, q)."""
    count, horizon, _ = quantiles.shape
    held_out = [times.slice(len(times) - horizon) for times in series.timestamps]
    columns: dict[str, Any] = {
        "item_id": pa.array(np.repeat(np.array(series.items, dtype=object), horizon), pa.string()),
        "timestamp": pa.concat_arrays(held_out),
        "target": np.concatenate([values[-horizon:] for values in series.values]),
        "seasonal_naive": naive[..., _MEDIAN].reshape(count * horizon).astype(np.float32),
    }
    columns |= {str(level): quantiles[..., rank].reshape(count * horizon) for rank, level in enumerate(QUANTILES)}
    pq.write_table(pa.table(columns), path, compression="zstd")


def examples(series: SeriesSet, quantiles: Array, naive: Array, errors: Array) -> list[dict[str, Any]]:
    """A few series to draw, by rank of their error: representative ones, neither the best nor the worst."""
    order = np.argsort(errors, kind="stable")
    picks = dict.fromkeys(int(order[round(rank * (len(order) - 1))]) for rank in _EXAMPLE_RANKS)
    return [_example(series, quantiles, naive, index, float(errors[index])) for index in picks]


def _example(series: SeriesSet, quantiles: Array, naive: Array, index: int, error: float) -> dict[str, Any]:
    horizon = quantiles.shape[1]
    shown = min(len(series.values[index]), (_HISTORY_HORIZONS + 1) * horizon)
    times = series.timestamps[index]
    return {
        "item": series.items[index],
        "mase": number_or_none(error),
        "times": [str(time) for time in times.slice(len(times) - shown).to_pylist()],
        "values": [number_or_none(value) for value in series.values[index][-shown:]],
        "median": [number_or_none(value) for value in quantiles[index, :, _MEDIAN]],
        "low": [number_or_none(value) for value in quantiles[index, :, 0]],
        "high": [number_or_none(value) for value in quantiles[index, :, -1]],
        "naive": [number_or_none(value) for value in naive[index, :, _MEDIAN]],
    }


def number_or_none(value: float) -> float | None:
    """A plain number; None for NaN, which JSON does not have."""
    if not np.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)
