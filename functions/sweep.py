"""Every minute: reconcile every lane. All guarantees hold with this function alone."""

from __future__ import annotations

from functools import cache

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap.watchdog import watchdog
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.observability import log_report

logger = Logger()
reconciler = cache(watchdog)


@logger.inject_lambda_context
def handler(_event: object, _context: object) -> None:
    """Reconcile every lane, then fail if any of them failed, so that the alarm sees it."""
    reports = reconciler().sweep()
    for report in reports:
        log_report(logger, report)
    if failed := [report for report in reports if report.error]:
        raise ServiceUnavailable(f"{len(failed)} of {len(reports)} lanes failed; the first error: {failed[0].error}")
