"""`chronos-ec2 teardown`."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_ec2.bootstrap.operator import deployment
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, confirm, connect, on_interrupt
from chronos_ec2.cli.output import console, print_json, styled
from chronos_ec2.domain.errors import NotDeployed
from chronos_ec2.domain.stack_status import stack_name
from chronos_ec2.services.teardown import Teardown

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
    except NotDeployed as error:
        _delete_unfinished(environment, region, error, yes=yes, json=json)
        return
    if not yes:
        confirm(f"Delete stack {world.stack.name} in {world.stack.region}?")
    with on_interrupt(_GOES_ON):
        Teardown(environment, world.stack.stack_id, world.store, world.fleet, world.deadlines, world.deployment).run()
    if json:
        print_json({"environment": environment, "deleted": world.stack.name, "kept": [f"s3://{world.stack.bucket}/"]})
        return
    console.print("stack ", styled(world.stack.name, "bold"), " deleted")
    console.print(f"  kept      s3://{world.stack.bucket}/")
    console.print(f"  reuse     deploy the stack with BucketName={world.stack.bucket}")
    console.print("  delete    removes every version of every object, including those of other environments:")
    console.print(f"            {_delete_command(world.stack.bucket)}")


def _delete_unfinished(environment: str, region: str | None, error: NotDeployed, *, yes: bool, json: bool) -> None:
    """Delete a stack that was never deployed to its end: no run was ever launched with it. Else raise the error."""
    stack = deployment(environment, region or None)
    status = stack.unfinished()
    if status is None:
        raise error
    if not yes:
        confirm(f"Delete stack {stack_name(environment)}, which is {status}?")
    with on_interrupt(_GOES_ON):
        stack.delete()
    if json:
        print_json({"environment": environment, "deleted": stack_name(environment), "kept": []})
    else:
        console.print("stack ", styled(stack_name(environment), "bold"), f" ({status}) deleted")


def _delete_command(bucket: str) -> str:
    """The command that deletes a versioned bucket, which `aws s3 rb --force` cannot: it leaves the old versions."""
    code = f"import boto3; b = boto3.resource('s3').Bucket('{bucket}'); b.object_versions.delete(); b.delete()"
    return f'python -c "{code}"'
