"""Starts the instance of a run that waits for one, for the watchdog, which may not start instances itself."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap import launcher as make_launcher
from chronos_ec2.domain.errors import InvalidDocument, LaunchRefused, NotAllowed, Superseded
from chronos_ec2.domain.events import Ignored, parse_relaunch
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.services.launch import Launched, WaitsForCapacity

logger = Logger()
launcher = cache(make_launcher)


@logger.inject_lambda_context
def handler(event: object, _context: object) -> None:
    """Start the instance, or note that EC2 has no capacity for it. Repeating the request starts no second one."""
    wanted = parse_relaunch(event, os.environ["ENVIRONMENT"])
    if isinstance(wanted, Ignored):
        logger.info("ignored", reason=wanted.reason)
        return
    about = {"environment": wanted.lane.environment, "lane": wanted.lane.name, "run_id": wanted.run_id}
    try:
        found = launcher().start(wanted.lane, wanted.run_id)
    except (InvalidDocument, LaunchRefused, NotAllowed, Superseded) as error:
        # In the lock, which the watchdog reads next: a retry would find nothing to do.
        logger.warning("not started", extra=about, reason=str(error))
        return
    match found:
        case Launched():
            logger.info("started", extra=about | _of(found), reason="the run is waiting for its instance")
        case WaitsForCapacity(waiting=waiting):
            words = "; ".join(map(str, waiting.refusals))
            next_try = format_time(waiting.next_try_at)
            logger.warning("no capacity", extra=about | {"tries": waiting.tries, "next_try_at": next_try}, reason=words)
        case None:
            logger.info("nothing to start", extra=about, reason="the run is not waiting for an instance now")


def _of(launched: Launched) -> dict[str, Any]:
    return {"attempt": launched.attempt, "instance": launched.instance_id, **asdict(launched.option)}
