"""The report of a run for a person: that of its instance, or one that is made here from the records."""

from __future__ import annotations

from dataclasses import dataclass

from agent.report.page import render
from agent.report.sections import Material, report_page
from agent.results.schema import problems
from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.records.run import Run
from chronos_ec2.services.logs import LogReader
from chronos_ec2.services.report import fetch_report
from chronos_ec2.services.run_details import RunDetails, run_details
from chronos_ec2.services.run_queries import list_instances

_LOG_LINES = 30


@dataclass(frozen=True, slots=True)
class Report:
    """A report as HTML, the record of its run, and whether it is made from the records alone."""

    run: Run
    body: bytes
    from_records: bool


def report_of(world: OperatorWorld, environment: str, run_id: str) -> Report:
    """The report of a run; a smaller one from the records if its instance left none.

    Raises:
        RunNotFound: there is no such run.
        ServiceUnavailable, NotAllowed, InvalidDocument: it could not be read.
    """
    details = run_details(world.store, environment, run_id)
    found = fetch_report(world.store.objects, details.run)
    return Report(details.run, _from_records(world, details) if found is None else found, found is None)


def _from_records(world: OperatorWorld, details: RunDetails) -> bytes:
    run, now, view = details.run, world.clock.now(), details.view
    cost = view.cost_usd(now, world.limits, list_instances(world.fleet, run.lane.environment))
    log = LogReader(world.store.objects, run.lane.environment, run.run_id, "trainer")
    lines = [*log.more(), *log.rest()]
    training = dict(details.training)
    material = Material(
        run, now, run.verdict, details.request, cost,
        ended={} if problems(training) else training,
        heartbeat=view.heartbeat if isinstance(view.heartbeat, HeartbeatReceived) else None,
        log="\n".join(lines[-_LOG_LINES:]),
    )  # fmt: skip
    return render(report_page(material, pictures=False))
