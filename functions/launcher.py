"""Starts the instance of a run's next attempt for the watchdog, which may not start instances itself."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap import launcher as make_launcher
from chronos_ec2.domain.errors import CapacityUnavailable, LaunchRefused
from chronos_ec2.domain.events import Ignored, parse_relaunch
from chronos_ec2.services.launch import Launched

logger = Logger()
launcher = cache(make_launcher)


@logger.inject_lambda_context
def handler(event: object, _context: object) -> None:
    """Start the instance; repeating the request starts no second one. Without capacity the watchdog asks again."""
    wanted = parse_relaunch(event, os.environ["ENVIRONMENT"])
    if isinstance(wanted, Ignored):
        logger.info("ignored", reason=wanted.reason)
        return
    about = {"environment": wanted.lane.environment, "lane": wanted.lane.name, "run_id": wanted.run_id}
    try:
        launched = launcher().start(wanted.lane, wanted.run_id)
    except (CapacityUnavailable, LaunchRefused) as error:
        logger.warning("not started", extra=about, reason=str(error))
    else:
        if launched is None:
            logger.info("nothing to start", extra=about, reason="the run is not waiting for an instance")
        else:
            logger.info("started", extra=about | _of(launched), reason="the run is waiting for its next attempt")


def _of(launched: Launched) -> dict[str, Any]:
    return {"attempt": launched.attempt, "instance": launched.instance_id, **asdict(launched.option)}
