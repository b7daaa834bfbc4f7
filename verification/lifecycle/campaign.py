"""`python -m verification.lifecycle.campaign`: histories of schedules on all cores; 1 if something was violated."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from chronos_ec2.domain.limits import Limits
from verification.lifecycle.history import run_lifecycle
from verification.lifecycle.oracle import VIOLATIONS
from verification.lifecycle.plan import draw
from verification.simulation.campaign import begin_worker, without_log

_BATCH = 50
_SHOWN = 20


@dataclass
class Campaign:
    """What a set of histories showed. `failed` holds seeds and what went wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def add(self, other: Campaign) -> None:
        """Include another campaign."""
        self.counts.update(other.counts)
        self.failed += other.failed[: _SHOWN - len(self.failed)]

    @property
    def violations(self) -> int:
        """How often something was violated."""
        return sum(self.counts[name] for name in VIOLATIONS)

    def as_document(self) -> dict[str, Any]:
        """The figures."""
        names = ("histories", *VIOLATIONS, "triggers", "runs", "promotions")
        return {name: self.counts[name] for name in names} | {"failed": self.failed}


def lifecycle_histories(count: int, first_seed: int = 0) -> Campaign:
    """Run histories of consecutive seeds."""
    whole, starts = Campaign(), range(first_seed, first_seed + count, _BATCH)
    sizes = [min(_BATCH, first_seed + count - start) for start in starts]
    with ProcessPoolExecutor(initializer=begin_worker) if len(starts) > 1 else without_log() as pool:
        for part in (pool.map if pool else map)(_batch, starts, sizes):
            whole.add(part)
    return whole


def _batch(start: int, size: int) -> Campaign:
    part = Campaign(Counter(histories=size))
    for seed in range(start, start + size):
        found = run_lifecycle(draw(seed), Limits())
        part.counts.update({name: len(getattr(found, name)) for name in VIOLATIONS})
        part.counts.update(triggers=found.triggers, runs=found.runs, promotions=found.promotions)
        part.failed += [f"{seed}: {text}" for text in found.failed]
    return part


def main() -> int:
    """Run histories, and print their figures; of a single one, everything that happens."""
    parser = argparse.ArgumentParser(prog="python -m verification.lifecycle.campaign", description=__doc__)
    parser.add_argument("--histories", type=int, default=500, help="how many, of consecutive seeds (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    options = parser.parse_args()
    if options.histories == 1:
        plan = draw(options.seed)
        print(plan)
        with without_log():
            failed = run_lifecycle(plan, Limits(), print).failed
        print("\n".join(f"FAILED  {text}" for text in failed))
        return bool(failed)
    campaign = lifecycle_histories(options.histories, options.seed)
    print(json.dumps(campaign.as_document(), indent=1))
    return bool(campaign.violations)


if __name__ == "__main__":
    sys.exit(main())
