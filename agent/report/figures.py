"""The figures of a report, as SVG in the colours of the page. Texts in them are ours, or a model's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agent import plots
from chronos_ec2.domain.parsing.names import one_line

Points = Sequence[tuple[float, float]]
_COLOURS = {
    plots.INK: "var(--ink)", plots.MUTED: "var(--muted)", plots.GRID: "var(--line)", plots.SHADE: "var(--shade)",
    plots.OURS: "var(--ours)", plots.NAIVE: "var(--naive)",
}  # fmt: skip
_SVG: dict[Any, Any] = plots.STYLE | {"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "chronos-ec2"}
_NOTHING_ABOUT_THE_FILE = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_SIZE = (4.7, 2.5)
_MAX_POINTS = 2000
_OTHERS = (plots.NAIVE, plots.INK, plots.MUTED, plots.GRID)
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))


def loss(points: Points, interruptions: Sequence[float] = (), best: float | None = None) -> str:
    """The training loss by step; dotted lines where training was interrupted, a solid one at the best step."""
    with mpl.rc_context(_SVG):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        plots.plot_loss(axes, points)
        for step in interruptions:
            axes.axvline(step, color=plots.MUTED, linewidth=1, linestyle=(0, (1, 2)))
        if best is not None:
            axes.axvline(best, color=plots.NAIVE, linewidth=1)
        return _svg(figure, "training loss by step")


def by_step(points: Points, unit: str, most: float | None = None) -> str:
    """One number by step, from zero."""
    with mpl.rc_context(_SVG):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        steps, values = zip(*points[:: len(points) // _MAX_POINTS + 1], strict=True)
        axes.plot(steps, values, color=plots.OURS, linewidth=1.4, marker="." if len(steps) < 30 else "")
        axes.set(xlabel="step", ylabel=unit)
        axes.set_ylim(0, most)
        return _svg(figure, f"{unit} by step")


def by_horizon(models: Mapping[str, Sequence[float | None]], score: str) -> str:
    """A score by forecast step, a line for each model; the first model's is the widest."""
    with mpl.rc_context(_SVG):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        for number, (name, values) in enumerate(models.items()):
            colour = plots.OURS if number == 0 else _OTHERS[(number - 1) % len(_OTHERS)]
            axes.plot(
                range(1, len(values) + 1), plots.floats(values), color=colour, linewidth=1.2 if number else 2,
                linestyle=_DASHES[number % len(_DASHES)], label=one_line(name, 40).replace("$", r"\$"),
                marker="." if len(values) < 30 else "",
            )  # fmt: skip
        axes.set(xlabel="forecast step", ylabel=score)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best", fontsize=7)
        return _svg(figure, f"{score} by forecast step")


def forecast(example: Mapping[str, Any], season_length: int) -> str:
    """A forecast with its band beside what was observed."""
    with mpl.rc_context(_SVG):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        plots.plot_forecast(axes, {**example, "model": "forecast"}, season_length)
        axes.xaxis.set_major_locator(_dates() if isinstance(example["times"][0], str) else MaxNLocator(4))
        return _svg(figure, "forecast and observations")


def _dates() -> Any:
    return AutoDateLocator(maxticks=5)  # type: ignore[no-untyped-call]


def _svg(figure: Figure, label: str) -> str:
    with StringIO() as out:
        figure.savefig(out, format="svg", transparent=True, metadata=_NOTHING_ABOUT_THE_FILE)
        text = out.getvalue()
    text = text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, variable)
    return text
