"""`chronos-ec2 report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.bootstrap import OperatorWorld
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_json, verdict_line
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.services.logs import LogReader
from chronos_ec2.services.report import REPORT, fetch_report
from chronos_ec2.services.run_details import RunDetails, run_details
from chronos_ec2.services.run_queries import list_instances

_LOG_LINES = 30


def report(
    run_id: Annotated[str, typer.Argument(help="A run id, see `runs`.")],
    to: Annotated[Path | None, typer.Option(help="The file to write. Default: RUN/report.html.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Fetch the report of a run, one HTML file, and open it.

    The instance makes it at its end. Of a run whose instance left none, because it is active, was lost or never
    started, a smaller one is made here from the records.
    """
    world = connect(environment, region, bucket)
    with console.status(f"report of run {run_id}"):
        details = run_details(world.store, environment, run_id)
        found = fetch_report(world.store.objects, details.run)
        body = _from_records(world, details) if found is None else found
    path = Path(run_id, REPORT) if to is None else to
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    made_by = "this command, from the records" if found is None else "its instance"
    if json:
        print_json({"run_id": run_id, "file": str(path), "bytes": len(body), "from_records": found is None})
    else:
        console.print(verdict_line(details.run) or f"run {run_id} is {details.run.status}")
        console.print(f"report    {path}, made by {made_by}")
    if open_:
        typer.launch(path.resolve().as_uri())


def _from_records(world: OperatorWorld, details: RunDetails) -> bytes:
    """What the records say of a run."""
    # What the instance uses for its report, of which jinja2 is only needed here.
    from agent.report.page import render  # noqa: PLC0415
    from agent.report.sections import Material, report_page  # noqa: PLC0415
    from agent.results.schema import problems  # noqa: PLC0415

    run, now, view = details.run, world.clock.now(), details.view
    log = LogReader(world.store.objects, run.lane.environment, run.run_id, "trainer")
    lines = [*log.more(), *log.rest()]
    training = dict(details.training)
    material = Material(
        run, now, run.verdict, details.request, view.cost_usd(now, list_instances(world.fleet, run.lane.environment)),
        ended={} if problems(training) else training,
        heartbeat=view.heartbeat if isinstance(view.heartbeat, HeartbeatReceived) else None,
        log="\n".join(lines[-_LOG_LINES:]),
    )  # fmt: skip
    return render(report_page(material, pictures=False))
