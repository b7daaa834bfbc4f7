"""`chronos-ec2 verify`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.completion import groups
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_findings, print_json, styled
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import did_you_mean
from chronos_ec2.services.doctor.diagnosis import Health
from chronos_ec2.services.doctor.setup import diagnose_setup
from chronos_ec2.services.groups.checks import diagnose_groups
from chronos_ec2.services.groups.status import find_group
from chronos_ec2.services.schedules.checks import diagnose_schedules
from chronos_ec2.services.verify import Finding
from chronos_ec2.services.verify import verify as find_what_is_left


def verify(
    group: Annotated[
        str | None, typer.Argument(help="Only what belongs to the runs of this group.", autocompletion=groups)
    ] = None,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Check that nothing is left: no instance, no upload, no lock. Exit code 1 if something is.

    Also warns about incomplete setup: a stack that is not ready, a sweep that is switched off, a bucket that sends no
    events, unconfirmed subscriptions, schedules that cannot start runs, groups that nobody goes on with, and foreign
    objects among the locks.
    """
    world = connect(environment, region, bucket)
    left = find_what_is_left(environment, world.store, world.fleet, world.deadlines)
    if group is not None:
        left = _of_group(world, environment, group, left)
    checked = (
        *diagnose_setup(world.stack, world.store, world.setup_checks),
        *diagnose_schedules(world.schedules.orders, world.timetable),
        *diagnose_groups(world.groups.orders, world.store),
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


def _of_group(world: OperatorWorld, environment: str, name: str, left: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """What is left of the runs of a group. Raises InvalidInput if there is none of that name."""
    view = find_group(world.store, environment, name)
    if view is None:
        raise InvalidInput(
            "GROUP",
            f"there is no group {name}",
            did_you_mean(name, world.groups.orders.names(), f"`chronos-ec2 verify --environment {environment}`"),
        )
    runs = {one.run_id for one in view.members}
    return tuple(one for one in left if one.run_id in runs or runs & set(one.name.split("/")))
