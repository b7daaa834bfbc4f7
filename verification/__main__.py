"""`python -m evidence [--histories N] [PART...]`: prove the promises, and write down what was found.

Each part merges its keys into build/evidence.json; docs/evidence.md is then made anew from it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verification.crash_points.enumerate import enumerate_crash_points
from verification.fuzz import fuzz
from verification.histories import histories, layers, silent_sweep_seconds
from verification.model.check import check_model
from verification.mutation import REPORT, Change, listed_survivors
from verification.report import as_markdown, with_summary
from verification.seeded_defects.defects import run_defects
from verification.simulation.scenario import Layer
from verification.sources import fingerprint

BUILD, DOCUMENT, README = Path("build/evidence.json"), Path("docs/evidence.md"), Path("README.md")
_FUZZ_SHARE = 100
"""An input for each of the fuzzed for so many histories."""
_LAYER_SHARE = 50
"""A history without a layer for so many with all of them."""


def main() -> int:
    """Run the parts that were asked for, all by default. Returns 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__)
    parser.add_argument("--histories", type=int, default=1_000_000)
    parser.add_argument("parts", nargs="*", help="of " + ", ".join(_PARTS))
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(BUILD.read_text()) if BUILD.exists() else {}
    for name in options.parts or _PARTS:
        if name not in _PARTS:
            parser.error(f"no part {name}; there are {', '.join(_PARTS)}")
        print(f"{name} …", flush=True)
        made_from = fingerprint(name)
        found |= _PARTS[name](options.histories)
        found["made_from"] = found.get("made_from", {}) | {name: made_from}
        BUILD.parent.mkdir(exist_ok=True)
        BUILD.write_text(json.dumps(found, indent=1) + "\n")
    DOCUMENT.write_text(as_markdown(found, {name: fingerprint(name) for name in _PARTS}))
    README.write_text(with_summary(README.read_text(), found))
    print(f"{BUILD}, {DOCUMENT}, {README}")
    return 1 if violations(found) else 0


def violations(found: dict[str, Any]) -> int:
    """How much of what may not be was found."""
    histories_bad = sum(
        found.get(name, 0)
        for name in ("wrong_terminations", "alien_terminations", "leaks_past_bound", "stuck_locks", "lost_messages",
                     "doubled_without_cause", "two_agents", "over_cap")
    )  # fmt: skip
    crash = found.get("crash_points", {"enumerated": 0, "converged": 0})
    defects = found.get("defect_mutants", {"total": 0, "caught": 0})
    model = found.get("model", {"violations": 0, "mutants": 0, "mutants_caught": 0})
    fuzzed = len(found.get("fuzz", {"failures": []})["failures"])
    unlayered = sum(_violations_without(*layers) for layers in found.get("layers", {}).items())
    listed = listed_survivors()
    survivors = [Change(**change) for change in found.get("mutation", {"survivors": []})["survivors"]]
    unlisted = sum(change not in listed for change in survivors)
    missed = fuzzed + unlayered + unlisted
    missed += crash["enumerated"] - crash["converged"] + defects["total"] - defects["caught"]
    return int(histories_bad + missed + model["violations"] + model["mutants"] - model["mutants_caught"])


def _violations_without(layers: str, row: dict[str, Any]) -> int:
    """Without the sweep nobody promises an end to what has no schedule, so that some outlive their histories."""
    late = row["promised"] is not None and row["max"] > row["promised"]
    leaks = row["leaks_past_bound"] if Layer.SWEEP not in layers else 0
    return int(row["wrong_terminations"] + leaks + late)


def _crash_points(_histories: int) -> dict[str, Any]:
    return {"crash_points": asdict(enumerate_crash_points())}


def _defects(_histories: int) -> dict[str, Any]:
    result = run_defects()
    rows = [{"defect": row.defect.name, "source": row.defect.source, "caught_by": row.by} for row in result.rows]
    return {"defect_mutants": {"total": result.total, "caught": result.caught, "rows": rows}}


def _model(_histories: int) -> dict[str, Any]:
    return {"model": asdict(check_model())}


def _mutation(_histories: int) -> dict[str, Any]:
    # In a process of its own, where nothing of what is mutated was imported yet.
    subprocess.run([sys.executable, "-m", "verification.mutation"], check=False)
    return {"mutation": json.loads(REPORT.read_text())}


def _fuzz(count: int) -> dict[str, Any]:
    return {"fuzz": asdict(fuzz(min(max(count // _FUZZ_SHARE, 200), 20_000)))}


def _layers(count: int) -> dict[str, Any]:
    return {"layers": layers(max(count // _LAYER_SHARE, 200)), "alarm_seconds": silent_sweep_seconds()}


_PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "crash-points": _crash_points,
    "model": _model,
    "histories": histories,
    "layers": _layers,
    "fuzz": _fuzz,
    "defects": _defects,
    "mutation": _mutation,
}

if __name__ == "__main__":
    sys.exit(main())
