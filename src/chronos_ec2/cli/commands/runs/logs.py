"""`chronos-ec2 logs`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.options import Bucket, Environment, Interval, OptionalRunId, Region, connect, on_interrupt
from chronos_ec2.cli.output import print_warning
from chronos_ec2.client.patience import PatientReader
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import check_name, printable
from chronos_ec2.services.kill import find_active
from chronos_ec2.services.logs import LogReader, log_names
from chronos_ec2.services.run_queries import find_run

_MAX_LINE = 10_000


def logs(
    run_id: OptionalRunId = None,
    log: Annotated[str, typer.Option(help="Which log: trainer, agent or boot.")] = "trainer",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the run is over.")] = False,
    interval: Interval = 5.0,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
) -> None:
    """Print a log of a run. While the run is active, the log is about 30 s behind.

    While AWS does not answer or the credentials are expired, --follow says so and goes on, for up to an hour.
    """
    check_name(log, "--log")
    patient = PatientReader(lambda: connect(environment, region, bucket), interval, print_warning)
    world = patient.world
    if run_id is None:
        run_id = find_active(world.store, environment, None).run.run_id
    active = find_run(world.store, environment, run_id).active
    found = log_names(world.store.objects, environment, run_id)
    if log not in found and not (follow and active):
        remedy = f"available: {', '.join(found) or 'none'}"
        raise InvalidInput("--log", f"run {run_id} has no {log} log in the bucket", remedy)
    reader = LogReader(world.store.objects, environment, run_id, log)
    _print(reader.more())
    with on_interrupt(f"the run goes on; `chronos-ec2 logs {run_id} --follow` follows it again"):
        while follow and active:
            time.sleep(interval)
            # Before the log is read: a run that ends in between still has its last lines printed.
            active = patient.read(lambda world: find_run(world.store, environment, run_id).active)
            _print(patient.read(lambda world: _more(reader, world)))
    _print(reader.rest())


def _more(reader: LogReader, world: OperatorWorld) -> list[str]:
    reader.objects = world.store.objects
    return reader.more()


def _print(lines: list[str]) -> None:
    for line in lines:
        print(printable(line)[:_MAX_LINE].rstrip())
