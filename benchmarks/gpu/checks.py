"""What must hold on a GPU: the driver answers, resume is exact, batches are halved, saved models forecast the same."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.evaluate import acceptance
from agent.chronos.evaluate.predict import forecast_batches
from agent.chronos.model.families import Family, family_of
from agent.chronos.model.from_scratch import new_pipeline
from agent.chronos.model.load import load_pipeline
from agent.chronos.training.engine import TrainingJob, fit
from agent.data.panel import Panel
from agent.host import nvml
from agent.preflight.checks import check_cuda, check_health
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from benchmarks.gpu.sizes import Sizes
from benchmarks.gpu.speed import DEVICE, a_family, a_panel, first_windows
from benchmarks.training.steps import a_job
from benchmarks.training.workload import HORIZON
from chronos_ec2.job_config.schema import FromScratch

_STEPS = 6
_SHAPE = {"d_model": 64, "d_kv": 16, "d_ff": 256, "num_layers": 2, "num_heads": 4}
FAMILIES = ("chronos-2", "chronos-bolt", "chronos-t5")


def preflight() -> dict[str, Any]:
    """The checks of the GPUs that each run begins with."""
    driver = nvml.query_driver()
    gpus = len(driver.gpus) if isinstance(driver, nvml.Driver) else 0
    checks = (check_health(driver), check_cuda(allow_cpu=DEVICE == "cpu", gpus=gpus))
    return {"ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]}


class _Killed(BaseException):
    """Stands for the end of the process."""


class _KillingMetrics(Metrics):
    """Ends the training in the step after its checkpoint."""

    def step(self, step: int, *arguments: Any, **more: Any) -> None:
        if step == _STEPS // 2 + 1:
            raise _Killed
        super().step(step, *arguments, **more)


def resume(sizes: Sizes, precision: str) -> dict[str, Any]:
    """Train at a stretch, and once more with a kill after the checkpoint: the weights are equal bit for bit."""
    context = sizes.contexts[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        panel = a_panel(folder, context)

        def job() -> TrainingJob:
            family = a_family(sizes, context, precision)
            family.choose_attention(panel, first_windows(panel, 4))
            return a_job(family, panel, sizes.rows, _STEPS, checkpoint_steps=_STEPS // 2, learning_rate=1e-3)

        straight = job()
        _train(straight, folder / "straight", Metrics)
        try:
            _train(job(), folder / "killed", _KillingMetrics)
        except _Killed:
            resumed = job()
            outcome = _train(resumed, folder / "killed", Metrics)
        pairs = zip(straight.model.parameters(), resumed.model.parameters(), strict=True)
        exact = all(torch.equal(one, other) for one, other in pairs)
    if not exact or outcome.resumed_from != _STEPS // 2:
        raise AssertionError(f"weights differ after training was resumed from {outcome.resumed_from}")
    return {"bit_exact": True, "resumed_from": outcome.resumed_from}


def _train(job: TrainingJob, folder: Path, kind: type[Metrics]) -> Any:
    folder.mkdir(exist_ok=True)
    with closing(kind(folder / "metrics.jsonl")) as metrics:
        return fit(job, folder, metrics, StopSignal())


def out_of_memory(sizes: Sizes) -> dict[str, Any]:
    """Train with less memory than a batch needs, if there is a GPU whose memory can be limited."""
    if DEVICE == "cpu":
        return {"skipped": "no GPU"}
    context = sizes.contexts[-1]
    with tempfile.TemporaryDirectory() as name:
        panel = a_panel(Path(name), context)
        family = a_family(sizes, context)
        family.choose_attention(panel, first_windows(panel, 4))
        job = a_job(family, panel, 4 * sizes.rows, 2, min_past=context)
        # Weights, gradients and AdamW's state take 2 GB; a batch of 1,024 windows takes far more than what is left.
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(12 * 2**30 / torch.cuda.get_device_properties(0).total_memory)
        try:
            outcome = _train(job, Path(name) / "run", Metrics)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    if outcome.parts == 1:
        raise AssertionError("the batch fitted into the memory that was left")
    return {"parts": outcome.parts, "steps": outcome.steps}


def gates(precision: str) -> dict[str, str]:
    """Train each family from scratch, save it and load it again. Raises InvalidInput if it forecasts differently."""
    with tempfile.TemporaryDirectory() as name:
        panel = a_panel(Path(name), 64)
        for family in FAMILIES:
            _same_after_reload(family, precision, panel, Path(name) / family)
    return dict.fromkeys(FAMILIES, "same")


def _same_after_reload(name: str, precision: str, panel: Panel, folder: Path) -> None:
    torch.manual_seed(0)
    pipeline = new_pipeline(FromScratch.model_validate(_SHAPE | {"family": name}), 64, HORIZON)
    family = family_of(pipeline, 64, HORIZON, precision)
    family.model.to(DEVICE)
    family.freeze_unused(panel.columns)
    few = first_windows(panel, 16)
    family.choose_attention(panel, few)
    _train(a_job(family, panel, 16, 3, learning_rate=1e-3), folder, Metrics)
    family.model.eval()
    family.save(folder / "model")
    again = family_of(load_pipeline(str(folder / "model"), DEVICE), family.context, HORIZON, precision)
    acceptance.same_after_reload(*(_forecasts(one, panel, few) for one in (family, again)))


def _forecasts(family: Family, panel: Panel, windows: WindowBatch) -> Any:
    torch.manual_seed(0)
    return np.concatenate(list(forecast_batches(family, panel, windows)))
