"""`chronos-ec2 monitor`."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.commands.runs.groups import follow_group
from chronos_ec2.cli.exit_codes import ExitCode
from chronos_ec2.cli.monitor_screen import History, screen
from chronos_ec2.cli.options import (
    AsJson,
    Bucket,
    Environment,
    Interval,
    OptionalRunOrGroup,
    Region,
    connect,
    on_interrupt,
)
from chronos_ec2.cli.output import as_document, console, dollars, print_json, print_waiting, print_warning, verdict_line
from chronos_ec2.client.patience import PatientReader
from chronos_ec2.domain.records.run import WAITING
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.services.groups.status import find_group
from chronos_ec2.services.kill import find_active
from chronos_ec2.services.logs import LogReader
from chronos_ec2.services.run_queries import RunView, find_run, list_instances


def monitor(
    run_id: OptionalRunOrGroup = None,
    interval: Interval = 5.0,
    compact: Annotated[bool, typer.Option("--compact", help="A line for each change, as without a terminal.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Follow a run until it is over and its instance is gone. A group is followed until all of its runs have ended.

    Shows progress, cost and the latest end on a terminal; elsewhere a line for each change.

    Exit code 0 only if it succeeded. Ctrl-C stops following; the run continues. While AWS does not answer or the
    credentials are expired, it says so and goes on, for up to an hour.
    """
    if run_id is not None and find_group(connect(environment, region, bucket).store, environment, run_id):
        succeeded = follow_group(environment, region, bucket, run_id, interval, json=json)
    else:
        succeeded = follow_run(environment, region, bucket, run_id, interval, compact=compact, json=json)
    if not succeeded:
        raise typer.Exit(ExitCode.FAILED)


def follow_run(
    environment: str,
    region: str | None,
    bucket: str | None,
    run_id: str | None,
    interval: float = 5.0,
    *,
    compact: bool = False,
    json: bool = False,
) -> bool:
    """Follow a run, by default the only active one, to its end. Returns whether it has succeeded."""
    reader = PatientReader(lambda: connect(environment, region, bucket), interval, print_warning)
    store = reader.world.store
    followed = find_active(store, environment, None).run.run_id if run_id is None else run_id
    find_run(store, environment, followed)  # what cannot be read at the start is an error, not an outage
    with on_interrupt(f"the run goes on; `chronos-ec2 monitor {followed}` follows it again"):
        if console.live and not compact:
            snapshot, cost = _show(reader, environment, followed, interval)
        else:
            snapshot, cost = _follow(reader, environment, followed, interval, json=json)
    run = snapshot.run
    if not json:
        console.print(verdict_line(run))
        console.print(f"cost      {dollars(cost)}")
        console.field("results   ", f"s3://{reader.world.stack.bucket}/{environment}/{followed}/")
    return run.verdict is not None and run.verdict.outcome is Outcome.SUCCEEDED


def _follow(
    reader: PatientReader, environment: str, run_id: str, interval: float, *, json: bool
) -> tuple[RunView, float | None]:
    """Print each change of a run until it no longer holds its lane."""
    phases_printed = 0
    shown: object = None
    with console.status(f"run {run_id}") as show:
        while True:
            snapshot, cost = reader.read(lambda world: _look(world, environment, run_id))
            run = snapshot.run
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
                return snapshot, cost
            show(f"run {run_id}: {run.status} ({run.current_step}) {snapshot.progress} {dollars(cost)}")
            time.sleep(interval)


def _show(reader: PatientReader, environment: str, run_id: str, interval: float) -> tuple[RunView, float | None]:
    """Show a run at a glance until it no longer holds its lane. Its phases stay on the terminal."""
    history, log = History(), LogReader(reader.world.store.objects, environment, run_id, "trainer")

    def look(world: OperatorWorld) -> tuple[RunView, float | None, datetime, list[str]]:
        log.objects = world.store.objects
        return *_look(world, environment, run_id), world.clock.now(), log.more()

    with console.screen() as show:
        while True:
            snapshot, cost, now, lines = reader.read(look)
            if not snapshot.active:
                break
            history.log.extend(lines)
            show(screen(snapshot, cost, now, history, reader.world.limits, unicode=console.unicode))
            time.sleep(interval)
    for status, moment in snapshot.run.phases:
        console.print(f"{moment:%H:%M:%S}  {status}")
    return snapshot, cost


def _look(world: OperatorWorld, environment: str, run_id: str) -> tuple[RunView, float | None]:
    """The run, and what it has cost until now."""
    snapshot = find_run(world.store, environment, run_id)
    return snapshot, snapshot.cost_usd(world.clock.now(), world.limits, list_instances(world.fleet, environment))
