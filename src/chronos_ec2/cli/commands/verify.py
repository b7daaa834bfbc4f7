"""`chronos-ec2 kill`, `cleanup` and `verify`."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.markup import escape

from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_json, print_table
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.services.verify import Finding, setup_warnings
from chronos_ec2.services.verify import verify as find_what_is_left


def verify(
    environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False
) -> None:
    """Prove that nothing that costs is left, no instance, no upload, and no lock. Exit code 1 if something is.

    It warns of a bucket that does not tell of its objects, of subscriptions that nobody has confirmed, and of what lies
    where locks do and is none.
    """
    world = connect(environment, region, bucket)
    left = find_what_is_left(environment, world.store, world.fleet, world.deadlines)
    found = setup_warnings(environment, world.stack.region, world.store, world.setup_checks)
    if json:
        print_json({"environment": environment, "left": [asdict(finding) for finding in left], "warnings": found})
    else:
        _print_findings(environment, left)
        for warning in found:
            console.print(f"[yellow]warning[/]  {escape(one_line(warning))}")
    if left:
        raise typer.Exit(1)


def _print_findings(environment: str, left: tuple[Finding, ...]) -> None:
    if not left:
        looked_at = "instances, volumes, interfaces, spot requests, schedules, uploads, locks"
        console.print(f"[green]environment {environment}: nothing is left[/] ({looked_at})")
        return
    print_table(
        ("what", "name", "state", "run"),
        [(finding.kind, finding.name, finding.state, finding.run_id or "none") for finding in left],
    )
