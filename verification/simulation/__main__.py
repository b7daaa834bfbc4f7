"""`chronos-ec2 simulate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from chronos_ec2.cli.options import AsJson
from chronos_ec2.cli.output import console, print_json, print_table
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits

if TYPE_CHECKING:
    from verification.simulation.scenario import Scenario


def simulate(
    histories: Annotated[int, typer.Option(min=1, help="How many, of consecutive seeds.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    without: Annotated[str, typer.Option(help="Kill layers to do without: L0,L2,L3.")] = "",
    json: AsJson = False,
) -> None:
    """Live through histories of the whole system in virtual time. Exit code 1 if anything happened that may not.

    With one history, everything that happens in it is told. Those that fail are shrunk to what they need to fail, and
    of the first of them everything is told that happens in what is left.
    """
    from verification.simulation.campaign import Campaign, plan_of, problems, shrink, study, without_log  # noqa: PLC0415
    from verification.simulation.runner import run_history  # noqa: PLC0415 - the agent comes with it
    from verification.simulation.scenario import Layer  # noqa: PLC0415

    by_name = {layer.value[:2]: layer for layer in Layer}
    if unknown := [name for name in filter(None, without.split(",")) if name not in by_name]:
        raise InvalidInput("--without", f"no layer {unknown[0]}", "one of " + ", ".join(by_name))
    off = frozenset(by_name[name] for name in filter(None, without.split(",")))
    limits, result = Limits(), Campaign()

    def told(plan: Scenario) -> None:
        console.print(repr(plan), markup=False)
        for problem in problems(plan, run_history(plan, limits, lambda line: console.print(line, markup=False))):
            console.print(f"[red]{problem}[/]")

    with without_log():
        if histories == 1 and not json:
            told(plan_of(seed, off))
        with console.status("simulating") as spinner:
            for result in study(histories, seed, limits, off):
                spinner.update(f"{result.histories} of {histories} histories, {result.violations} violations")
        document = result.as_document()
        if json:
            print_json(document | {"failed_seeds": result.failed})
        else:
            times = document.pop("time_to_terminate")
            print_table(("", ""), [(name.replace("_", " "), str(value)) for name, value in document.items()])
            rows = [(name, *(f"{value:g}" for value in row.values())) for name, row in times.items()]
            print_table(("seconds from failure to end", "n", "p50", "p99", "max", "promised"), rows)
        if result.failed and not json:
            smallest = [shrink(plan_of(failed, off), limits) for failed in result.failed]
            for failed, plan in zip(result.failed, smallest, strict=True):
                console.print(f"seed {failed} fails as {plan!r}", markup=False)
            told(smallest[0])
    if result.violations:
        raise typer.Exit(1)
