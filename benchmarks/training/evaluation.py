"""Seconds to forecast the test windows with every model of an evaluation."""

from __future__ import annotations

from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.speed import forecasts
from benchmarks.training.workload import ROUNDS, Section, Shape

_SERIES = 1024
_SIZES = Sizes(Shape(64, 16, 256, 3, 4, 16, 0.0), 256, (512,), 0, _SERIES, (), "eager")


def evaluation() -> Section:
    """Trained model, base and champion, as before (stock attention by batches of 256 rows) and as now."""
    rounds = sorted((forecasts(_SIZES, "fp32") for _ in range(ROUNDS)), key=lambda one: one["seconds"])
    figures = {name: rounds[ROUNDS // 2][name] for name in ("seconds_before", "seconds", "models")}
    text = f"{figures['models']} models forecast {_SERIES:,} series of 512 points in {figures['seconds']:.2f} s; with "
    text += f"the library's attention {figures['seconds_before']:.2f} s. One thread, fp32, d64, 3 layers. On a GPU "
    text += "batches are larger, and in the precision of the training; `make bench-gpu` measures that."
    return Section("Evaluation", {"evaluation": figures}, text)
