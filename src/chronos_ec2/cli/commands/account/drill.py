"""`chronos-ec2 drill`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.options import (
    AsJson,
    Bucket,
    Environment,
    Region,
    check_target,
    confirm,
    connect,
    on_interrupt,
    within,
)
from chronos_ec2.cli.output import console, dollars, print_json, print_table, print_warning, styled
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.parsing.names import counted, split_instance_types
from chronos_ec2.domain.parsing.times import format_time, human_span
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.services.drill.case import Row
from chronos_ec2.services.drill.drill import Drill
from chronos_ec2.services.drill.faults import Fault, chosen_faults
from chronos_ec2.services.launch.spec import LaunchRequest, LaunchSpec
from chronos_ec2.services.prices import hourly_price
from chronos_ec2.services.smoke_test import probe_config
from chronos_ec2.services.verify import Finding

_COLUMNS = ("fault", "seconds", "guaranteed", "ended", "verdict")


def drill(
    only: Annotated[
        str | None,
        typer.Option(help="Only these faults, by name or pattern: hang,agent-*. Default: all but sweep-off."),
    ] = None,
    instance_type: Annotated[str, typer.Option(help="The type of the instances that come to harm.")] = "t3.small",
    at_once: Annotated[int, typer.Option(help="Instances at a time.", callback=within("--at-once", 1, 50))] = 6,
    output: Annotated[Path, typer.Option(help="Where the result is written as JSON.")] = Path("drill.json"),
    interval: Annotated[float, typer.Option(help="Seconds between looks.", callback=within("--interval", 0.2, 60))] = 5,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Harm probe runs, to prove that their instances end in time. Costs cents.

    Launches probe runs in lanes of their own, harms each in another way, and takes from EC2 how long its instance
    lives on. Exit code 1 if one outlives its guarantee, if a verdict is wrong, or if anything is left.
    """
    faults = chosen_faults(only)
    check_target("--output", output, folder=False)
    if len(split_instance_types(instance_type)) > 1:
        raise InvalidInput("--instance-type", "a drill is about one type", "such as t3.small")
    world = connect(environment, region, bucket)
    drill = _drill(world, instance_type, at_once)
    price = hourly_price(world.prices, world.stack.region, instance_type, world.stack.volume_gib)
    hours = (drill.max_runtime + world.limits.deadline_bound) / timedelta(hours=1)
    most = None if price is None else price * hours * len(faults)
    if not json:
        longest = human_span(drill.max_runtime)
        runs = counted(len(faults), "run")
        console.print(f"{runs} on {instance_type}, each for {longest} at the longest: at most {dollars(most)}")
    if any(fault.opt_in for fault in faults):
        print_warning(
            f"sweep-off switches the sweep of environment {environment} off: until it is on again, only "
            "EventBridge Scheduler and the instances themselves end instances"
        )
    if not (yes or json) and sys.stdin.isatty() and sys.stderr.isatty():
        confirm("start them?")
    began = world.clock.now()
    with on_interrupt("the watchdog ends what the drill has launched, within its guarantees"):
        rows = _followed(drill, faults, interval)
        left = drill.left()
    usd = sum(row.usd or 0.0 for row in rows)
    document: dict[str, Any] = {
        "environment": environment, "region": world.stack.region, "stack": world.stack.name,
        "stack_status": world.stack.status, "version": version("chronos-ec2"), "instance_type": instance_type,
        "began": format_time(began), "ended": format_time(world.clock.now()), "usd": usd,
        "limits": world.limits.to_seconds(), "rows": [row.as_document() for row in rows],
        "left": [asdict(finding) for finding in left],
    }  # fmt: skip
    output.write_bytes(dump_json(document))
    if json:
        print_json(document)
    else:
        _conclude(rows, left, usd, output)
    if left or not all(row.kept for row in rows):
        raise typer.Exit(1)


def _drill(world: OperatorWorld, instance_type: str, at_once: int) -> Drill:
    preparation = world.launch_preparation(lambda _line: None, print_warning)

    def prepare(fault: Fault, lane: Lane) -> LaunchSpec:
        request = LaunchRequest(
            lane, probe_config(fault.minutes, fault.ending), instance_types=instance_type, allow_cpu=True
        )
        return preparation.publish(request, preparation.plan(request))

    return Drill(
        world.stack.environment, world.store, world.fleet, world.deadlines, world.reconciler, world.clock,
        world.limits, world.sweep, prepare, at_once,
    )  # fmt: skip


def _followed(drill: Drill, faults: Sequence[Fault], interval: float) -> tuple[Row, ...]:
    """Run the drill; show the table while it changes, or without a terminal a line for each row that is complete."""
    rows: tuple[Row, ...] = ()
    told: set[str] = set()
    with ExitStack() as stack:
        show = stack.enter_context(console.screen()) if console.live else None
        for rows in drill.run(faults, lambda: time.sleep(interval)):
            if show:
                show(_table(rows))
                continue
            for row in rows:
                if row.fault not in told and not console.json and row.complete:
                    told.add(row.fault)
                    console.print("  ".join(str(cell) for cell in _cells(row)))
    return rows


def _table(rows: Sequence[Row]) -> Table:
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> tuple[str | Text, ...]:
    seconds = "" if row.seconds is None else f"{max(row.seconds, 0.0):.0f} s"
    if row.problem:
        ended = styled("no", "red")
    elif row.seconds is None:
        ended = styled("not yet", "yellow")
    else:
        ended = styled("in time", "green") if row.seconds <= row.guaranteed else styled("too late", "red")
    return row.fault, seconds, f"{row.guaranteed:.0f} s", ended, row.problem or row.cause or ""


def _conclude(rows: Sequence[Row], left: Sequence[Finding], usd: float, output: Path) -> None:
    if console.live:
        print_table(_COLUMNS, [_cells(row) for row in rows])
    for finding in left:
        console.print(styled("left", "red"), f"  {finding.kind} {finding.name} ({finding.state})")
    kept = sum(row.kept for row in rows)
    console.print(f"{kept} of {len(rows)} as guaranteed, {len(left)} left, {dollars(usd)}; details: {output}")
