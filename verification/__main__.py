"""`python -m verification [--histories N] [PART...]`: check the guarantees and write down the figures.

Each part merges its keys into build/evidence.json, with the commit that it ran on. docs/evidence.md, the table in
README.md and build/lifecycle.json are generated from that file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from verification import mutation
from verification.campaign import run_histories
from verification.checkout import ROOT, commit
from verification.crash_points.enumerate import enumerate_crash_points
from verification.fuzz.campaign import fuzz
from verification.histories import histories, layers, silent_sweep_seconds
from verification.hostile.oracle import HostileFindings
from verification.lifecycle.document import LIFECYCLE, write_lifecycle
from verification.lifecycle.group_oracle import GroupFindings
from verification.lifecycle.oracle import LifecycleFindings
from verification.lifecycle.shards import shard_figures
from verification.model.check import check_model
from verification.report import as_markdown, with_summary
from verification.seeded_defects.runner import defects, run_defects
from verification.simulation.guarantees import VIOLATIONS
from verification.simulation.scenario import Layer

BUILD, DOCUMENT, README = ROOT / "build/evidence.json", ROOT / "docs/evidence.md", ROOT / "README.md"


def main() -> int:
    """Run the given parts, all by default. Returns 1 if a guarantee does not hold."""
    parser = argparse.ArgumentParser(prog="python -m verification", description=__doc__)
    parser.add_argument("--histories", type=int, default=1_000_000)
    parser.add_argument("parts", nargs="*", help="of " + ", ".join(_PARTS))
    options = parser.parse_args()
    if unknown := set(options.parts) - _PARTS.keys():
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(_PARTS)}")
    found: dict[str, Any] = json.loads(BUILD.read_text()) if BUILD.exists() else {}
    for name in options.parts or _PARTS:
        print(f"{name} …", flush=True)
        made_from = commit()
        found |= _PARTS[name](options.histories)
        found["made_from"] = found.get("made_from", {}) | {name: made_from}
        BUILD.parent.mkdir(exist_ok=True)
        BUILD.write_text(json.dumps(found, indent=1) + "\n")
    write_lifecycle(found)
    DOCUMENT.write_text(as_markdown(found))
    README.write_text(with_summary(README.read_text(), found))
    print(f"{BUILD}, {LIFECYCLE}, {DOCUMENT}, {README}")
    return 1 if violations(found) else 0


def violations(found: dict[str, Any]) -> int:
    """The number of violated guarantees, failed checks, missed defects and unlisted surviving mutants."""
    counted = [
        (found, (*VIOLATIONS, "doubled_without_cause")),
        (found.get("hostile", {}), HostileFindings.violations()),
        (found.get("lifecycle", {}), LifecycleFindings.violations()),
        (found.get("members", {}), GroupFindings.violations()),
        (found.get("shards", {}), ("items_in_no_or_two_shards",)),
        (found.get("model", {}), ("violations",)),
    ]
    shares = (
        ("crash_points", "enumerated", "converged"),
        ("defect_mutants", "total", "caught"),
        ("model", "mutants", "mutants_caught"),
    )
    listed = mutation.equivalents()
    return int(
        sum(part.get(name, 0) for part, names in counted for name in names)
        + sum(found[part][every] - found[part][good] for part, every, good in shares if part in found)
        + len(found.get("fuzz", {}).get("failures", ()))
        + sum(_violations_without(*row) for row in found.get("layers", {}).items())
        + sum(change not in listed for change in found.get("mutation", {}).get("survivors", ()))
    )


def _violations_without(disabled: str, row: dict[str, Any]) -> int:
    """Without the sweep, nothing bounds the life of an instance without a schedule: it may outlive its history."""
    late = row["promised"] is not None and row["max"] > row["promised"]
    leaks = row["leaks_past_bound"] if Layer.SWEEP not in disabled else 0
    return int(row["wrong_terminations"] + leaks + late)


def _defects() -> dict[str, Any]:
    rows = [
        {"defect": result.defect.title, "source": result.defect.source, "caught_by": result.by, "caught": result.caught}
        for result in run_defects(defects())
    ]
    return {"defect_mutants": {"total": len(rows), "caught": sum(bool(row["caught"]) for row in rows), "rows": rows}}


def _mutation() -> dict[str, Any]:
    # In a process that has not imported the code to be mutated. Its report counts, whatever its exit code.
    mutation.REPORT.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "verification.mutation"], cwd=ROOT, check=False)
    return {"mutation": json.loads(mutation.REPORT.read_text())}


_PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "crash-points": lambda _: {"crash_points": asdict(enumerate_crash_points())},
    "model": lambda _: {"model": asdict(check_model())},
    "histories": histories,
    "hostile": lambda count: {"hostile": run_histories("hostile", max(count // 10, 2000))},
    # Of schedules one for 500: it lasts for hours, and ten runs.
    "lifecycle": lambda count: {"lifecycle": run_histories("schedules", max(count // 500, 200))},
    "groups": lambda count: {"members": run_histories("groups", max(count // 20, 200)), "shards": shard_figures()},
    # One history per layer setting for 50 with all layers, one fuzzed input per target for 100 histories.
    "layers": lambda count: {"layers": layers(max(count // 50, 200)), "alarm_seconds": silent_sweep_seconds()},
    "fuzz": lambda count: {"fuzz": asdict(fuzz(min(max(count // 100, 200), 20_000)))},
    "defects": lambda _: _defects(),
    "mutation": lambda _: _mutation(),
}

if __name__ == "__main__":
    sys.exit(main())
