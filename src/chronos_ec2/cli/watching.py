"""`chronos-ec2 monitor` and `chronos-ec2 runs`."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape

from chronos_ec2.cli.options import AsJson, Bucket, Environment, OptionalRunId, Region, connect
from chronos_ec2.cli.output import as_document, coloured_status, console, print_json, print_table, verdict_line
from chronos_ec2.domain.cost import cost_so_far, price_in
from chronos_ec2.domain.run import Outcome
from chronos_ec2.domain.text import one_line
from chronos_ec2.services.history import Snapshot, look
from chronos_ec2.services.history import runs as list_runs
from chronos_ec2.services.kill import find_active


def monitor(
    run_id: OptionalRunId = None,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between looks.")] = 5.0,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Watch a run until it is over and its instance is gone.

    Exit code 0 only if it succeeded. Ctrl-C stops the watching, not the run.
    """
    world = connect(environment, region, bucket)
    run_id = run_id or find_active(world.store, environment, None).run.run_id
    told = 0
    shown: object = None
    with console.status(f"run {run_id}", spinner="dots") as spinner:
        while True:
            snapshot = look(world.store, environment, run_id)
            run = snapshot.run
            seen = (run.status, run.current_step, run.attempt, snapshot.active)
            if json and seen != shown:
                print_json(as_document(snapshot))
            elif not json and seen != shown:
                # A phase may begin and end between two looks; the record knows them all.
                for status, moment in run.phases[told:]:
                    console.print(f"{moment:%H:%M:%S}  {status}")
                told = len(run.phases)
            shown = seen
            if not snapshot.active:
                break
            spinner.update(escape(one_line(f"run {run_id}: {run.status} ({run.current_step}) {snapshot.progress}")))
            time.sleep(interval)
    if not json:
        console.print(verdict_line(run))
        console.print(f"results   s3://{world.stack.bucket}/{environment}/{run_id}/")
    if run.verdict is None or run.verdict.outcome is not Outcome.SUCCEEDED:
        raise typer.Exit(1)


def runs(environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False) -> None:
    """List the runs of an environment, newest first."""
    world = connect(environment, region, bucket)
    found, now = list_runs(world.store, environment), world.clock.now()
    if json:
        print_json([as_document(snapshot) for snapshot in found])
        return
    if not found:
        console.print(f"no runs yet in environment {environment}")
        return
    print_table(
        ("run", "lane", "status", "attempt", "cost", ""),
        [
            (
                snapshot.run.run_id,
                snapshot.run.lane.name,
                coloured_status(snapshot.run),
                str(snapshot.run.attempt),
                _cost(snapshot, now),
                verdict_line(snapshot.run) or snapshot.progress,
            )
            for snapshot in found
        ],
    )


def _cost(snapshot: Snapshot, now: datetime) -> str:
    run = snapshot.run
    cost = cost_so_far(run, run.created_at, now) if snapshot.active else run.spent_usd
    return "unknown" if cost is None or price_in(run) is None else f"${cost:.2f}"
