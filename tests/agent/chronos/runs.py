"""Whole training runs on toy data, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from agent.chronos.batching.load import load_panel
from agent.chronos.training.run import run
from agent.data.panel import Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.job_config.schema import TrainingConfig
from tests.agent.builders import a_workdir, toy_series
from tests.agent.chronos.builders import a_family


def toy_workdir(tmp_path: Path, **columns: Callable[[int], Any]) -> Workdir:
    """A working directory with twelve toy series of 60 days; `columns` adds columns as functions of the row."""
    workdir, table = a_workdir(tmp_path), toy_series()
    for name, make in columns.items():
        table = table.append_column(name, [[make(row) for row in range(table.num_rows)]])
    pq.write_table(table, workdir.data / "toy.parquet")
    return workdir


def panel_of(workdir: Workdir, config: TrainingConfig) -> Panel:
    with closing(Metrics(workdir.metrics)) as metrics:
        return load_panel(workdir, config, metrics)[1]


def train(workdir: Workdir, config: dict[str, Any], stop: StopSignal | None = None) -> dict[str, Any]:
    with closing(Metrics(workdir.metrics)) as metrics:
        return run(workdir, parse_config(config, "test"), metrics, stop or StopSignal())


def a_base(tmp_path: Path, family: str) -> str:
    """The path of a tiny saved model."""
    chronos = a_family(family)
    chronos.save(tmp_path / "base")
    return str(tmp_path / "base")


def report(workdir: Workdir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workdir.evaluation / "report.json").read_text())
    return found


def metrics_lines(workdir: Workdir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
