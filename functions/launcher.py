"""The watchdog asks for the instance of a run's new attempt: start it. This function alone may start instances."""

from __future__ import annotations

import os
from functools import cache

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap import launcher as make_launcher
from chronos_ec2.domain.errors import CapacityUnavailable, LaunchRefused
from chronos_ec2.domain.events import Ignored, parse_relaunch

logger = Logger()
launcher = cache(make_launcher)


@logger.inject_lambda_context
def handler(event: object, _context: object) -> None:
    """Asking twice starts one instance. Where there is no room the watchdog asks again, until it ends the run."""
    wanted = parse_relaunch(event, os.environ["ENVIRONMENT"])
    if isinstance(wanted, Ignored):
        logger.info("ignored", event=repr(wanted))
        return
    try:
        launched = launcher().start(wanted.lane, wanted.run_id)
    except (CapacityUnavailable, LaunchRefused) as error:
        logger.warning("not started", run_id=wanted.run_id, lane=wanted.lane.name, error=str(error))
    else:
        logger.info("started" if launched else "nothing to start", run_id=wanted.run_id, launched=repr(launched))
