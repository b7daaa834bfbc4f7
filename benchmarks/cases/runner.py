"""Train on a case as the instance does, and say what came of it."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agent import plots
from agent.chronos.training.run import run
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import UserError
from chronos_ec2.job_config.parse import load_document, parse_training

DATA = Path(__file__).with_name("data")


@dataclass(frozen=True)
class Outcome:
    """`refused`: the message, empty if the run was completed. `findings`: counts of what was accepted, by kind.

    `report` and `text` are its evaluation, `forecasts` its table, `facts` what it said before its first step.
    """

    refused: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    forecasts: pa.Table = None
    findings: dict[str, dict[str, int]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    plotted: bool = False


def run_case(name: str, folder: Path) -> Outcome:
    """Run CASE/CONFIG in a folder, which has to be empty."""
    case, _, config = name.partition("/")
    workdir = Workdir(folder)
    workdir.create()
    shutil.copytree(DATA / case / "data", workdir.data, dirs_exist_ok=True)
    try:
        settings = parse_training(load_document(DATA / case / f"{config}.yaml"), case)
        with closing(Metrics(workdir.metrics)) as metrics:
            result = run(workdir, settings, metrics, StopSignal())
    except UserError as error:
        return Outcome(refused=str(error))
    plots.draw_forecasts(result["examples"], workdir.plots / "forecasts.png")
    facts = json.loads(workdir.facts.read_text())
    return Outcome(
        report=json.loads((workdir.evaluation / "report.json").read_text()),
        text=(workdir.evaluation / "report.md").read_text(),
        forecasts=pq.read_table(workdir.forecasts),
        findings={one["kind"]: one["counts"] for one in facts["findings"]},
        facts=facts,
        plotted=(workdir.plots / "forecasts.png").stat().st_size > 0,
    )
