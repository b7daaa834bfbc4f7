"""Locks were written or deleted, or instances have reported: reconcile their lanes."""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap.watchdog import watchdog
from chronos_ec2.domain.events import parse_batch
from chronos_ec2.observability import log_outcome

logger = Logger()
reconciler = cache(watchdog)


@logger.inject_lambda_context
def handler(event: object, _context: object) -> dict[str, Any]:
    """Handle each event of a batch once, and name the messages to deliver again.

    If all fail, the function fails, so that its alarm sees it.
    """
    batch = parse_batch(event)
    failed: dict[tuple[str, ...], Exception] = {}
    for each, messages in batch.items():
        try:
            log_outcome(logger, reconciler().handle(each))
        except Exception as error:
            logger.exception("failed, to be delivered again", messages=messages)
            failed[messages] = error
    if failed and len(failed) == len(batch):
        raise next(iter(failed.values()))
    return {"batchItemFailures": [{"itemIdentifier": message} for messages in failed for message in messages]}
