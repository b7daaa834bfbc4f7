"""`chronos-ec2 verify`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_findings, print_json, styled
from chronos_ec2.services.doctor.diagnosis import Health
from chronos_ec2.services.doctor.setup import diagnose_setup
from chronos_ec2.services.schedules.checks import diagnose_schedules
from chronos_ec2.services.verify import verify as find_what_is_left


def verify(
    environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False
) -> None:
    """Check that nothing is left: no instance, no upload, no lock. Exit code 1 if something is.

    Also warns about incomplete setup: a stack that is not ready, a sweep that is switched off, a bucket that sends no
    events, unconfirmed subscriptions, schedules that cannot start runs, and foreign objects among the locks.
    """
    world = connect(environment, region, bucket)
    left = find_what_is_left(environment, world.store, world.fleet, world.deadlines)
    checked = (
        *diagnose_setup(world.stack, world.store, world.setup_checks),
        *diagnose_schedules(world.schedules.orders, world.timetable),
    )
    found = [str(each) for each in checked if each.health is not Health.OK]
    if json:
        print_json({"environment": environment, "left": [asdict(finding) for finding in left], "warnings": found})
    else:
        print_findings(environment, left)
        for warning in found:
            console.print(styled("warning", "yellow"), f"  {warning}")
    if left:
        raise typer.Exit(1)
