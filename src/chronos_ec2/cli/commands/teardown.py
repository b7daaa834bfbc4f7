"""`chronos-ec2 teardown`."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_ec2.bootstrap import deployment
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, confirm, connect, on_interrupt
from chronos_ec2.cli.output import console, print_json
from chronos_ec2.domain.errors import StackUnusable
from chronos_ec2.domain.stack_status import stack_name
from chronos_ec2.services.teardown import teardown as tear_down

_GOES_ON = "a deletion that has begun goes on; tear down again to see it end"


def teardown(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Delete an environment's stack; the bucket stays. Refused while anything in the environment is running."""
    try:
        world = connect(environment, region, bucket)
    except StackUnusable as unusable:
        _delete_unusable(environment, region, unusable, yes=yes, json=json)
        return
    if not yes:
        confirm(f"Delete stack {world.stack.name} in {world.stack.region}?")
    with on_interrupt(_GOES_ON):
        tear_down(environment, world.store, world.fleet, world.deadlines, world.deployment)
    if json:
        print_json({"environment": environment, "deleted": world.stack.name, "kept": [f"s3://{world.stack.bucket}/"]})
        return
    console.print(f"stack [bold]{world.stack.name}[/] deleted")
    console.print(f"  kept      s3://{world.stack.bucket}/")
    console.print(f"  reuse     deploy the stack with BucketName={world.stack.bucket}")
    console.print("  delete    removes every version of every object, including those of other environments:")
    console.print(f"            {_delete_command(world.stack.bucket)}", markup=False)


def _delete_unusable(environment: str, region: str | None, unusable: StackUnusable, *, yes: bool, json: bool) -> None:
    """Delete a stack that never came up or is half deleted: nothing can have been launched in it since."""
    if not yes:
        confirm(f"{unusable.problem}. Delete it?")
    with on_interrupt(_GOES_ON):
        deployment(environment, region or None).delete()
    if json:
        print_json({"environment": environment, "deleted": stack_name(environment), "kept": []})
    else:
        console.print(f"stack [bold]{stack_name(environment)}[/] deleted")


def _delete_command(bucket: str) -> str:
    """The command that deletes a versioned bucket, which `aws s3 rb --force` cannot: it leaves the old versions."""
    code = f"import boto3; b = boto3.resource('s3').Bucket('{bucket}'); b.object_versions.delete(); b.delete()"
    return f'python -c "{code}"'
