"""`python -m verification.lifecycle.campaign`: histories of schedules or groups on all cores; 1 if one is violated."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from chronos_ec2.domain.limits import Limits
from verification.lifecycle import group_history, group_plan, history, plan
from verification.lifecycle.group_oracle import GROUP_VIOLATIONS
from verification.lifecycle.oracle import VIOLATIONS
from verification.simulation.campaign import begin_worker, without_log

_BATCH = 50
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of histories: how one is drawn and run, what may be violated in it, and what else is counted."""

    draw: Callable[[int], Any]
    run: Callable[..., Any]
    violations: tuple[str, ...]
    counted: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "schedules": Kind(plan.draw, history.run_lifecycle, VIOLATIONS, ("triggers", "runs", "promotions")),
    "groups": Kind(
        group_plan.draw, group_history.run_group, GROUP_VIOLATIONS, ("members", "whole", "killed", "spent_up")
    ),
}


@dataclass
class Campaign:
    """What a set of histories showed. `failed` holds seeds and what went wrong."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def add(self, other: Campaign) -> None:
        """Include another campaign."""
        self.counts.update(other.counts)
        self.failed += other.failed[: _SHOWN - len(self.failed)]

    @property
    def violations(self) -> int:
        """How often something was violated."""
        return sum(self.counts[name] for name in KINDS[self.kind].violations)

    def as_document(self) -> dict[str, Any]:
        """The figures."""
        kind = KINDS[self.kind]
        names = ("histories", *kind.violations, *kind.counted)
        return {name: self.counts[name] for name in names} | {"failed": self.failed}


def histories(kind: str, count: int, first_seed: int = 0) -> Campaign:
    """Run histories of consecutive seeds."""
    whole, starts = Campaign(kind), range(first_seed, first_seed + count, _BATCH)
    sizes = [min(_BATCH, first_seed + count - start) for start in starts]
    with ProcessPoolExecutor(initializer=begin_worker) if len(starts) > 1 else without_log() as pool:
        for part in (pool.map if pool else map)(_batch, [kind] * len(starts), starts, sizes):
            whole.add(part)
    return whole


def _batch(name: str, start: int, size: int) -> Campaign:
    kind, part = KINDS[name], Campaign(name, Counter(histories=size))
    for seed in range(start, start + size):
        found = kind.run(kind.draw(seed), Limits())
        part.counts.update({each: len(getattr(found, each)) for each in kind.violations})
        part.counts.update({each: int(getattr(found, each)) for each in kind.counted})
        part.failed += [f"{seed}: {text}" for text in found.failed]
    return part


def main() -> int:
    """Run histories, and print their figures; of a single one, everything that happens."""
    parser = argparse.ArgumentParser(prog="python -m verification.lifecycle.campaign", description=__doc__)
    parser.add_argument("--of", choices=[*KINDS], default="schedules", help="what they are of (default: schedules)")
    parser.add_argument("--histories", type=int, default=500, help="how many, of consecutive seeds (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    options = parser.parse_args()
    if options.histories == 1:
        kind = KINDS[options.of]
        drawn = kind.draw(options.seed)
        print(drawn)
        with without_log():
            failed = kind.run(drawn, Limits(), print).failed
        print("\n".join(f"FAILED  {text}" for text in failed))
        return bool(failed)
    campaign = histories(options.of, options.histories, options.seed)
    print(json.dumps(campaign.as_document(), indent=1))
    return bool(campaign.violations)


if __name__ == "__main__":
    sys.exit(main())
