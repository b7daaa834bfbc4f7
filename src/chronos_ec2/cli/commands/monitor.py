"""`chronos-ec2 monitor`."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.markup import escape

from chronos_ec2.cli.options import AsJson, Bucket, Environment, OptionalRunId, Region, connect
from chronos_ec2.cli.output import as_document, console, dollars, print_json, print_waiting, print_warning, verdict_line
from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.run import WAITING
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.services.kill import find_active
from chronos_ec2.services.run_queries import find_run, list_instances


def monitor(
    run_id: OptionalRunId = None,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between reads.")] = 5.0,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Follow a run until it is over and its instance is gone.

    Exit code 0 only if it succeeded. Ctrl-C stops following; the run continues.
    """
    world = connect(environment, region, bucket)
    run_id = run_id or find_active(world.store, environment, None).run.run_id
    phases_printed = 0
    shown: object = None
    with console.status(f"run {run_id}", spinner="dots") as spinner:
        while True:
            try:
                snapshot = find_run(world.store, environment, run_id)
            except (ServiceUnavailable, NotAllowed) as error:
                print_warning(f"{one_line(str(error))}; trying again")
                time.sleep(interval)
                continue
            run, cost = snapshot.run, snapshot.cost_usd(world.clock.now(), list_instances(world.fleet, environment))
            waiting = run.waiting if run.current_step == WAITING else None
            seen = (run.status, run.current_step, run.attempt, waiting, snapshot.active)
            if json and seen != shown:
                print_json(as_document(snapshot, cost))
            elif not json and seen != shown:
                # Several phases may pass between two reads; the record has them all.
                for status, moment in run.phases[phases_printed:]:
                    console.print(f"{moment:%H:%M:%S}  {status}")
                phases_printed = len(run.phases)
                if waiting:
                    console.print("waits for capacity")
                    print_waiting(waiting)
            shown = seen
            if not snapshot.active:
                break
            text = f"run {run_id}: {run.status} ({run.current_step}) {snapshot.progress} {dollars(cost)}"
            spinner.update(escape(one_line(text)))
            time.sleep(interval)
    if not json:
        console.print(verdict_line(run))
        console.print(f"cost      {dollars(cost)}")
        console.print(f"results   s3://{world.stack.bucket}/{environment}/{run_id}/")
    if run.verdict is None or run.verdict.outcome is not Outcome.SUCCEEDED:
        raise typer.Exit(1)
