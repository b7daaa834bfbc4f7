"""Tiny training jobs, and ways to run, kill and read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from agent.chronos.batching.sampler import Sampler, TrainingWindows
from agent.chronos.model import load
from agent.chronos.model.families import Batch
from agent.chronos.training.engine import TrainingJob, TrainingOutcome, fit
from agent.chronos.training.hf_trainer import StepTrainer
from agent.data.panel import Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from chronos_ec2.job_config.schema import Lora, Training
from tests.agent.chronos.builders import CONTEXT, HORIZON, a_family

STEPS = 8
Weights = dict[str, torch.Tensor]


class Killed(BaseException):
    """Stands for the end of the process."""


def a_job(
    panel: Panel, family: str, lora: bool = False, dropout: float = 0.1, windows: int = 4, **settings: Any
) -> TrainingJob:
    """A new model with the same initial weights each time, and the batches of a fixed seed."""
    chronos = a_family(family, dropout)
    if lora:
        torch.manual_seed(2)
        load.add_lora(chronos, Lora())
    ends = panel.lengths - HORIZON
    defaults: dict[str, Any] = {"steps": STEPS, "batch_size": 4, "learning_rate": 1e-2, "checkpoint_steps": 3}
    training = Training.model_validate(defaults | settings)
    sampler = Sampler(TrainingWindows(panel, ends, CONTEXT, HORIZON, HORIZON), windows, "series", seed=3)

    def validation() -> Iterator[Batch]:
        yield chronos.batch(panel, sampler.draw(10**6))

    return TrainingJob(
        model=chronos.model,
        batch=lambda number, part, parts: chronos.batch(panel, sampler.draw(number).part(part, parts)),
        validation=validation if training.early_stopping else None,
        settings=training,
        precision=training.precision if training.precision != "auto" else "fp32",
        label=chronos.label,
        made_with={"data": "d", "settings": {}},
        windows=windows,
    )


class KillingMetrics(Metrics):
    """Kills the process in the step after `after`."""

    def __init__(self, path: Path, after: int | None) -> None:
        super().__init__(path)
        self._after = after

    def step(self, step: int, *arguments: Any, **more: Any) -> None:
        if step == self._after:
            raise Killed
        super().step(step, *arguments, **more)


def train(
    job: TrainingJob, folder: Path, kill_after: int | None = None, trainer_class: type[StepTrainer] = StepTrainer
) -> tuple[TrainingOutcome, Weights]:
    folder.mkdir(exist_ok=True)
    metrics = KillingMetrics(folder / "metrics.jsonl", kill_after)
    try:
        outcome = fit(job, folder, metrics, StopSignal(), trainer_class)
    finally:
        metrics.close()
    return outcome, {name: weight.detach().clone() for name, weight in job.model.named_parameters()}


def metrics_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def lines_with_a_loss(folder: Path) -> list[dict[str, Any]]:
    """The lines of steps whose loss was logged."""
    return [line for line in metrics_lines(folder) if "loss" in line and "event" not in line]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in lines_with_a_loss(folder)]


def assert_equal(ours: Weights, theirs: Weights) -> None:
    """Equal bit for bit."""
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def limit_memory(model: torch.nn.Module, rows: int, from_call: int = 0) -> None:
    """Simulate a GPU whose memory holds so many rows, from one of the model's calls on."""
    calls = 0

    def check(_module: Any, _arguments: Any, more: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        first = next(iter(more.values()))
        if calls > from_call and len(first) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.register_forward_pre_hook(check, with_kwargs=True)


class Fp16OnTheCpu(StepTrainer):  # type: ignore[misc]
    """Autocast and a gradient scaler, as on a T4. On a CPU the library silently leaves both out."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        self.accelerator.native_amp = True
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
