"""`chronos-ec2 launch`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.bootstrap import OperatorWorld
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_json
from chronos_ec2.domain.cost import price_of
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.lane import CACHED, MAIN_LANE, Lane
from chronos_ec2.services.bundle import publish_agent
from chronos_ec2.services.launch import Order, find_dataset, refuse_if_busy, with_max_runtime
from chronos_ec2.services.launch import launch as launch_run
from chronos_ec2.training_config import TrainingConfig, load_config, parse_yaml

DEFAULT_CONFIG = f"{CACHED}/configs/train.yaml"


def launch(
    config: Annotated[
        Path | None, typer.Option(help=f"Training configuration (YAML); {DEFAULT_CONFIG} of the bucket when absent.")
    ] = None,
    instance_type: Annotated[
        str | None,
        typer.Option(
            envvar="INSTANCE_TYPE", help="EC2 instance type, or several to try in turn: a,b,c. The stack's when absent."
        ),
    ] = None,
    lane: Annotated[str, typer.Option(help="The lock to take: one run at a time in each lane.")] = MAIN_LANE,
    max_hours: Annotated[float | None, typer.Option(help="Hard deadline of the run; 12 when absent.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Cap in USD over all attempts.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="USD per hour, when the list price is not yours.")] = None,
    allow_cpu: Annotated[bool, typer.Option("--allow-cpu", help="Train without a GPU if there is none.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Start a run on a fresh instance. Refuses, and names the holder, while another run is active in the lane."""
    resolved = load_config(config) if config else None
    where = Lane(environment, lane)
    world = connect(environment, region, bucket)
    resolved = resolved or _default_config(world)
    instance_types = tuple(filter(None, (instance_type or world.stack.instance_type).split(",")))
    limits = with_max_runtime(world.limits, max_hours)
    refuse_if_busy(world.store, where)
    find_dataset(world.store, resolved.data.path)
    with console.status("looking for the agent in the bucket") as status:
        bundle_sha256, _ = publish_agent(world.stack.packages_in_image, world.store, world.transfer, status.update)
    order = Order(
        lane=where,
        config=resolved.model_dump(mode="json"),
        data_path=resolved.data.path,
        instance_types=instance_types,
        subnet_ids=world.stack.subnet_ids,
        bucket=world.stack.bucket,
        bundle_sha256=bundle_sha256,
        limits=limits,
        price_per_hour_usd=price if price is not None else price_of(instance_types[0]),
        max_cost_usd=max_cost,
        allow_cpu=allow_cpu,
    )
    launched = launch_run(order, world.store, world.fleet, world.deadlines, world.clock)
    uri = f"s3://{world.stack.bucket}/{environment}/{launched.run_id}/"
    if json:
        print_json({"uri": uri} | asdict(launched))
        return
    console.print(f"run [bold]{launched.run_id}[/] launched in {where}")
    console.print(f"  instance  {launched.instance_id} ({launched.option.instance_type}, {launched.option.subnet_id})")
    console.print(f"  ends by   {limits.max_runtime.total_seconds() / 3600:g} h from now at the latest")
    console.print(f"  results   {uri}")
    console.print(f"  next      chronos-ec2 monitor {launched.run_id} --environment {environment}")


def _default_config(world: OperatorWorld) -> TrainingConfig:
    found = world.store.objects.read(DEFAULT_CONFIG)
    if found is None:
        remedy = "give --config FILE, or put one there with `chronos-ec2 upload config train.yaml`"
        raise InvalidInput("--config", f"not given, and the bucket has no {DEFAULT_CONFIG}", remedy)
    return parse_yaml(found.body, DEFAULT_CONFIG)
