"""`chronos-ec2 launch`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect, on_interrupt
from chronos_ec2.cli.output import console, print_json, print_warning
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane
from chronos_ec2.domain.records.request import ON_DEMAND, SPOT
from chronos_ec2.services.launch import launch as launch_run
from chronos_ec2.services.launch.config import DEFAULT_CONFIG, Trainer, requested_config
from chronos_ec2.services.launch.prepare import LaunchPreparation, LaunchRequest
from chronos_ec2.training_config.schema import Ending


def launch(
    config: Annotated[
        Path | None, typer.Option(help=f"Training configuration (YAML). Default: {DEFAULT_CONFIG} in the bucket.")
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
    preemptions: Annotated[int, typer.Option(help="How often the run resumes after a spot interruption.")] = 5,
    crashes: Annotated[int, typer.Option(help="How often the run resumes after its instance died.")] = 1,
    allow_cpu: Annotated[bool, typer.Option("--allow-cpu", help="Train on the CPU if there is no GPU.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Start a run on a new instance. Refused while another run is active in the lane."""
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
    )
    world = connect(environment, region, bucket)
    with on_interrupt("nothing was started"), console.status("preparing the launch") as show:
        prepared = LaunchPreparation(
            world.stack,
            world.store,
            world.transfer,
            world.setup_checks,
            world.prices,
            world.limits,
            show,
            print_warning,
        ).prepare(request)
    with on_interrupt("nothing was started"), _terminated_like_interrupted():
        launched = launch_run(prepared.spec, world.store, world.fleet, world.deadlines, world.clock)
    uri = f"s3://{world.stack.bucket}/{environment}/{launched.run_id}/"
    if json:
        print_json({"uri": uri, "chosen": prepared.chosen} | asdict(launched))
        return
    console.print(f"run [bold]{launched.run_id}[/] launched in {request.lane}")
    console.print(f"  instance  {launched.instance_id} ({launched.option.instance_type}, {launched.option.subnet_id})")
    console.print(f"  deadline  {prepared.spec.limits.max_runtime.total_seconds() / 3600:g} h from now")
    if prepared.chosen:
        chosen = ", ".join(f"{key} {value}" for key, value in prepared.chosen.items())
        console.print(f"  defaults  {chosen} (docs/configuration.md)", markup=False)
    console.print(f"  results   {uri}")
    console.print(f"  next      chronos-ec2 monitor {launched.run_id} --environment {environment}")


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
