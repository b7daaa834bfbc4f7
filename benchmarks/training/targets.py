"""The targets of the training engine, and the figures measured last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.publish import FIGURES, ROOT, recorded
from benchmarks.training.workload import Section


@dataclass(frozen=True, slots=True)
class Target:
    """A figure by its path in build/bench.json, and its lower or upper bound."""

    path: tuple[str, ...]
    bound: float
    at_least: bool = True

    def row(self, figures: dict[str, Any]) -> str:
        """A row of the table: target, measured, met."""
        found: Any = figures
        for name in self.path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            measured = "not measured | "
        else:
            met = found >= self.bound if self.at_least else found <= self.bound
            measured = f"{found:g} | {'yes' if met else 'no'}"
        return f"| {' / '.join(self.path)} | {'≥' if self.at_least else '≤'} {self.bound:g} | {measured} |"


TARGETS = (
    Target(("train_steps_ratio", "d64, batch 256", "ratio"), 3.0),
    Target(("train_steps_ratio", "d64, batch 64 (M3)", "ratio"), 1.6),
    Target(("train_steps_ratio", "120 M width, 2 of 12 layers, batch 256", "ratio"), 1.5),
    Target(("batch_build_ratio", "1000", "ratio"), 15),
    Target(("batch_build_ratio", "100000", "ratio"), 35),
    Target(("batch_build_ratio", "1000000", "ratio"), 900),
    Target(("parquet_to_ready", "sorted", "ratio"), 2.5),
    Target(("parquet_to_ready", "sorted", "memory_share"), 0.4, at_least=False),
    Target(("parquet_to_ready", "shuffled", "ratio"), 4),
    Target(("parquet_to_ready", "shuffled", "memory_share"), 0.4, at_least=False),
    Target(("many_files", "ratio"), 1),
    Target(("agent_overhead_percent",), 1, at_least=False),
    Target(("ddp", "loss_gap"), 1e-5, at_least=False),
    Target(("metrics_oracle", "largest_gap"), 1e-9, at_least=False),
    # AutoTheta's MASE.
    Target(("m3_monthly", "mase"), 0.861, at_least=False),
    Target(("m3_monthly", "seconds"), 600, at_least=False),
)


def targets(root: Path = ROOT) -> Section:
    """A table of the targets and what was last measured on this machine."""
    figures = recorded(root / FIGURES)
    rows = [target.row(figures) for target in TARGETS]
    return Section("Targets", {}, "\n".join(["| figure | target | measured | met |", "|---|---:|---:|---|", *rows]))
