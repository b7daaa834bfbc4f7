"""A lane's lock was written or deleted: reconcile that lane."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap import watchdog
from chronos_ec2.domain.events import StateWritten, parse_event
from chronos_ec2.observability import log_report

logger = Logger()
reconciler = cache(watchdog)


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: object) -> None:
    """The event only says where to look: what is done depends on what is there now."""
    match parse_event(event):
        case StateWritten(lane=lane):
            log_report(logger, reconciler().lane(lane))
        case other:
            logger.info("ignored", event=repr(other))
