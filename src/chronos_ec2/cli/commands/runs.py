"""`chronos-ec2 runs`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import (
    as_document,
    coloured_status,
    console,
    dollars,
    joined,
    print_json,
    print_table,
    verdict_line,
)
from chronos_ec2.domain.records.run import Run
from chronos_ec2.services.run_queries import RunView, UnreadRun, list_instances, list_runs


def runs(
    limit: Annotated[int, typer.Option(min=1, help="How many runs to list.")] = 20,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """List the runs of an environment, newest first."""
    world = connect(environment, region, bucket)
    found, now = list_runs(world.store, environment, limit), world.clock.now()
    listed = list_instances(world.fleet, environment)

    def row(run: RunView | UnreadRun) -> tuple[str | Text, ...]:
        if isinstance(run, UnreadRun):
            return run.run_id, "", "unknown", "", "unknown", f"could not be read: {run.problem}"
        status, cost = coloured_status(run.run), dollars(run.cost_usd(now, listed))
        about = filter(None, (verdict_line(run.run) or joined(run.progress), joined(_takes_up(run.run))))
        return run.run.run_id, run.run.lane.name, status, str(run.run.attempt), cost, Text(", ").join(about)

    if json:
        print_json(
            [
                {"run_id": run.run_id, "error": run.problem}
                if isinstance(run, UnreadRun)
                else as_document(run, run.cost_usd(now, listed))
                for run in found
            ]
        )
        return
    if not found:
        console.print(f"no runs yet in environment {environment}")
        return
    print_table(("run", "lane", "status", "attempt", "cost", ""), [row(run) for run in found])


def _takes_up(run: Run) -> str:
    return f"takes up {run.parent}" if run.parent else ""
