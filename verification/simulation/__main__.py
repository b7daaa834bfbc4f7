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
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
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
        if options.json:
            print(json.dumps(campaign.as_document() | {"failed_seeds": campaign.failed}))
        else:
            _print_figures(campaign)
            _print_failures([(seed, shrink(scenario_of(seed, off), limits)) for seed in campaign.failed], limits)
    return 1 if campaign.violations else 0


def _layers(names: str) -> frozenset[Layer]:
    if unknown := [name for name in names.split(",") if name not in _LAYERS]:
        raise argparse.ArgumentTypeError(f"no layer {unknown[0]}; there are {', '.join(_LAYERS)}")
    return frozenset(_LAYERS[name] for name in names.split(","))


def _print_history(scenario: Scenario, limits: Limits) -> None:
    print(scenario)
    for problem in problems(scenario, run_history(scenario, limits, print)):
        print(f"FAILED  {problem}")


def _print_figures(campaign: Campaign) -> None:
    document = campaign.as_document()
    times = document.pop("time_to_terminate")
    for name, value in document.items():
        print(f"{name.replace('_', ' '):24} {value:10,}")
    print(
        f"\n{'seconds from failure to end':62}" + "".join(f"{name:>8}" for name in ("n", "p50", "p99", "max", "bound"))
    )
    for name, row in times.items():
        print(f"{name:62}" + "".join(f"{value:8g}" for value in row.values()))


def _print_failures(failures: list[tuple[int, Scenario]], limits: Limits) -> None:
    for seed, scenario in failures:
        print(f"seed {seed} fails as {scenario}")
    if failures:
        _print_history(failures[0][1], limits)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
