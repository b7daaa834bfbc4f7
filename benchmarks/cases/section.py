"""How many cases end as they should."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.cases.right import RIGHT
from benchmarks.cases.runner import run_case
from benchmarks.training.workload import Section


def cases() -> Section:
    """Train on each case with a tiny model and compare with the right outcome."""
    wrong = {}
    for name, right in RIGHT.items():
        with tempfile.TemporaryDirectory() as folder:
            if problems := right.problems(run_case(name, Path(folder) / "run")):
                wrong[name] = problems
    figures = {"right": len(RIGHT) - len(wrong), "total": len(RIGHT)}
    text = f"{figures['right']} of {figures['total']} small data sets that other tools have stumbled over are trained "
    text += "on, or refused, as they should be (`benchmarks/cases/right.py`)."
    lines = [f"- {name}: {'; '.join(problems)}" for name, problems in wrong.items()]
    return Section("Cases", {"cases": figures}, "\n".join([text, *([""] if lines else []), *lines]))
