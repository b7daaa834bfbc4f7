"""Series as held-out windows of the future: so a forecast is predicted by the same code as an evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from agent.chronos.batching.sampler import WindowBatch
from agent.data.ingest.future import Horizon
from agent.data.panel import Floats, Indices, Panel


def future_windows(horizon: Horizon, series: Indices, context: int, known: Floats | None) -> tuple[Panel, WindowBatch]:
    """A panel in memory of some series, with their last `context` points and the points to forecast, and its windows.

    `known` (K, n, h): the known covariates of these points. Targets and past covariates are missing there.
    """
    panel, length = horizon.panel, horizon.length
    spans = np.minimum(panel.lengths[series], context)
    offsets = np.concatenate([[0], np.cumsum(spans + length)])
    ends = offsets[1:] - length
    total = int(offsets[-1])
    # Where each point of the past is in the panel, by its place in this one.
    past = np.arange(int(spans.sum())) + np.repeat(length * np.arange(len(series)), spans)
    begins = panel.offsets[series + 1] - spans
    source = past + np.repeat(begins - offsets[:-1], spans)
    values = np.full((panel.columns.all, total), np.nan, dtype=np.float32)
    ticks = np.empty(total, dtype=np.int64)
    for row, into in zip(panel.values, values, strict=True):
        into[past] = row[source]
    ticks[past] = panel.ticks[source]
    future: Any = (ends[:, None] + np.arange(length)).ravel()
    ticks[future] = horizon.ticks(series).ravel()
    if known is not None and len(known):
        values[-len(known) :, future] = known.reshape(len(known), -1)
    extended = replace(
        panel, ids=panel.ids.take(series), offsets=offsets, values=values, ticks=ticks, complete=False
    )  # fmt: skip
    return extended, WindowBatch(np.arange(len(series)), spans)


def unobserved(panel: Panel) -> Any:
    """(n, V) of the series of `future_windows`: which targets have no observation, so nothing to forecast from."""
    observed = np.isfinite(panel.values[: panel.columns.targets])
    return ~np.logical_or.reduceat(observed, panel.offsets[:-1], axis=1).T
