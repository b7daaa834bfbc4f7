"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_ec2.bootstrap import OperatorWorld, operator_world
from chronos_ec2.domain.parsing.names import check_name

Environment = Annotated[
    str,
    typer.Option("--environment", "-e", envvar="ENVIRONMENT", help="The environment: dev, stage, prod or another."),
]
Region = Annotated[str | None, typer.Option(envvar="AWS_REGION", help="AWS region. Default: the profile's.")]
Bucket = Annotated[str | None, typer.Option(envvar="BUCKET", help="Must be the stack's bucket if given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
OptionalRunId = Annotated[str | None, typer.Argument(help="A run id, see `runs`. Default: the only active run.")]


def connect(environment: str, region: str | None, bucket: str | None) -> OperatorWorld:
    """Connect to the stack of an environment. Raises UserError if it cannot be reached."""
    check_name(environment, "--environment")
    return operator_world(environment, region or None, bucket or None)
