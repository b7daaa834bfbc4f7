"""Forecasts as a Parquet file, and example series for the plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.data.panel import Floats, Panel
from agent.training.batching.held_out import QUANTILES, Array, HeldOutWindows

_MEDIAN = QUANTILES.index(0.5)
_EXAMPLE_PERCENTILES = (0.2, 0.4, 0.6, 0.8)
_HISTORY_HORIZONS = 4


def write_forecasts(
    path: Path, panel: Panel, held_out: HeldOutWindows, targets: list[str], forecasts: Floats, naive: Floats
) -> None:
    """One row per held-out point: item, target name, time, truth, seasonal naive, and the forecast's quantiles.

    `forecasts` and `naive` are (k, n, V, h, q); `targets` names the V targets.
    """
    windows, count, _, horizon, _ = forecasts.shape
    times = pa.concat_arrays(
        panel.times(index, cutoff, cutoff + horizon)
        for cutoffs in held_out.cutoffs
        for index, cutoff in zip(held_out.series.tolist(), cutoffs.tolist(), strict=True)
        for _ in targets
    )
    items = np.repeat(np.array(panel.items.take(held_out.series).to_pylist(), dtype=object), len(targets) * horizon)
    target_names = np.tile(np.repeat(np.array(targets, dtype=object), horizon), windows * count)
    columns: dict[str, Any] = {
        "item_id": pa.array(np.tile(items, windows), pa.string()),
        "target_name": pa.array(target_names, pa.string()),
        "timestamp": times,
        "target": held_out.truth.reshape(-1),
        "seasonal_naive": naive[..., _MEDIAN].reshape(-1),
    }
    columns |= {str(level): forecasts[..., rank].reshape(-1) for rank, level in enumerate(QUANTILES)}
    pq.write_table(pa.table(columns), path, compression="zstd")


def examples(
    panel: Panel, held_out: HeldOutWindows, model: str, forecasts: Floats, naive: Floats, mase: Array
) -> list[dict[str, Any]]:
    """Representative series to plot, at fixed percentiles of MASE `mase` (n,): the last window of the first target."""
    order = np.argsort(mase, kind="stable")
    picks = dict.fromkeys(int(order[round(rank * (len(order) - 1))]) for rank in _EXAMPLE_PERCENTILES)
    return [
        {"model": model}
        | _example(panel, held_out.select([pick]), forecasts[-1, pick, 0], naive[-1, pick, 0], float(mase[pick]))
        for pick in picks
    ]


def _example(panel: Panel, series: HeldOutWindows, forecast: Floats, naive: Floats, mase: float) -> dict[str, Any]:
    horizon = len(forecast)
    index, end = int(series.series[0]), int(series.cutoffs[-1, 0]) + horizon
    length = min(end, (_HISTORY_HORIZONS + 1) * horizon)
    return {
        "item": panel.items[index].as_py(),
        "mase": number_or_none(mase),
        "times": [str(time) for time in panel.times(index, end - length, end).to_pylist()],
        "values": [number_or_none(value) for value in panel.series(index, end, length)[0]],
        "median": [number_or_none(value) for value in forecast[:, _MEDIAN]],
        "low": [number_or_none(value) for value in forecast[:, 0]],
        "high": [number_or_none(value) for value in forecast[:, -1]],
        "naive": [number_or_none(value) for value in naive[:, _MEDIAN]],
    }


def number_or_none(value: float) -> float | None:
    """A plain number; None if not finite, which JSON cannot hold."""
    if not np.isfinite(value):
        return None
    return value if isinstance(value, int) else float(value)
