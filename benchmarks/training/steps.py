"""Training steps per second, and the share of the machine's arithmetic that they use."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from agent.chronos.batching.sampler import Sampler, TrainingWindows, WindowBatch
from agent.chronos.model.chronos2 import Chronos2Family
from agent.chronos.model.family import BLOCK, Family
from agent.chronos.training.engine import TrainingJob, fit
from agent.data.panel import Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from benchmarks.training.workload import (
    HORIZON,
    ROUNDS,
    Section,
    Shape,
    random_pipeline,
    random_series,
    ratio,
    write_panel,
)
from chronos_ec2.job_config.schema import Training


@dataclass(frozen=True, slots=True)
class _Case:
    shape: Shape
    context: int
    rows: int
    timed_steps: int


_120M = "120 M width, 2 of 12 layers, batch 256"
# Dropout is that of amazon/chronos-2, and for M3 the example's own.
_CASES = {
    "d64, batch 256": _Case(Shape(64, 16, 256, 2, 4, 16, 0.1), 512, 256, 12),
    "d64, batch 64 (M3)": _Case(Shape(64, 16, 256, 3, 4, 12, 0.0), 144, 64, 60),
    _120M: _Case(Shape(768, 64, 3072, 2, 12, 16, 0.1), 512, 256, 3),
}


def steps() -> Section:
    """Steps per second of `Chronos2Pipeline.fit` and of the engine."""
    figures, lines = {}, ["| model | stock, steps/s | ours, steps/s | ratio |", "|---|---:|---:|---:|"]
    for name, case in _CASES.items():
        pairs = [(_stock_rate(case), _our_rate(case)) for _ in range(ROUNDS)]
        figures[name] = ratio([1 / stock for stock, _ in pairs], [1 / ours for _, ours in pairs])
        stock, ours = (statistics.median(rates) for rates in zip(*pairs, strict=True))
        lines.append(f"| {name} | {stock:.3f} | {ours:.3f} | {figures[name]['ratio']:.2f} |")
    return Section("Training steps", {"train_steps_ratio": figures}, "\n".join(lines))


def arithmetic() -> Section:
    """FLOP/s of training at the 120 M width as a share of those of this machine's matrix multiplication."""
    case = _CASES[_120M]
    family = Chronos2Family(random_pipeline(case.shape, case.context), case.context, HORIZON)
    with tempfile.TemporaryDirectory() as folder:
        panel = write_panel(Path(folder) / "panel", random_series(200, case.context + 200))
        family.use_attention(BLOCK, panel.columns)
        batch = a_job(family, panel, case.rows, 1).batch(0, 0, 1)
    with FlopCounterMode(display=False) as counter:
        family.model(**batch).loss.backward()
    per_step = counter.get_total_flops()
    square = torch.randn(2048, 2048)
    shares, peaks = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(4):
            square @ square
        peaks.append(4 * 2 * 2048**3 / (time.perf_counter() - began))
        shares.append(per_step * _our_rate(case) / peaks[-1])
    share, peak = statistics.median(shares), statistics.median(peaks)
    text = f"{100 * share:.1f} % of the {peak / 1e9:.1f} GFLOP/s that multiplying 2,048 x 2,048 matrices reaches on "
    text += "one thread. torch counts the operations; steps include the optimiser."
    return Section("Arithmetic", {"flops_share": round(share, 4), "matmul_gflops": round(peak / 1e9, 1)}, text)


class StepClock(TrainerCallback):
    """The times at which steps ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Note the time."""
        self.times.append(time.perf_counter())

    @property
    def rate(self) -> float:
        """Steps per second after the first one, which warms up."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


class _ClockMetrics(Metrics):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.clock = StepClock()

    def step(self, step: int, total_steps: int, loss: float | None = None, *arguments: Any, **more: Any) -> None:
        if loss is None:
            self.clock.on_step_end(None, None, None)
        super().step(step, total_steps, loss, *arguments, **more)


def _stock_rate(case: _Case) -> float:
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        random_pipeline(case.shape, case.context).fit(
            random_series(200, case.context + 200), prediction_length=HORIZON, context_length=case.context,
            batch_size=case.rows, num_steps=case.timed_steps + 1, output_dir=folder, callbacks=[clock],
            remove_printer_callback=True, disable_tqdm=True, min_past=HORIZON,
        )  # fmt: skip
    return clock.rate


def _our_rate(case: _Case) -> float:
    family = Chronos2Family(random_pipeline(case.shape, case.context), case.context, HORIZON)
    with tempfile.TemporaryDirectory() as folder:
        panel = write_panel(Path(folder) / "panel", random_series(200, case.context + 200))
        few = WindowBatch(np.arange(4), panel.lengths[:4])
        assert family.choose_attention(panel, few) == BLOCK
        return train_timed(a_job(family, panel, case.rows, case.timed_steps + 1), Path(folder))


def a_job(family: Family, panel: Panel, rows: int, steps: int, min_past: int = HORIZON, **settings: Any) -> TrainingJob:
    """Train on so many random windows a step."""
    sampler = Sampler(TrainingWindows(panel, panel.lengths, family.context, HORIZON, min_past), rows, "series", 0)
    defaults = {"steps": steps, "batch_size": rows, "checkpoint_steps": 10**6}
    return TrainingJob(
        model=family.model,
        batch=lambda number, part, parts: family.batch(panel, sampler.draw(number).part(part, parts)),
        validation=None,
        settings=Training.model_validate(defaults | settings),
        precision=family.precision,
        label=family.label,
        made_with={},
        windows=rows,
    )


def train_timed(job: TrainingJob, folder: Path) -> float:
    """Steps per second."""
    metrics = _ClockMetrics(folder / "metrics.jsonl")
    fit(job, folder, metrics, StopSignal())
    metrics.close()
    return metrics.clock.rate
