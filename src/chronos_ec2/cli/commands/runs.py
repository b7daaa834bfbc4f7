"""`chronos-ec2 runs`."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import as_document, coloured_status, console, print_json, print_table, verdict_line
from chronos_ec2.domain.cost import cost_so_far, price_in
from chronos_ec2.services.run_queries import RunView, list_runs


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


def _cost(snapshot: RunView, now: datetime) -> str:
    run = snapshot.run
    cost = cost_so_far(run, run.created_at, now) if snapshot.active else run.spent_usd
    return "unknown" if cost is None or price_in(run) is None else f"${cost:.2f}"
