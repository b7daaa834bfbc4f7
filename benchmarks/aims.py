"""What the figures of the training engine were to be, beside what they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks import publish


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure by its path in build/bench.json, and the bound that it was to keep."""

    path: tuple[str, ...]
    bound: float
    at_least: bool = True

    def row(self, figures: dict[str, Any]) -> str:
        """A line of the table; a figure that was not measured has none."""
        found: Any = figures
        for name in self.path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            measured = "not measured | "
        else:
            kept = found >= self.bound if self.at_least else found <= self.bound
            measured = f"{found:g} | {'yes' if kept else 'no'}"
        return f"| {' / '.join(self.path)} | {'≥' if self.at_least else '≤'} {self.bound:g} | {measured} |"


AIMS = (
    Aim(("train_steps_ratio", "d64, batch 256", "ratio"), 3.0),
    Aim(("train_steps_ratio", "d64, batch 64 (M3)", "ratio"), 1.6),
    Aim(("train_steps_ratio", "120 M width, 2 of 12 layers, batch 256", "ratio"), 1.5),
    Aim(("batch_build_ratio", "1000", "ratio"), 15),
    Aim(("batch_build_ratio", "100000", "ratio"), 35),
    Aim(("batch_build_ratio", "1000000", "ratio"), 900),
    Aim(("parquet_to_ready", "sorted", "ratio"), 2.5),
    Aim(("parquet_to_ready", "sorted", "memory_share"), 0.4, at_least=False),
    Aim(("parquet_to_ready", "shuffled", "ratio"), 4),
    Aim(("parquet_to_ready", "shuffled", "memory_share"), 0.4, at_least=False),
    Aim(("agent_overhead_percent",), 1, at_least=False),
    Aim(("ddp", "loss_gap"), 1e-5, at_least=False),
    # AutoTheta's.
    Aim(("m3_monthly", "mase"), 0.861, at_least=False),
    Aim(("m3_monthly", "seconds"), 600, at_least=False),
)


def aims() -> tuple[str, dict[str, Any], str]:
    """The table, of what was measured so far on this machine."""
    figures = json.loads(publish.FIGURES.read_text()) if publish.FIGURES.exists() else {}
    rows = [aim.row(figures) for aim in AIMS]
    return "Targets", {}, "\n".join(["| figure | target | measured | met |", "|---|---:|---:|---|", *rows])
