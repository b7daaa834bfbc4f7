"""`chronos-ec2 simulate`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from chronos_ec2.cli.options import AsJson
from chronos_ec2.cli.output import console, print_json, print_table
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.limits import Limits


def simulate(
    histories: Annotated[int, typer.Option(min=1, help="How many, of consecutive seeds.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    without: Annotated[str, typer.Option(help="Kill layers to do without: L0,L2,L3.")] = "",
    json: AsJson = False,
) -> None:
    """Live through histories of the whole system in virtual time. Exit code 1 if anything happened that may not.

    With one history, everything that happens in it is told; one that fails is shrunk to what it needs to fail.
    """
    from chronos_ec2.simulation.history import run_history  # noqa: PLC0415 - the agent comes with it
    from chronos_ec2.simulation.plan import Layer, draw  # noqa: PLC0415
    from chronos_ec2.simulation.study import Study, shrink, study  # noqa: PLC0415

    by_name = {layer.value[:2]: layer for layer in Layer}
    if unknown := [name for name in filter(None, without.split(",")) if name not in by_name]:
        raise InvalidInput("--without", f"no layer {unknown[0]}", "one of " + ", ".join(by_name))
    off = frozenset(by_name[name] for name in filter(None, without.split(",")))
    limits, result = Limits(), Study()
    logging.disable()
    if histories == 1 and not json:
        console.print(repr(draw(seed)), markup=False)
        for problem in run_history(draw(seed), limits, lambda line: console.print(line, markup=False)).failed:
            console.print(f"[red]{problem}[/]")
    with console.status("simulating") as spinner:
        for result in study(histories, seed, limits, off):
            spinner.update(f"{result.histories} of {histories} histories, {result.violations} violations")
    document = result.as_document()
    if json:
        print_json(document)
    else:
        times = document.pop("time_to_terminate")
        print_table(("", ""), [(name.replace("_", " "), str(value)) for name, value in document.items()])
        rows = [(name, *(f"{value:g}" for value in row.values())) for name, row in times.items()]
        print_table(("seconds from failure to end", "n", "p50", "p99", "max", "promised"), rows)
    for failed in result.failed:
        console.print(f"seed {failed} fails as {shrink(draw(failed), limits)!r}", markup=False)
    if result.violations:
        raise typer.Exit(1)
