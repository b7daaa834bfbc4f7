"""The M3 example: accuracy on the official test set."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from agent.chronos.training.run import run
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from benchmarks.publish import ROOT
from benchmarks.training.workload import Section
from chronos_ec2.job_config.parse import load_document, parse_training
from chronos_ec2.job_config.schema import TrainingConfig

EXAMPLE = ROOT / "examples" / "m3_monthly"


def example() -> TrainingConfig:
    """The example's configuration."""
    return parse_training(load_document(EXAMPLE / "train.yaml"), "train.yaml")


def prepare(folder: Path) -> Path:
    """Write the example's data; returns the file with the M3 series."""
    subprocess.run([sys.executable, str(EXAMPLE / "prepare.py"), str(folder)], check=True, capture_output=True)
    return folder / "m3-monthly.parquet"


def m3() -> Section:
    """Train the example once, with its own seed, and evaluate it on the official 18 months."""
    with tempfile.TemporaryDirectory() as name:
        workdir = Workdir(Path(name) / "run")
        workdir.create()
        prepare(workdir.data)
        metrics = Metrics(workdir.metrics)
        result = run(workdir, example(), metrics, StopSignal())
        metrics.close()
        table = (workdir.evaluation / "report.md").read_text().partition("| forecast step")[0].partition("\n\n")[2]
    figures = result["metrics"] | {
        "seconds": result["seconds"]["training"],
        "baselines": result["evaluation"]["baselines"],
    }
    text = f"`examples/m3_monthly`, trained from scratch in {figures['seconds']:.0f} s on one thread, one seed."
    return Section("M3 monthly", {"m3_monthly": figures}, f"{text}\n\n{table.strip()}")
