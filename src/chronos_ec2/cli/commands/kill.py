"""`chronos-ec2 kill`."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_ec2.cli.options import AsJson, Bucket, Environment, OptionalRunId, Region, connect
from chronos_ec2.cli.output import console, print_json
from chronos_ec2.services.kill import kill as kill_run


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
