"""What the watching functions log: one JSON line a decision, with its reason and evidence."""

from __future__ import annotations

from aws_lambda_powertools import Logger

from chronos_ec2.services.reconcile import Report


def log_report(logger: Logger, report: Report) -> None:
    """Log what was decided about a lane, and what was done."""
    actions = [type(action).__name__ for action in report.decision.actions]
    log = logger.error if report.error else logger.info
    log(
        report.decision.reason,
        environment=report.lane.environment,
        lane=report.lane.name,
        run_id=report.run.run_id if report.run else None,
        attempt=report.run.attempt if report.run else None,
        instances=list(report.instances),
        actions=actions,
        evidence=dict(report.decision.evidence),
        lost_races=report.lost_races,
        error=report.error,
    )
