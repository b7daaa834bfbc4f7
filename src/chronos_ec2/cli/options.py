"""Options that several commands share; their defaults are the reference's environment variables."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_ec2.bootstrap import OperatorWorld, operator_world
from chronos_ec2.domain.parsing.names import check_name

Environment = Annotated[
    str,
    typer.Option("--environment", "-e", envvar="ENVIRONMENT", help="The stack to use: dev, stage, prod or another."),
]
Region = Annotated[str | None, typer.Option(envvar="AWS_REGION", help="AWS region; the profile's when absent.")]
Bucket = Annotated[str | None, typer.Option(envvar="BUCKET", help="Must be the stack's bucket when given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
RunId = Annotated[str, typer.Argument(help="A run id, like 20260131T120000Z-1a2b3c; see `chronos-ec2 runs`.")]
OptionalRunId = Annotated[str | None, typer.Argument(help="A run id; not needed when exactly one run is active.")]


def connect(environment: str, region: str | None, bucket: str | None) -> OperatorWorld:
    """The world of an environment. Raises UserError when it cannot be reached."""
    check_name(environment, "--environment")
    return operator_world(environment, region or None, bucket or None)
