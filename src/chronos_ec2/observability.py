"""What the watching functions log: one JSON line a decision, with its reason and evidence.

The template makes metrics of `terminations` and `leaks` where it is asked to.
"""

from __future__ import annotations

from aws_lambda_powertools import Logger

from chronos_ec2.domain.decision import Notify, Terminate
from chronos_ec2.domain.messages import Kind
from chronos_ec2.services.watchdog.reconcile import Report


def log_report(logger: Logger, report: Report) -> None:
    """Log what was decided about a lane, and what was done."""
    actions = report.decision.actions
    log = logger.error if report.error else logger.info
    log(
        report.decision.reason,
        environment=report.lane.environment,
        lane=report.lane.name,
        run_id=report.run.run_id if report.run else None,
        attempt=report.run.attempt if report.run else None,
        instances=list(report.instances),
        actions=[type(action).__name__ for action in actions],
        terminations=sum(isinstance(action, Terminate) for action in actions),
        leaks=sum(isinstance(action, Notify) and action.kind is Kind.LEAK for action in actions),
        evidence=dict(report.decision.evidence),
        lost_races=report.lost_races,
        error=report.error,
    )
