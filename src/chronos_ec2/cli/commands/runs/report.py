"""`chronos-ec2 report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.cli.commands.runs.groups import report_on_group
from chronos_ec2.cli.completion import runs_and_groups
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_json, verdict_line
from chronos_ec2.client.report import report_of
from chronos_ec2.services.groups.status import find_group
from chronos_ec2.services.report import REPORT
from chronos_ec2.services.run_queries import newest_run


def report(
    run_id: Annotated[
        str | None,
        typer.Argument(
            help="A run id, see `runs`, or the name of a group. Default: the newest run.",
            autocompletion=runs_and_groups,
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The file to write. Default: RUN/report.html.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Fetch the report of a run, one HTML file, and open it.

    The instance makes it at its end. Of a run whose instance left none, because it is active, was lost or never
    started, a smaller one is made here from the records. Of a group: what its runs have brought, as text.
    """
    world = connect(environment, region, bucket)
    run_id = newest_run(world.store, environment) if run_id is None else run_id
    if group := find_group(world.store, environment, run_id):
        report_on_group(world, group, to, json=json)
        return
    with console.status(f"report of run {run_id}"):
        made = report_of(world, environment, run_id)
    path = Path(run_id, REPORT) if to is None else to
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.body)
    made_by = "this command, from the records" if made.from_records else "its instance"
    if json:
        print_json({"run_id": run_id, "file": str(path), "bytes": len(made.body), "from_records": made.from_records})
    else:
        console.print(verdict_line(made.run) or f"run {run_id} is {made.run.status}")
        console.print(f"report    {path}, made by {made_by}")
    if open_:
        typer.launch(path.resolve().as_uri())
