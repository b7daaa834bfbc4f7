"""`python -m verification.campaign`: histories of one kind on all cores; 1 if something was violated.

With one history, everything that happens in it is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from verification.findings import Findings
from verification.hostile import plan as hostile_plan
from verification.hostile.history import HostileHistory
from verification.lifecycle import plan
from verification.lifecycle.group_history import GroupHistory
from verification.lifecycle.history import LifecycleHistory
from verification.lifecycle.runs import LauncherHistory
from verification.simulation.campaign import on_all_cores, without_log

_BATCH = 50
_SHOWN = 20
KINDS: dict[str, tuple[Callable[[int], Any], Callable[..., HostileHistory | LauncherHistory]]] = {
    "hostile": (hostile_plan.draw, HostileHistory),
    "schedules": (plan.draw, LifecycleHistory),
    "groups": (plan.draw_group, GroupHistory),
}
"""Of each kind, how the plan of a seed is drawn, and what lets it happen."""


def run_histories(kind: str, count: int, first_seed: int = 0) -> dict[str, Any]:
    """Histories of consecutive seeds: the sum of each count, the greatest of those named `_max`, and what failed."""
    counts, failed = Counter(histories=count), list[str]()
    seeds = range(first_seed, first_seed + count)
    for seed, found in on_all_cores(partial(_run_one, kind), seeds, _BATCH):
        for name, number in found.counts.items():
            counts[name] = max(counts[name], number) if name.endswith("_max") else counts[name] + number
        failed += [f"{seed}: {text}" for text in found.failed]
    return {**counts, "failed": failed[:_SHOWN]}


def _run_one(kind: str, seed: int) -> Findings:
    draw, history = KINDS[kind]
    return history(draw(seed)).judged()


def main() -> int:
    """Run histories, and print their figures."""
    parser = argparse.ArgumentParser(prog="python -m verification.campaign", description=__doc__)
    parser.add_argument("kind", choices=[*KINDS], help="what they are of")
    parser.add_argument("--histories", type=int, default=500, help="how many, of consecutive seeds (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    options = parser.parse_args()
    if options.histories == 1:
        draw, history = KINDS[options.kind]
        print(drawn := draw(options.seed))
        with without_log():
            failed = history(drawn, print).judged().failed
        print("\n".join(f"FAILED  {text}" for text in failed))
        return bool(failed)
    figures = run_histories(options.kind, options.histories, options.seed)
    print(json.dumps(figures, indent=1))
    return bool(figures["failed"])


if __name__ == "__main__":
    sys.exit(main())
