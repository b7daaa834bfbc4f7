"""`chronos-ec2 logs`."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated

import typer

from chronos_ec2.cli.options import Bucket, Environment, OptionalRunId, Region, connect
from chronos_ec2.cli.output import print_warning
from chronos_ec2.domain.errors import InvalidInput, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.parsing.names import check_name, one_line
from chronos_ec2.services.kill import find_active
from chronos_ec2.services.logs import LogReader, log_names
from chronos_ec2.services.run_queries import find_run

_MAX_LINE = 10_000


def logs(
    run_id: OptionalRunId = None,
    log: Annotated[str, typer.Option(help="Which log: trainer, agent or boot.")] = "trainer",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines until the run is over.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between reads.")] = 5.0,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
) -> None:
    """Print a log of a run. While the run is active, the log is about 30 s behind."""
    check_name(log, "--log")
    world = connect(environment, region, bucket)
    run_id = run_id or find_active(world.store, environment, None).run.run_id
    active = find_run(world.store, environment, run_id).active
    found = log_names(world.store.objects, environment, run_id)
    if log not in found and not (follow and active):
        remedy = f"available: {', '.join(found) or 'none'}"
        raise InvalidInput("--log", f"run {run_id} has no {log} log in the bucket", remedy)
    reader = LogReader(world.store.objects, environment, run_id, log)
    while True:
        over = not (follow and active)
        try:
            _print(reader.more())
        except (ServiceUnavailable, NotAllowed) as error:
            if over:
                raise
            print_warning(f"{one_line(str(error))}; trying again")
        if over:
            _print(reader.rest())
            return
        time.sleep(interval)
        # Before the log is read: a run that ends in between still has its last lines printed.
        with suppress(ServiceUnavailable, NotAllowed):
            active = find_run(world.store, environment, run_id).active


def _print(lines: list[str]) -> None:
    for line in lines:
        print(one_line(line, _MAX_LINE))
