"""`python -m verification.simulation`: histories of the whole system in virtual time; 1 if an invariant is violated.

With one history, everything that happens in it is printed. Scenarios that fail are shrunk to what they need to fail,
and of the first one everything that happens is printed.
"""

from __future__ import annotations

import argparse
import json
import sys

from chronos_ec2.domain.limits import Limits
from verification.simulation.campaign import Campaign, problems, scenario_of, shrink, study, without_log
from verification.simulation.runner import run_history
from verification.simulation.scenario import Layer, Scenario

_LAYERS = {layer.value[:2]: layer for layer in Layer}


def main(arguments: list[str]) -> int:
    """Run histories, and print their figures."""
    parser = argparse.ArgumentParser(prog="python -m verification.simulation", description=__doc__)
    parser.add_argument("--histories", type=int, default=2000, help="how many, of consecutive seeds (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--without", type=_layers, default=frozenset(), help="kill layers to switch off: L0,L2,L3")
    parser.add_argument("--json", action="store_true", help="print the figures alone, in one line")
    options = parser.parse_args(arguments)
    off, limits, campaign = options.without, Limits(), Campaign()
    with without_log():
        if options.histories == 1 and not options.json:
            _print_history(scenario_of(options.seed, off), limits)
        for campaign in study(options.histories, options.seed, limits, off):
            print(
                f"{campaign.counts['histories']} of {options.histories} histories, {campaign.violations} violations",
                file=sys.stderr,
            )
        figures = campaign.as_document() | {"failed_seeds": campaign.failed}
        print(json.dumps(figures, indent=None if options.json else 1))
        smallest = {} if options.json else {seed: shrink(scenario_of(seed, off), limits) for seed in campaign.failed}
        for seed, scenario in smallest.items():
            print(f"seed {seed} fails as {scenario}")
        if smallest:
            _print_history(next(iter(smallest.values())), limits)
    return 1 if campaign.violations else 0


def _layers(names: str) -> frozenset[Layer]:
    if unknown := [name for name in names.split(",") if name not in _LAYERS]:
        raise argparse.ArgumentTypeError(f"no layer {unknown[0]}; there are {', '.join(_LAYERS)}")
    return frozenset(_LAYERS[name] for name in names.split(","))


def _print_history(scenario: Scenario, limits: Limits) -> None:
    print(scenario)
    for problem in problems(scenario, run_history(scenario, limits, print)):
        print(f"FAILED  {problem}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
