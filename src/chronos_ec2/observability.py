"""The log of the watchdog's functions: one JSON line per decision, with its reason and evidence.

With CustomMetrics the template turns `terminations` and `leaks` into metrics.
"""

from __future__ import annotations

from aws_lambda_powertools import Logger

from chronos_ec2.domain.decision import Notify, Terminate
from chronos_ec2.domain.events import Ignored
from chronos_ec2.domain.messages import Kind
from chronos_ec2.services.watchdog.reconcile import Report


def log_outcome(logger: Logger, outcome: Report | Ignored) -> None:
    """Log what became of an event."""
    if isinstance(outcome, Ignored):
        logger.info("ignored", reason=outcome.reason)
    else:
        log_report(logger, outcome)


def log_report(logger: Logger, report: Report) -> None:
    """Log the decision about a lane."""
    actions = report.decision.actions
    limited = any(isinstance(action, Notify) and action.kind is Kind.LIMIT for action in actions)
    log = logger.error if report.error else logger.warning if limited else logger.info
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
