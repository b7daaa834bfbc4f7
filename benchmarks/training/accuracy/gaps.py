"""What missing observations cost: M3 monthly with rows taken out at random, filled in as missing or closed up."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.chronos.training.run import run
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from benchmarks.training.accuracy.m3 import example, prepare
from benchmarks.training.workload import Section
from chronos_ec2.job_config.schema import TrainingConfig

_STEPS = 400
_CASES = ((0.0, "refuse"), (0.1, "fill"), (0.1, "ignore"), (0.3, "fill"), (0.3, "ignore"))


def gaps() -> Section:
    """Train a short version of the example on the same series, and score the same 18 months, of which none is missing.

    WQL, because MASE's scale would depend on what is missing.
    """
    figures: dict[str, float] = {}
    lines = ["| rows taken out | `gaps` | WQL | seasonal naive, WQL |", "|---:|---|---:|---:|"]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "m3").mkdir()
        table = pq.read_table(prepare(Path(name) / "m3"))
        table = table.filter(pa.array([item.startswith("N") for item in table["item_id"].to_pylist()]))
        for share, setting in _CASES:
            scores = _train(Path(name) / f"{setting}-{share}", _without(table, share), setting)
            figures[f"{setting}, {share:.0%}"] = scores["wql"]
            lines.append(f"| {share:.0%} | {setting} | {scores['wql']:.4f} | {scores['wql_seasonal_naive']:.4f} |")
    text = f"`examples/m3_monthly`, its 1,428 series alone, {_STEPS} steps, one seed. Rows before the test months are "
    text += "taken out at random; a series keeps its first row.\n\n" + "\n".join(lines)
    return Section("Missing observations", {"gaps": figures}, text)


def _without(table: pa.Table, share: float) -> pa.Table:
    """The table without a share of the rows that are neither the first of their series nor held out."""
    items = np.array(table["item_id"].to_pylist())
    edges = np.flatnonzero(np.append(True, items[1:] != items[:-1]))
    lengths = np.diff(np.append(edges, len(items)))
    place = np.arange(len(items)) - np.repeat(edges, lengths)
    inner = (place > 0) & (place < np.repeat(lengths, lengths) - 18)
    return table.filter(pa.array(~(inner & (np.random.default_rng(0).random(len(items)) < share))))


def _train(folder: Path, table: pa.Table, setting: str) -> dict[str, Any]:
    config = example().model_dump(mode="json")
    config["data"]["problems"]["gaps"] = setting
    config["training"] |= {
        "steps": _STEPS,
        "min_past": 18,
        "weights": {},
        "warmup_steps": 20,
        "checkpoint_steps": _STEPS,
    }
    config["evaluation"] |= {"baselines": []}
    workdir = Workdir(folder)
    workdir.create()
    pq.write_table(table, workdir.data / "m3.parquet")
    metrics = Metrics(workdir.metrics)
    result = run(workdir, TrainingConfig.model_validate(config), metrics, StopSignal())
    metrics.close()
    scores: dict[str, Any] = result["metrics"]
    return scores
