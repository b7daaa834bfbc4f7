"""Forecasts as people and programs take them away: a Parquet file of all, and a few examples to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.data.panel import Floats, Panel
from agent.training.evaluate.metrics import Held
from agent.training.evaluate.seasonal_naive import QUANTILES, Array

_MEDIAN = QUANTILES.index(0.5)
_EXAMPLE_RANKS = (0.2, 0.4, 0.6, 0.8)
_HISTORY_HORIZONS = 4


def write_forecasts(path: Path, panel: Panel, held: Held, names: list[str], ours: Floats, naive: Floats) -> None:
    """One row per held-out point: item, which target, time, truth, seasonal naive, and our quantiles.

    `ours` and `naive` are (k, n, V, h, q); `names` are the V targets.
    """
    windows, count, targets, horizon, _ = ours.shape
    times = pa.concat_arrays(
        panel.times(index, cut, cut + horizon)
        for cuts in held.cuts
        for index, cut in zip(held.series.tolist(), cuts.tolist(), strict=True)
        for _ in range(targets)
    )
    items = np.repeat(np.array(panel.items.take(held.series).to_pylist(), dtype=object), targets * horizon)
    columns: dict[str, Any] = {
        "item_id": pa.array(np.tile(items, windows), pa.string()),
        "target_name": pa.array(
            np.tile(np.repeat(np.array(names, dtype=object), horizon), windows * count), pa.string()
        ),
        "timestamp": times,
        "target": held.truth.reshape(-1),
        "seasonal_naive": naive[..., _MEDIAN].reshape(-1),
    }
    columns |= {str(level): ours[..., rank].reshape(-1) for rank, level in enumerate(QUANTILES)}
    pq.write_table(pa.table(columns), path, compression="zstd")


def examples(panel: Panel, held: Held, model: str, ours: Floats, naive: Floats, mase: Array) -> list[dict[str, Any]]:
    """A few series to draw, by rank of their error (n,): representative ones, neither the best nor the worst.

    Their last window, and the first target. `model` is the name of the one that made our forecasts.
    """
    order = np.argsort(mase, kind="stable")
    picks = dict.fromkeys(int(order[round(rank * (len(order) - 1))]) for rank in _EXAMPLE_RANKS)
    return [
        {"model": model} | _example(panel, held.of([pick]), ours[-1, pick, 0], naive[-1, pick, 0], float(mase[pick]))
        for pick in picks
    ]


def _example(panel: Panel, one: Held, ours: Floats, naive: Floats, error: float) -> dict[str, Any]:
    horizon = len(ours)
    index, end = int(one.series[0]), int(one.cuts[-1, 0]) + horizon
    shown = min(end, (_HISTORY_HORIZONS + 1) * horizon)
    return {
        "item": panel.items[index].as_py(),
        "mase": number_or_none(error),
        "times": [str(time) for time in panel.times(index, end - shown, end).to_pylist()],
        "values": [number_or_none(value) for value in panel.series(index, end, shown)[0]],
        "median": [number_or_none(value) for value in ours[:, _MEDIAN]],
        "low": [number_or_none(value) for value in ours[:, 0]],
        "high": [number_or_none(value) for value in ours[:, -1]],
        "naive": [number_or_none(value) for value in naive[:, _MEDIAN]],
    }


def number_or_none(value: float) -> float | None:
    """A plain number; None for NaN, which JSON does not have."""
    if not np.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)
