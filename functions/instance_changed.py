"""EC2 changed an instance, or is about to: reconcile its lane."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap.watchdog import watchdog
from chronos_ec2.domain.events import parse_event
from chronos_ec2.observability import log_outcome

logger = Logger()
reconciler = cache(watchdog)


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: object) -> None:
    """Reconcile the lane of the instance, if it carries our tags."""
    log_outcome(logger, reconciler().handle(parse_event(event)))
