"""`chronos-ec2 kill`."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.options import AsJson, Bucket, Environment, OptionalRunOrGroup, Region, connect, on_interrupt
from chronos_ec2.cli.output import console, print_json, styled
from chronos_ec2.services.groups.status import find_group
from chronos_ec2.services.kill import kill as kill_run


def kill(
    run_id: OptionalRunOrGroup = None,
    now: Annotated[bool, typer.Option("--now", help="Terminate the instance at once, without saving.")] = False,
    reason: Annotated[str, typer.Option(help="Goes into the record and the message.")] = "requested by the operator",
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """End a run after it has saved its work. If it takes too long, the watchdog terminates its instance.

    Of a group: none of its runs starts any more, and those that are active end.
    """
    world = connect(environment, region, bucket)
    if run_id is not None and find_group(world.store, environment, run_id):
        _kill_group(world, environment, run_id, reason, at_once=now, json=json)
        return
    with on_interrupt("the request may have been written; `chronos-ec2 runs` shows it, and kill again is safe"):
        run = kill_run(run_id, world.store, world.reconciler, world.clock, reason, at_once=now)
    if json:
        print_json({"run_id": run.run_id, "status": run.status, "at_once": now})
        return
    grace = world.limits.grace.total_seconds()
    how = "its instance is being terminated" if now else f"it has {grace:.0f} s to save its work"
    console.print("run ", styled(run.run_id, "bold"), f": {how}")
    console.print(f"  next      chronos-ec2 monitor {run.run_id} --environment {environment}")


def _kill_group(world: OperatorWorld, environment: str, name: str, reason: str, *, at_once: bool, json: bool) -> None:
    with on_interrupt(f"some runs may have been told to end; `chronos-ec2 kill {name}` again is safe"):
        ledger = world.groups.kill(name, world.reconciler, reason, at_once=at_once)
    ended = [one.run_id for one in ledger.entries if one.succeeded is None]
    if json:
        print_json({"group": name, "runs": ended, "at_once": at_once})
        return
    console.print("group ", styled(name, "bold"), f": no run starts any more, {len(ended)} are being ended")
    console.print(f"  next      chronos-ec2 monitor {name} --environment {environment}")
