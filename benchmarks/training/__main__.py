"""Run the sections named on the command line, or all of them.

Stock and our code run in this environment, alternating, on one thread (what the trainer uses on two cores). Ratios are
medians over the rounds of stock's time divided by ours: above 1, ours is faster. Models have random weights, which do
not affect speed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.cases.section import cases
from benchmarks.publish import publish
from benchmarks.training.accuracy.calibration import baselines, false_improved
from benchmarks.training.accuracy.gaps import gaps
from benchmarks.training.accuracy.m3 import m3
from benchmarks.training.accuracy.oracles import metrics_oracle
from benchmarks.training.batches import batches, scaling
from benchmarks.training.evaluation import evaluation
from benchmarks.training.overhead import agent
from benchmarks.training.parquet import parquet
from benchmarks.training.resume import ddp, resume
from benchmarks.training.steps import arithmetic, steps
from benchmarks.training.targets import targets
from benchmarks.training.workload import Section

_SECTIONS: dict[str, Callable[[], Section]] = {
    "steps": steps,
    "batches": batches,
    "parquet": parquet,
    "scaling": scaling,
    "arithmetic": arithmetic,
    "resume": resume,
    "ddp": ddp,
    "evaluation": evaluation,
    "agent": agent,
    "m3": m3,
    "gaps": gaps,
    "cases": cases,
    "metrics": metrics_oracle,
    "calibration": false_improved,
    "baselines": baselines,
    "targets": targets,
}


def main() -> int:
    """Measure and publish; non-zero if a resumed training ends with other weights."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    exact = True
    for name in sys.argv[1:] or list(_SECTIONS):
        print(f"{name} …", flush=True)
        section = _SECTIONS[name]()
        publish(section.figures, section.title, f"`python -m benchmarks.training {name}`\n\n{section.text}")
        print(section.text, flush=True)
        exact = exact and section.figures.get("resume", {}).get("bit_exact", True)
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
