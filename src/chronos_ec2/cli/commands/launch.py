"""`chronos-ec2 launch`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import typer

from chronos_ec2.bootstrap import OperatorWorld
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_json
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.lane import CACHED, MAIN_LANE, Lane
from chronos_ec2.domain.records.request import ON_DEMAND, SPOT
from chronos_ec2.services.launch import Order, find_dataset, refuse_if_busy, with_max_runtime
from chronos_ec2.services.launch import launch as launch_run
from chronos_ec2.services.publish.agent import CHECKOUT, commit_of, publish_agent
from chronos_ec2.services.publish.trainer import publish_code
from chronos_ec2.services.smoke_test import probe_config, put_probe_data
from chronos_ec2.services.verify import check_bucket_region
from chronos_ec2.training_config.defaults import resolve
from chronos_ec2.training_config.parse import load_config, moved_to, parse_yaml
from chronos_ec2.training_config.schema import Ending, TrainingConfig

Trainer = Literal["probe"]
DEFAULT_CONFIG = f"{CACHED}/configs/train.yaml"


def launch(
    config: Annotated[
        Path | None, typer.Option(help=f"Training configuration (YAML); {DEFAULT_CONFIG} of the bucket when absent.")
    ] = None,
    trainer: Annotated[
        Trainer | None, typer.Option(help="`probe`: everything but real training, without --config, for cents.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long the probe trains; 3 when absent.")] = None,
    ending: Annotated[Ending | None, typer.Option(help="How the probe ends; ok when absent.")] = None,
    instance_type: Annotated[
        str | None,
        typer.Option(
            envvar="INSTANCE_TYPE", help="EC2 instance type, or several to try in turn: a,b,c. The stack's when absent."
        ),
    ] = None,
    lane: Annotated[str, typer.Option(help="The lock to take: one run at a time in each lane.")] = MAIN_LANE,
    max_hours: Annotated[float | None, typer.Option(help="Hard deadline of the run; 12 when absent.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Cap in USD over all attempts.")] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="USD per hour, of any type, when the list price is not yours.")
    ] = None,
    spot: Annotated[bool, typer.Option("--spot", help="EC2's spare capacity: for less, until EC2 needs it.")] = False,
    preemptions: Annotated[
        int, typer.Option(min=0, help="How often the run may go on after EC2 took its instance.")
    ] = 5,
    crashes: Annotated[int, typer.Option(min=0, help="How often it may go on after its instance died.")] = 1,
    allow_cpu: Annotated[bool, typer.Option("--allow-cpu", help="Train without a GPU if there is none.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Start a run on a fresh instance. Refuses, and names the holder, while another run is active in the lane."""
    said = _chosen_config(config, trainer, minutes, ending)
    where = Lane(environment, lane)
    world = connect(environment, region, bucket)
    instance_types = tuple(filter(None, (instance_type or world.stack.instance_type).split(",")))
    # What may run without a GPU is not made for one.
    resolved = resolve(said or _default_config(world), None if allow_cpu else instance_types[0])
    training = resolved.config
    limits = with_max_runtime(world.limits, max_hours)
    check_bucket_region(world.setup_checks, world.stack.region)
    refuse_if_busy(world.store, where)
    if trainer == "probe":
        put_probe_data(world.store)
    find_dataset(world.store, training.data.path)
    code_sha256 = publish_code(training.own_module, config, world.store)
    with console.status("looking for the agent in the bucket") as status:
        bundle_sha256, _ = publish_agent(world.stack.packages_in_image, world.store, world.transfer, status.update)
    order = Order(
        lane=where,
        config=training.model_dump(mode="json"),
        data_path=training.data.path,
        instance_types=instance_types,
        subnet_ids=world.stack.subnet_ids,
        bucket=world.stack.bucket,
        bundle_sha256=bundle_sha256,
        limits=limits,
        price_per_hour_usd=price,
        max_cost_usd=max_cost,
        preemptions_left=preemptions,
        crashes_left=crashes,
        allow_cpu=allow_cpu,
        market=SPOT if spot else ON_DEMAND,
        log_group=world.stack.agent_log_group,
        code_sha256=code_sha256,
        commit=commit_of(CHECKOUT),
    )
    launched = launch_run(order, world.store, world.fleet, world.deadlines, world.clock)
    uri = f"s3://{world.stack.bucket}/{environment}/{launched.run_id}/"
    if json:
        print_json({"uri": uri, "chosen": resolved.chosen} | asdict(launched))
        return
    console.print(f"run [bold]{launched.run_id}[/] launched in {where}")
    console.print(f"  instance  {launched.instance_id} ({launched.option.instance_type}, {launched.option.subnet_id})")
    console.print(f"  ends by   {limits.max_runtime.total_seconds() / 3600:g} h from now at the latest")
    if resolved.chosen:
        chosen = ", ".join(f"{key} {value}" for key, value in resolved.chosen.items())
        console.print(f"  chosen    {chosen} (docs/configuration.md)", markup=False)
    console.print(f"  results   {uri}")
    console.print(f"  next      chronos-ec2 monitor {launched.run_id} --environment {environment}")


def _chosen_config(
    path: Path | None, trainer: Trainer | None, minutes: float | None, ending: Ending | None
) -> TrainingConfig | None:
    """The configuration that the options name, None when they name none."""
    if trainer == "probe":
        if path is not None:
            raise InvalidInput("--trainer", "probe and --config exclude each other", "give one of them")
        return probe_config(3.0 if minutes is None else minutes, ending or "ok")
    if minutes is not None or ending is not None:
        raise InvalidInput(
            "--minutes" if ending is None else "--ending", "is for the probe", "give --trainer probe too"
        )
    return load_config(path) if path else None


def _default_config(world: OperatorWorld) -> TrainingConfig:
    for key, _ in world.store.objects.keys(f"{CACHED}/configs/"):
        if (section := moved_to(PurePosixPath(key).name)) is not None:
            warning = f"{one_line(key, 200)} is not read: train.yaml has it under {section}"
            print(f"chronos-ec2: {warning}", file=sys.stderr)
    found = world.store.objects.read(DEFAULT_CONFIG)
    if found is None:
        remedy = "give --config FILE, or put one there with `chronos-ec2 upload config train.yaml`"
        raise InvalidInput("--config", f"not given, and the bucket has no {DEFAULT_CONFIG}", remedy)
    return parse_yaml(found.body, DEFAULT_CONFIG)
