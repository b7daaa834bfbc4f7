"""Plots of a run: the training loss, and forecasts against the held-out values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agent.protocol.metrics_log import losses
from chronos_ec2.domain.parsing.names import one_line

INK, MUTED, GRID, SHADE = "#1f2933", "#7b8794", "#e4e7eb", "#f5f7fa"
OURS, NAIVE = "#2563eb", "#d97706"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}
_SMOOTHED_SHARE = 20
_MAX_TITLE = 60


def draw_loss(metrics: Path, picture: Path) -> bool:
    """Plot the training loss by step, with a moving average. False if there is no loss to plot."""
    points = losses(metrics)
    if not points:
        return False
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.8), layout="constrained")
        axes = figure.subplots()
        plot_loss(axes, points)
        axes.set_title(f"Training loss, last {points[-1][1]:.3f}")
        _save(figure, picture)
    return True


def plot_loss(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Plot the loss by step, with a moving average."""
    steps, values = np.array(points).T
    axes.plot(steps, values, color=OURS, alpha=0.3, linewidth=1, label="loss")
    width = max(1, len(values) // _SMOOTHED_SHARE)
    if width > 1:
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axes.plot(steps[width // 2 :][: len(smooth)], smooth, color=OURS, linewidth=2, label=f"mean of {width} points")
    axes.set(xlabel="step", ylabel="quantile loss")
    axes.legend(loc="upper right")


def draw_forecasts(examples: Sequence[dict[str, Any]], picture: Path, season_length: int = 1) -> None:
    """Plot one panel per example of `agent.chronos.evaluate.forecast_table`."""
    rows = -(-len(examples) // 2)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.1 * rows + 0.6), layout="constrained")
        grid = figure.subplots(rows, 2 if len(examples) > 1 else 1, squeeze=False)
        for axes, example in zip(grid.flat, examples, strict=False):
            plot_forecast(axes, example, season_length)
            error = "" if example.get("mase") is None else f"  ·  MASE {example['mase']:.2f}"
            axes.set_title(one_line(str(example["item"]), _MAX_TITLE) + error, parse_math=False)
        for axes in list(grid.flat)[len(examples) :]:
            axes.set_visible(False)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        _save(figure, picture)


def draw_series(series: Sequence[dict[str, Any]], picture: Path) -> None:
    """Plot one panel per series: a mapping of `item`, `times` and `values`. Missing observations are gaps."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 1.9 * len(series) + 0.4), layout="constrained")
        grid = figure.subplots(len(series), 1, squeeze=False)
        for axes, one in zip(grid.flat, series, strict=True):
            values = floats(one["values"])
            axes.plot(_times(one["times"]), values, color=INK, linewidth=1.1, marker="." if len(values) < 60 else "")
            missing = int(np.isnan(values).sum())
            counted = f"{len(values)} points" + (f", {missing} missing" if missing else "")
            axes.set_title(f"{one['item']}  ·  {counted}".replace("$", r"\$"))
            axes.margins(x=0.01)
        _save(figure, picture)


def plot_forecast(axes: Axes, example: Mapping[str, Any], season_length: int) -> None:
    """Plot a forecast with its band, beside what was observed."""
    values = floats(example["values"])
    horizon = len(example["median"])
    split = len(values) - horizon
    times = _times(example["times"])
    past, future = times[:split], times[split:]
    # Bands and lines start at the last observation, to join the history.
    joint = np.append(times[split - 1 : split], future) if split else future
    last = values[split - 1 : split]
    axes.axvspan(future[0], future[-1], color=SHADE, zorder=0)
    axes.plot(past, values[:split], color=MUTED, linewidth=1.2, label="history")
    low, high = (np.append(last, floats(example[name])) for name in ("low", "high"))
    axes.fill_between(joint, low, high, color=OURS, alpha=0.18, linewidth=0, label=example.get("band", "80 % band"))
    if "naive" in example:
        axes.plot(
            joint, np.append(last, floats(example["naive"])), color=NAIVE, linewidth=1.2, linestyle=(0, (4, 2)),
            label="seasonal naive" if season_length > 1 else "naive",
        )  # fmt: skip
        axes.plot(joint, np.append(last, values[split:]), color=INK, linewidth=1.4, label="held-out truth")
    ours = np.append(last, floats(example["median"]))
    axes.plot(joint, ours, color=OURS, linewidth=2, label=f"{example['model']} median")
    axes.margins(x=0.01)


def floats(values: Sequence[float | None]) -> Any:
    """The values as an array, NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _times(times: Sequence[str | int]) -> Any:
    """Numbers as they are, texts as local times."""
    return np.array(times, dtype="datetime64[s]" if isinstance(times[0], str) else np.int64)


def _save(figure: Figure, picture: Path) -> None:
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=144, facecolor="white")
