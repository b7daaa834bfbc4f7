"""Train a tiny model on FOLDER in two processes: `python -m tests.agent.chronos.training.two_processes FOLDER`.

Writes hashes of the batches of each process, the weights and the metrics. `--fail` makes the worker fail.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from agent.chronos.batching.held_out import hold_out
from agent.chronos.batching.sampler import Sampler, TrainingWindows, WindowBatch
from agent.chronos.evaluate.predict import Forecaster
from agent.chronos.model.families import Batch, Family
from agent.chronos.training import distributed
from agent.chronos.training.distributed import Process
from agent.chronos.training.engine import TrainingJob, fit
from agent.data.panel import Floats, Panel, open_panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal, report_error
from chronos_ec2.domain.errors import UserError
from tests.agent.chronos.builders import CONTEXT, HORIZON, a_family, a_panel
from tests.agent.chronos.training.jobs import Weights, a_job, limit_memory, losses, train

ROWS = 4
HARDWARE = "CUDA error: uncorrectable ECC error encountered"
RANK_0_ERROR_DELAY_SECONDS = 120.0
"""Ample on a busy machine: rank 0 ends as soon as the worker has."""
WORKER_ERROR_DELAY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two processes against one that has the batches of both."""

    batches: int
    distinct_batches: int
    loss_gap: float
    """Largest relative difference between the losses of a step."""
    two: tuple[Weights, Weights]
    """Of each of the two."""
    one: Weights
    forecasts: tuple[Floats, Floats]
    """By the first of the two with the help of the second, and by one with its weights."""


def compare(folder: Path) -> Comparison:
    """Train with two new processes, and in this one with the batches of both."""
    panel = a_panel(folder)
    done = run_both(folder)
    assert done.returncode == 0, done.stderr
    batches = [line for rank in (0, 1) for line in (folder / f"batches-{rank}").read_text().split()]
    _, one = train(_combined_job(panel), folder / "one")
    first, second = (torch.load(folder / f"weights-{rank}.pt", weights_only=True) for rank in (0, 1))
    pairs = zip(losses(folder / "two"), losses(folder / "one"), strict=True)
    gap = max(abs(ours - theirs) / abs(theirs) for ours, theirs in pairs)
    alone = _family(panel)
    alone.model.load_state_dict(first)
    forecasts = np.load(folder / "forecasts.npy"), _forecasts(alone, panel, folder)
    return Comparison(len(batches), len(set(batches)), gap, (first, second), one, forecasts)


def run_both(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run rank 0, which starts the worker, to its end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*_command(folder), *more], capture_output=True, text=True, env=environment, check=False)


def _combined_job(panel: Panel) -> TrainingJob:
    family, sampler = _family(panel), _sampler(panel)

    def batch(number: int, _part: int, _parts: int) -> Batch:
        first, second = (sampler.draw(number, rank) for rank in (0, 1))
        both = (np.concatenate(pair) for pair in ((first.series, second.series), (first.cutoffs, second.cutoffs)))
        return family.batch(panel, WindowBatch(*both))

    return replace(a_job(panel, "chronos-2", dropout=0.0), model=family.model, batch=batch)


def _forecasts(family: Family, panel: Panel, folder: Path) -> Floats:
    """Forecasts of three windows in ten batches, the last one of each window shorter."""
    family.model.eval()
    family.fitting = 3
    with closing(Metrics(folder / "forecasts.jsonl")) as metrics:
        forecaster = Forecaster(panel, metrics, StopSignal(), ranks=distributed.ranks())
        return forecaster.forecast(family, hold_out(panel, HORIZON, 3, 6))


def main() -> int:
    """Be rank 0, or the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fail", choices=["memory", "hardware", "forecast"])
    parser.add_argument("--parent", type=int)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    folder, process = options.folder, Process(options.rank, options.processes)
    panel = open_panel(folder / "panel-0")
    family, sampler = _family(panel), _sampler(panel)
    if options.fail == "memory" and process.rank == 1:
        limit_memory(family.model, 1, from_call=2)

    def batch(number: int, _part: int, _parts: int) -> Batch:
        if options.fail == "hardware" and process.rank == 1 and number == 2:
            raise RuntimeError(HARDWARE)
        made = family.batch(panel, sampler.draw(number, process.rank))
        with (folder / f"batches-{process.rank}").open("a") as hashes:
            hashes.write(hashlib.sha256(made["context"].numpy().tobytes()).hexdigest() + "\n")
        return made

    job = replace(a_job(panel, "chronos-2", dropout=0.0), model=family.model, batch=batch)
    (folder / "two").mkdir(exist_ok=True)
    more = ["--fail", options.fail] if options.fail else []
    group = (
        distributed.start_workers(process.world_size, [*_command(folder), *more], RANK_0_ERROR_DELAY_SECONDS)
        if process.rank == 0
        else distributed.worker_group(process, options.port, WORKER_ERROR_DELAY_SECONDS)
    )
    metrics = Metrics(folder / "two" / "metrics.jsonl" if process.rank == 0 else Path(os.devnull))
    try:
        with group:
            fit(job, folder / "two", metrics, StopSignal())
            weights = {name: weight.detach() for name, weight in family.model.named_parameters()}
            torch.save(weights, folder / f"weights-{process.rank}.pt")
            assert distributed.sum_over_processes(process.rank + 1.0, 0.5) == [3.0, 1.0]
            if options.fail == "forecast" and process.rank == 1:
                raise RuntimeError(HARDWARE)
            forecasts = _forecasts(family, panel, folder)
            if process.rank == 0:
                np.save(folder / "forecasts.npy", forecasts)
    except UserError as error:
        return report_error(error)
    return 0


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.agent.chronos.training.two_processes", str(folder)]


def _family(panel: Panel) -> Family:
    """As in a run: block attention, and no weights without a gradient."""
    family = a_family("chronos-2", dropout=0.0)
    family.freeze_unused(panel.columns)
    family.use_attention("block", panel.columns)
    return family


def _sampler(panel: Panel) -> Sampler:
    return Sampler(TrainingWindows(panel, panel.lengths - HORIZON, CONTEXT, HORIZON, HORIZON), ROWS, "series", seed=3)


if __name__ == "__main__":
    sys.exit(main())
