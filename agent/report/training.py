"""The training in a report: loss, speed and checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.protocol.metrics_log import CHECKPOINT, interruptions, losses, read_metrics
from agent.report.page import Figure, Section


def training_sections(metrics: Path, ended: Mapping[str, Any], *, pictures: bool) -> Iterator[Section]:
    """Loss, speed and checkpoints by metrics.jsonl; `ended` is training.json."""
    lines = list(read_metrics(metrics))
    steps = [line for line in lines if "event" not in line and "step" in line]
    if not steps:
        return
    yield Section(
        "Training",
        facts=tuple(_facts(ended, lines, steps)),
        figures=tuple(_figures(metrics, ended, steps)) if pictures else (),
    )


def _facts(
    ended: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    last = steps[-1]
    yield "step", f"{last['step']:,} of {last.get('total_steps', last['step']):,}"
    if known := [line["loss"] for line in steps if line.get("loss") is not None]:
        yield "loss, first and last", f"{known[0]:.4g}, {known[-1]:.4g}"
    if pace := last.get("steps_per_second"):
        yield "step time", f"{1000 / pace:,.0f} ms"
    if stopped := ended.get("stopped_by"):
        yield "stopped by", str(stopped)
    if saved := list(dict.fromkeys(line["step"] for line in lines if line.get("event") == CHECKPOINT)):
        yield "checkpoints", f"{len(saved)}, the latest at step {saved[-1]:,}"


def _figures(metrics: Path, ended: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    from agent.report import figures  # noqa: PLC0415 - takes matplotlib, which not every laptop has

    if points := losses(metrics):
        stops = [one["reached"] for one in interruptions(metrics)]
        best = ended.get("best_step")
        marks = " Orange: the weights that were kept." if best else ""
        yield Figure("Loss", figures.loss(points, stops, best), f"Quantile loss in training.{marks}")
    if paces := [(line["step"], 1000 / line["steps_per_second"]) for line in steps if line.get("steps_per_second")]:
        yield Figure("Step time", figures.by_step(paces, "ms"), "Mean since the attempt began to train.")
    for name, title, unit, factor, most in (
        ("series_per_second", "Speed", "series per second", 1, None),
        ("data_wait_ms", "Waiting for data", "ms per step", 1, None),
        ("gpu_util", "GPU utilisation", "percent", 1, 100),
        ("gpu_mem", "GPU memory", "GiB", 1 / 2**30, None),
    ):
        if points := [(line["step"], factor * line[name]) for line in steps if line.get(name) is not None]:
            yield Figure(title, figures.by_step(points, unit, most))
