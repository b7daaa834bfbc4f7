"""`chronos-ec2 cleanup`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect, on_interrupt, within
from chronos_ec2.cli.output import console, print_findings, print_json
from chronos_ec2.services.verify import verify as find_what_is_left
from chronos_ec2.services.watchdog.orphan_uploads import abort_orphan_uploads


def cleanup(
    wait: Annotated[
        float,
        typer.Option(
            help="Repeat for up to so many seconds, until nothing is left.", callback=within("--wait", 0, 86_400)
        ),
    ] = 0,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Run one watchdog pass now, and abort orphaned uploads. Healthy runs are left alone.

    Ambiguous cases are ended on the second look only; `--wait 180` allows for both. Exit code 1 if something is left.
    """
    world = connect(environment, region, bucket)
    end = time.monotonic() + wait
    with on_interrupt("the watchdog's next sweep goes on with what was begun"):
        while True:
            reports = world.reconciler.sweep()
            abort_orphan_uploads(environment, world.store, world.fleet)
            left = find_what_is_left(environment, world.store, world.fleet, world.deadlines)
            if not left or time.monotonic() >= end:
                break
            time.sleep(min(10, max(end - time.monotonic(), 0)))
    if json:
        decisions = [
            {"lane": report.lane.name, "reason": report.decision.reason, "error": report.error} for report in reports
        ]
        print_json({"environment": environment, "decisions": decisions, "left": [asdict(finding) for finding in left]})
    else:
        for report in reports:
            console.print(f"lane {report.lane.name}: {report.error or report.decision.reason}")
        print_findings(environment, left)
    if any(report.error for report in reports):
        raise typer.Exit(3)
    if left:
        raise typer.Exit(1)
