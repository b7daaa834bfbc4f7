"""`chronos-ec2 doctor`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

import typer

from chronos_ec2.cli.exit_codes import ExitCode
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, joined, print_json, styled
from chronos_ec2.services.doctor.account import Doctor
from chronos_ec2.services.doctor.diagnosis import Health
from chronos_ec2.services.groups.checks import diagnose_groups
from chronos_ec2.services.schedules.checks import diagnose_schedules

_COLOURS = {Health.OK: "green", Health.WARNING: "yellow", Health.BROKEN: "red"}


def doctor(
    environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False
) -> None:
    """Check what a launch depends on, and say how to mend it. Changes nothing.

    Exit code 1 if something is broken: a guarantee does not hold, or nothing can be launched.
    """
    world = connect(environment, region, bucket)
    doctor = Doctor(
        world.stack, world.store, world.setup_checks, world.launch_checks, world.catalogue, world.prices,
        version("chronos-ec2"),
    )  # fmt: skip
    found = (
        *doctor.diagnose(world.clock.now(), datetime.now(UTC)),
        *diagnose_schedules(world.schedules.orders, world.timetable),
        *diagnose_groups(world.groups.orders, world.store),
    )
    if json:
        print_json({"environment": environment, "parts": [asdict(each) for each in found]})
    else:
        for each in found:
            console.field(joined(styled(f"{each.health:<8}", _COLOURS[each.health]), f" {each.part:<9} "), each.text)
            if each.remedy:
                console.field(" " * 19, each.remedy)
    if any(each.health is Health.BROKEN for each in found):
        raise typer.Exit(ExitCode.FAILED)
