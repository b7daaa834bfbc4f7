"""`chronos-ec2 teardown`."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_json
from chronos_ec2.services.teardown import teardown as tear_down


def teardown(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Delete an environment's stack. Refuses while anything in it lives; the bucket stays, with all that is in it."""
    world = connect(environment, region, bucket)
    if not yes:
        typer.confirm(f"Delete stack {world.stack.name} in {world.stack.region}?", abort=True, err=True)
    tear_down(environment, world.store, world.fleet, world.deadlines, world.deployment)
    if json:
        print_json({"environment": environment, "deleted": world.stack.name, "kept": [f"s3://{world.stack.bucket}/"]})
        return
    console.print(f"stack [bold]{world.stack.name}[/] is gone")
    console.print(f"  kept      s3://{world.stack.bucket}/")
    console.print(f"  again     the stack takes it up when it is deployed with BucketName={world.stack.bucket}")
    console.print("  for good  with all versions of all that is in it, of other environments too:")
    console.print(f"            {_for_good(world.stack.bucket)}", markup=False)


def _for_good(bucket: str) -> str:
    """What removes a bucket that keeps versions: `aws s3 rb --force` deletes none of them, and fails."""
    code = f"import boto3; b = boto3.resource('s3').Bucket('{bucket}'); b.object_versions.delete(); b.delete()"
    return f'python -c "{code}"'
