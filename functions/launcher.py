"""The watchdog asks for the instance of a run's new attempt: start it. This function alone may start instances."""

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
    """Asking twice starts one instance. Where there is no room the watchdog asks again, until it ends the run."""
    wanted = parse_relaunch(event, os.environ["ENVIRONMENT"])
    if isinstance(wanted, Ignored):
        logger.info("ignored", event=repr(wanted))
        return
    about = {"environment": wanted.lane.environment, "lane": wanted.lane.name, "run_id": wanted.run_id}
    try:
        launched = launcher().start(wanted.lane, wanted.run_id)
    except (CapacityUnavailable, LaunchRefused) as error:
        logger.warning("not started", extra=about, reason=str(error))
    else:
        if launched is None:
            logger.info("nothing to start", extra=about, reason="the run waits for no instance")
        else:
            logger.info("started", extra=about | _of(launched), reason="the run waits for its next attempt")


def _of(launched: Launched) -> dict[str, Any]:
    return {"attempt": launched.attempt, "instance": launched.instance_id, **asdict(launched.option)}
