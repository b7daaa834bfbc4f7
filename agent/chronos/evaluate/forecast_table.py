"""Forecasts as a Parquet file, and example series for the plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.chronos.batching.held_out import MEDIAN, QUANTILES, HeldOutWindows
from agent.chronos.batching.histories import Array
from agent.chronos.batching.sampler import WindowBatch
from agent.data.panel import Floats, Indices, Panel, plain_times
from chronos_ec2.job_config.data import Data

_MEDIAN = QUANTILES.index(MEDIAN)
_EXAMPLE_PERCENTILES = (0.2, 0.4, 0.6, 0.8)
_HISTORY_HORIZONS = 4


def write_forecasts(
    path: Path, panel: Panel, held_out: HeldOutWindows, data: Data, forecasts: Floats, naive: Floats
) -> None:
    """One row per held-out point: item, target name, time, truth, seasonal naive, and the forecast's quantiles.

    `forecasts` and `naive` are (k, n, V, h, q). Item and time have the names and types that they have in the data.
    """
    columns = points_of(panel, data, held_out.series, held_out.cutoffs, forecasts.shape[-2]) | {
        "target": nulls_for_nan(held_out.truth),
        "seasonal_naive": naive[..., _MEDIAN].reshape(-1),
    }
    pq.write_table(pa.table(columns | quantile_columns(forecasts, QUANTILES)), path, compression="zstd")


def points_of(panel: Panel, data: Data, series: Indices, cutoffs: Indices, horizon: int) -> dict[str, Any]:
    """Item, time and target name of the points of windows `cutoffs` (k, n), in the order of forecasts (k, n, V, h)."""
    (windows, count), targets = cutoffs.shape, panel.columns.targets
    points = (panel.offsets[series] + cutoffs)[:, :, None, None] + np.arange(horizon)
    points = np.broadcast_to(points, (windows, count, targets, horizon)).reshape(-1)
    items = np.tile(np.repeat(series, targets * horizon), windows)
    names = np.tile(np.repeat(np.arange(targets), horizon), windows * count)
    return {
        **ids_of(panel, items),
        data.timestamp: panel.times_at(points),
        "target_name": pa.array(data.target, pa.string()).take(pa.array(names)),
    }


def quantile_columns(forecasts: Floats, levels: Sequence[float]) -> dict[str, Any]:
    """The columns of forecasts (…, q) at these levels, named by them."""
    return {str(level): np.ascontiguousarray(forecasts[..., rank]).reshape(-1) for rank, level in enumerate(levels)}


def ids_of(panel: Panel, series: Indices) -> dict[str, pa.ChunkedArray]:
    """The columns that name series, with the names and types that they have in the data."""
    found = panel.ids.take(pa.array(series))
    return dict(zip(found.column_names, found.columns, strict=True))


def nulls_for_nan(values: Any) -> pa.Array:
    """A flat column, null where a value is NaN."""
    return pa.array(values.reshape(-1), mask=np.isnan(values.reshape(-1)))


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


def future_examples(
    panel: Panel, windows: WindowBatch, model: str, forecasts: Floats, levels: Sequence[float]
) -> list[dict[str, Any]]:
    """A few of the series to plot with forecasts (n, V, h, q) of the first target, which nothing is known of yet."""
    count, low, high = len(windows.series), levels.index(min(levels)), levels.index(max(levels))
    found = []
    for pick in dict.fromkeys(int(rank * (count - 1)) for rank in _EXAMPLE_PERCENTILES):
        index, end, horizon = int(windows.series[pick]), int(windows.cutoffs[pick]), forecasts.shape[2]
        start, forecast = max(0, end - _HISTORY_HORIZONS * horizon), forecasts[pick, 0]
        found.append(
            {
                "item": str(panel.items[index].as_py()),
                "model": model,
                "times": plain_times(panel.times(index, start, end + horizon)),
                "values": [number_or_none(value) for value in panel.series(index)[0, start : end + horizon]],
                "median": [number_or_none(value) for value in forecast[:, levels.index(MEDIAN)]],
                "low": [number_or_none(value) for value in forecast[:, low]],
                "high": [number_or_none(value) for value in forecast[:, high]],
                "band": f"{levels[low]:g} to {levels[high]:g}",
            }
        )
    return found


def _example(panel: Panel, series: HeldOutWindows, forecast: Floats, naive: Floats, mase: float) -> dict[str, Any]:
    horizon = len(forecast)
    index, end = int(series.series[0]), int(series.cutoffs[-1, 0]) + horizon
    length = min(end, (_HISTORY_HORIZONS + 1) * horizon)
    return {
        "item": str(panel.items[index].as_py()),
        "mase": number_or_none(mase),
        "times": plain_times(panel.times(index, end - length, end)),
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
