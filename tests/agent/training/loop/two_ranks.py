"""Two processes that train a tiny model together: `python -m tests.agent.training.loop.two_ranks FOLDER`, where the panel is.

They leave hashes of their batches, the weights and the metrics. The GPU of the second may be in `--trouble`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from agent.data.panel import Panel, open_panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal, report_error
from agent.training.batching.sampler import Draw, Sampler, Windows
from agent.training.loop import distributed
from agent.training.loop.distributed import Place
from agent.training.loop.engine import Work, fit
from agent.training.model.families import Batch
from chronos_ec2.domain.errors import UserError
from tests.agent.training.builders import CONTEXT, HORIZON, a_family, a_panel
from tests.agent.training.loop.test_engine import Weights, only_rows, trained, work_on
from tests.agent.training.loop.test_engine import losses as losses_of

ROWS = 4
HARDWARE = "CUDA error: uncorrectable ECC error encountered"


@dataclass(frozen=True, slots=True)
class Compared:
    """Two processes beside one that has the batches of both: batches seen, how many of them differ, and the gaps."""

    batches: int
    distinct_batches: int
    loss_gap: float
    """Largest relative difference between the losses of a step."""
    ours: Weights
    theirs: Weights


def compare(folder: Path) -> Compared:
    """Train both ways, in new processes and in this one."""
    panel = a_panel(folder)
    done = both(folder)
    assert done.returncode == 0, done.stderr
    seen = [(folder / f"batches-{rank}").read_text().split() for rank in (0, 1)]
    _, theirs = trained(one_with_both(panel), folder / "one")
    ours = torch.load(folder / "weights.pt", weights_only=True)
    pairs = zip(losses_of(folder / "two"), losses_of(folder / "one"), strict=True)
    gap = max(abs(two - one) / abs(one) for two, one in pairs)
    return Compared(len(seen[0] + seen[1]), len(set(seen[0] + seen[1])), gap, ours, theirs)


def both(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the leader, which starts the other, to its end."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*_command(folder), *more], capture_output=True, text=True, env=environment, check=False)


def one_with_both(panel: Panel) -> Work:
    """The work of one process that has the batches of both."""
    family, sampler = a_family("chronos-2", dropout=0.0), _sampler(panel)

    def batch(number: int, _part: int, _parts: int) -> Batch:
        first, second = (sampler.draw(number, rank) for rank in (0, 1))
        both = (np.concatenate(pair) for pair in ((first.series, second.series), (first.cuts, second.cuts)))
        return family.batch(panel, Draw(*both))

    return replace(work_on(panel, "chronos-2", dropout=0.0), model=family.model, batch=batch)


def main() -> int:
    """Be one of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trouble", choices=["memory", "hardware"])
    parser.add_argument("--parent", type=int)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    folder, place = options.folder, Place(options.rank, options.processes)
    panel = open_panel(folder / "panel-0")
    family, sampler = a_family("chronos-2", dropout=0.0), _sampler(panel)
    # Enough for a leader that looks ten times a second.
    distributed._LAST_WORDS_SECONDS = 5.0
    if options.trouble == "memory" and place.rank == 1:
        only_rows(family.model, 1, from_call=2)

    def batch(number: int, _part: int, _parts: int) -> Batch:
        if options.trouble == "hardware" and place.rank == 1 and number == 2:
            raise RuntimeError(HARDWARE)
        made = family.batch(panel, sampler.draw(number, place.rank))
        with (folder / f"batches-{place.rank}").open("a") as seen:
            seen.write(hashlib.sha256(made["context"].numpy().tobytes()).hexdigest() + "\n")
        return made

    work = replace(work_on(panel, "chronos-2", dropout=0.0), model=family.model, batch=batch)
    (folder / "two").mkdir(exist_ok=True)
    more = ["--trouble", options.trouble] if options.trouble else []
    context = (
        distributed.leading(place.count, [*_command(folder), *more])
        if place.rank == 0
        else distributed.following(place, options.port)
    )
    metrics = Metrics(folder / "two" / "metrics.jsonl" if place.rank == 0 else Path(os.devnull))
    try:
        with context:
            fit(work, folder / "two", metrics, StopSignal())
    except UserError as error:
        return report_error(error)
    if place.rank == 0:
        torch.save({name: weight.detach() for name, weight in family.model.named_parameters()}, folder / "weights.pt")
    return 0


def _command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.agent.training.loop.two_ranks", str(folder)]


def _sampler(panel: Panel) -> Sampler:
    return Sampler(Windows(panel, panel.lengths - HORIZON, CONTEXT, HORIZON, HORIZON), ROWS, "series", seed=3)


if __name__ == "__main__":
    sys.exit(main())
