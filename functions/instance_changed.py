"""EC2 changed, interrupts or doubts an instance: reconcile the lane that it belongs to."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap import watchdog
from chronos_ec2.domain.events import InstanceStateChanged, RebalanceRecommendation, SpotInterruption, parse_event
from chronos_ec2.observability import log_report

logger = Logger()
reconciler = cache(watchdog)


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: object) -> None:
    """An instance that does not carry our tags is none of our business, whatever the event says."""
    match parse_event(event):
        case InstanceStateChanged(instance_id) | SpotInterruption(instance_id) | RebalanceRecommendation(instance_id):
            if report := reconciler().instance(instance_id):
                log_report(logger, report)
            else:
                logger.info("not ours", instance_id=instance_id)
        case other:
            logger.info("ignored", event=repr(other))
