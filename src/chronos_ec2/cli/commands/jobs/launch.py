"""`chronos-ec2 launch`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, confirm, connect, on_interrupt
from chronos_ec2.cli.output import console, print_json, print_waiting, print_warning, styled
from chronos_ec2.cli.plan import Plan
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.times import check_span
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane
from chronos_ec2.job_config.schema import Ending
from chronos_ec2.services.launch import WaitsForCapacity
from chronos_ec2.services.launch import launch as launch_run
from chronos_ec2.services.launch.config import DEFAULT_CONFIG, Trainer, requested_config
from chronos_ec2.services.launch.former import find_former
from chronos_ec2.services.launch.prepare import LaunchPreparation, LaunchRequest

_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(days=7)


def launch(
    config: Annotated[
        Path | None, typer.Option(help=f"Training configuration (YAML). Default: the uploaded {DEFAULT_CONFIG}.")
    ] = None,
    trainer: Annotated[
        Trainer | None, typer.Option(help="`probe`: a smoke test without --config; costs cents, trains nothing.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long the probe runs. Default: 3.")] = None,
    ending: Annotated[Ending | None, typer.Option(help="How the probe ends. Default: ok.")] = None,
    instance_type: Annotated[
        str | None,
        typer.Option(
            envvar="INSTANCE_TYPE",
            help="EC2 instance type, or several to try in order: a,b,c. Default: the stack's.",
        ),
    ] = None,
    lane: Annotated[str, typer.Option(help="The lane to run in; each has one run at a time.")] = MAIN_LANE,
    max_hours: Annotated[float | None, typer.Option(help="Hard deadline of the run. Default: 12.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Cost limit in USD over all attempts.")] = None,
    price: Annotated[
        float | None,
        typer.Option(help="USD per hour of the instance, whatever its type. Default: the list price."),
    ] = None,
    spot: Annotated[
        bool, typer.Option("--spot", help="Use spot capacity: cheaper, but EC2 may take the instance back.")
    ] = False,
    wait_for_capacity: Annotated[
        str | None,
        typer.Option(help="How long to wait if EC2 has no capacity, such as 2h. Default: the launch fails at once."),
    ] = None,
    on_demand_after: Annotated[
        str | None,
        typer.Option(help="With --spot: after how long a wait on-demand capacity will do too, such as 30m."),
    ] = None,
    preemptions: Annotated[int, typer.Option(help="How often the run resumes after a spot interruption.")] = 5,
    crashes: Annotated[int, typer.Option(help="How often the run resumes after its instance died.")] = 1,
    allow_cpu: Annotated[bool, typer.Option("--allow-cpu", help="Train on the CPU if there is no GPU.")] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Take up a run that ended before its training was complete, from its latest checkpoint, as a new run.",
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be started and what it costs; stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Start a run on a new instance. Refused while another run is active in the lane.

    Shows first what the run may cost and by when it is gone, and asks if there is a terminal to ask on.
    """
    if resume is not None:
        fixed = {"--config": config, "--trainer": trainer, "--minutes": minutes, "--ending": ending}
        _refuse_with_resume(fixed | {"--allow-cpu": allow_cpu or None}, resume)
    request = LaunchRequest(
        config=requested_config(config, trainer, minutes, ending),
        config_path=config,
        lane=Lane(environment, lane),
        instance_types=instance_type,
        max_hours=max_hours,
        max_cost_usd=max_cost,
        price_per_hour_usd=price,
        market=SPOT if spot else ON_DEMAND,
        preemptions=preemptions,
        crashes=crashes,
        allow_cpu=allow_cpu,
        resume=resume,
        wait_for_capacity=_span("--wait-for-capacity", wait_for_capacity),
        on_demand_after=_span("--on-demand-after", on_demand_after),
    )
    world = connect(environment, region, bucket)
    with on_interrupt("nothing was started"):
        with console.status("checking the launch") as show:
            preparation = LaunchPreparation(
                world.stack,
                world.store,
                world.transfer,
                world.setup_checks,
                world.prices,
                world.catalogue,
                world.limits,
                show,
                print_warning,
            )
            prepared = preparation.plan(request)
            shown = Plan(prepared, find_former(world.store, prepared.spec), world.clock.now())
        if plan and json:
            print_json({"plan": shown.as_document()})
        elif not json:
            shown.print()
        if plan:
            return
        if not (yes or json) and sys.stdin.isatty() and sys.stderr.isatty():
            confirm("start it?")
        with console.status("preparing the launch") as show:
            spec = replace(preparation, report=show).publish(request, prepared)
        with _terminated_like_interrupted():
            launched = launch_run(spec, world.store, world.fleet, world.deadlines, world.clock)
    uri = f"s3://{world.stack.bucket}/{environment}/{launched.run_id}/"
    if json:
        resumed = prepared.resumed
        parent = resumed and {"run_id": resumed.parent.run_id, "step": resumed.step}
        print_json(
            {"uri": uri, "chosen": prepared.chosen, "parent": parent, "plan": shown.as_document()} | asdict(launched)
        )
        return
    if isinstance(launched, WaitsForCapacity):
        console.print("run ", styled(launched.run_id, "bold"), f" waits for capacity in {request.lane}")
        print_waiting(launched.waiting)
    else:
        console.print("run ", styled(launched.run_id, "bold"), f" launched in {request.lane}")
        option = launched.option
        console.print(f"  instance  {launched.instance_id} ({option.instance_type}, {option.subnet_id})")
    console.print(f"  results   {uri}")
    console.print(f"  next      chronos-ec2 monitor {launched.run_id} --environment {environment}")


def _span(option: str, value: str | None) -> timedelta | None:
    return None if value is None else check_span(value, option, _SHORTEST_WAIT, _LONGEST_WAIT)


def _refuse_with_resume(options: Mapping[str, object], run_id: str) -> None:
    """Raise InvalidInput for an option that changes what is trained."""
    given = next((name for name, value in options.items() if value is not None), None)
    if given is not None:
        remedy = f"a resumed run trains exactly as run {run_id} did; leave out one of them"
        raise InvalidInput("--resume", f"and {given} exclude each other", remedy)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the launch as Ctrl-C does, so that it frees its lane or says what may be running."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
