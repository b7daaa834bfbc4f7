"""Measure the forecast job beside `predict_df`; `--full` adds a million series.

Each forecast is a process of its own, in turn, on one thread. No weights are needed: a tiny model made from scratch
shows the path of the data, one in the size of Chronos-2 what is left of that beside the model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.chronos.model.families import family_of
from agent.chronos.model.from_scratch import new_pipeline
from benchmarks.forecast.dataset import CONTEXT, LENGTH, write_dataset
from benchmarks.publish import publish
from benchmarks.training.workload import HORIZON
from chronos_ec2.job_config.schema import FromScratch

LIMIT_GB = 8.0
TINY = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=16)
LARGE = FromScratch(d_model=768, d_kv=64, d_ff=3072, num_layers=12, num_heads=12, patch=16)
_SIDES = ("ours", "whole", "chunks", "tensors")
_COMPARED = 100_000
Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What is forecast, and by which sides."""

    series: int
    covariates: bool = False
    model: str = "tiny"
    sides: Sequence[str] = _SIDES


CASES = (
    Case(1_000), Case(1_000, covariates=True), Case(100_000), Case(100_000, covariates=True),
    Case(256, model="large", sides=("ours", "whole")),
)  # fmt: skip
FULL = (
    Case(1_000_000, sides=("ours", "whole", "chunks")),
    Case(1_000_000, covariates=True, sides=("ours", "whole", "chunks")),
)


def measure(cases: Sequence[Case], scratch: Path, limit_gb: float = LIMIT_GB) -> list[dict[str, Any]]:
    """Each case with what its sides took; `tensors` has no covariates."""
    models = {"tiny": TINY, "large": LARGE}
    rows = []
    for number, case in enumerate(cases):
        folder, model = scratch / f"case-{number}", scratch / case.model
        if not model.exists():
            pipeline = new_pipeline(models[case.model], CONTEXT, HORIZON)
            family_of(pipeline, CONTEXT, HORIZON).save(model)
        write_dataset(folder, case.series, covariates=case.covariates)
        found: dict[str, Found] = {}
        for side in (side for side in case.sides if side != "tensors" or not case.covariates):
            found[side] = _in_process(side, folder, model, limit_gb)
            sys.stdout.write(f"{case.series:,} {case.covariates} {side} {json.dumps(found[side])}\n")
            sys.stdout.flush()
        rows.append(
            {"series": case.series, "covariates": case.covariates, "model": case.model, **found}
        )  # fmt: skip
    return rows


def _in_process(side: str, folder: Path, model: Path, limit_gb: float) -> Found:
    command = [sys.executable, "-m", "benchmarks.forecast.sides", side, str(folder), str(model), str(limit_gb)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side}: {done.stderr[-2000:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`forecast` of build/bench.json: the comparison at 100,000 series, in processor seconds, and all rows."""
    one = next((row for row in rows if row["series"] == _COMPARED and not row["covariates"]), rows[0])
    ours, stock = one["ours"], one["whole"]
    found = {
        "series": one["series"],
        "ours": ours["cpu_seconds"],
        "stock": stock["cpu_seconds"],
        "ratio": round(stock["cpu_seconds"] / ours["cpu_seconds"], 2),
        "peak_mb": {"ours": ours["peak_mb"], "stock": stock["peak_mb"]},
        "cases": list(rows),
    }
    return {"forecast": found}


def text(rows: Sequence[dict[str, Any]], limit_gb: float = LIMIT_GB) -> str:
    """The section of docs/benchmarks.md."""
    lines = [
        f"Daily series of {LENGTH} points, {HORIZON} points to forecast, nine quantiles, from one Parquet file to "
        "another. The models have random weights: `tiny` has one layer of width 16, so that the path of the data "
        "dominates; `large` has the size of Chronos-2 (120 million weights). `whole` is one call of `predict_df`; "
        "`chunks` one for each 10,000 series, from row groups that hold whole series in order; `tensors` is "
        "`pipeline.predict` with arrays of equal length, without any check. With covariates, two are known ahead, one "
        "of them text. Each forecast is a process, on one thread; other work on the machine changes "
        "its seconds, and hardly its processor seconds. MB are the peak of all memory that it has, of which "
        "importing torch is about 500.",
        "",
        "| series | covariates | model | side | s | processor s | series per processor s | MB | processor s / ours |",
        "|---:|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        about = f"| {row['series']:,} | {'2' if row['covariates'] else 'none'} | {row['model']} "
        for side in _SIDES:
            if side not in row:
                continue
            found, ours = row[side], row["ours"]
            if "seconds" not in found:
                lines.append(f"{about}| {side} | | | | over {limit_gb * 1000:,.0f} | out of memory |")
                continue
            lines.append(
                f"{about}| {side} | {found['seconds']:.1f} | {found['cpu_seconds']:.2f} "
                f"| {row['series'] / found['cpu_seconds']:,.0f} | {found['peak_mb']:,} "
                f"| {found['cpu_seconds'] / ours['cpu_seconds']:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(prog="benchmarks.forecast")
    parser.add_argument("--full", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure((*CASES, *FULL) if chosen.full else CASES, Path(folder))
    section = f"`python -m benchmarks.forecast{' --full' if chosen.full else ''}`\n\n{text(rows)}"
    publish(figures(rows), "Forecasts", section)


if __name__ == "__main__":
    main()
