"""`chronos-ec2 kill`, `cleanup` and `verify`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from chronos_ec2.cli.options import AsJson, Bucket, Environment, OptionalRunId, Region, connect
from chronos_ec2.cli.output import console, print_json, print_table
from chronos_ec2.domain.text import one_line
from chronos_ec2.services.kill import kill as kill_run
from chronos_ec2.services.stale_uploads import abort_stale_uploads
from chronos_ec2.services.verify import Finding, warnings
from chronos_ec2.services.verify import verify as find_what_is_left


def kill(
    run_id: OptionalRunId = None,
    now: Annotated[bool, typer.Option("--now", help="End the instance at once, without saving the work.")] = False,
    reason: Annotated[str, typer.Option(help="Kept in the record and told in the message.")] = "asked for by hand",
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """End a run: it gets the grace to save its work, then the watchdog ends its instance. `monitor` shows the end."""
    world = connect(environment, region, bucket)
    run = kill_run(run_id, world.store, world.reconciler, world.clock, reason, at_once=now)
    if json:
        print_json({"run_id": run.run_id, "status": run.status, "at_once": now})
        return
    grace = world.limits.grace.total_seconds()
    how = "its instance is being terminated" if now else f"it has {grace:.0f} s to save its work"
    console.print(f"run [bold]{run.run_id}[/]: {how}")
    console.print(f"  next      chronos-ec2 monitor {run.run_id} --environment {environment}")


def cleanup(
    wait: Annotated[float, typer.Option(min=0, help="Seconds to go on until nothing stale is left.")] = 0,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Do now what the watchdog does each minute: end stale runs and instances without a record. Healthy runs go on.

    Uploads that no run is left to end are aborted too. Ambiguous cases need two looks; `--wait 180` is enough for both.
    Exit code 1 if something is left.
    """
    world = connect(environment, region, bucket)
    end = time.monotonic() + wait
    while True:
        reports = world.reconciler.sweep()
        abort_stale_uploads(environment, world.store, world.fleet)
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
            console.print(f"lane {report.lane.name}: {report.error or report.decision.reason}", markup=False)
        _print_findings(environment, left)
    if any(report.error for report in reports):
        raise typer.Exit(3)
    if left:
        raise typer.Exit(1)


def verify(
    environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False
) -> None:
    """Prove that nothing that costs is left, no instance, no upload, and no lock. Exit code 1 if something is.

    It warns of a bucket that does not tell of its objects, of subscriptions that nobody has confirmed, and of what lies
    where locks do and is none.
    """
    world = connect(environment, region, bucket)
    left = find_what_is_left(environment, world.store, world.fleet, world.deadlines)
    found = warnings(environment, world.stack.region, world.store, world.wiring)
    if json:
        print_json({"environment": environment, "left": [asdict(finding) for finding in left], "warnings": found})
    else:
        _print_findings(environment, left)
        for warning in found:
            console.print(f"[yellow]warning[/]  {escape(one_line(warning))}")
    if left:
        raise typer.Exit(1)


def _print_findings(environment: str, left: tuple[Finding, ...]) -> None:
    if not left:
        looked_at = "instances, volumes, interfaces, spot requests, schedules, uploads, locks"
        console.print(f"[green]environment {environment}: nothing is left[/] ({looked_at})")
        return
    print_table(
        ("what", "name", "state", "run"),
        [(finding.kind, finding.name, finding.state, finding.run_id or "none") for finding in left],
    )
