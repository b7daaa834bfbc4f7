"""Starts instances for the watchdog, which may not start them itself, and the runs of schedules and groups."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger

from chronos_ec2.bootstrap.launcher import schedules as make_schedules
from chronos_ec2.domain.errors import InvalidDocument, LaunchRefused, NotAllowed, Superseded
from chronos_ec2.domain.events import Ignored, parse_relaunch
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.schedules.decide import Nothing
from chronos_ec2.domain.schedules.events import DataArrived, MemberEnded, RunSucceeded, TimeHasCome, parse_invocation
from chronos_ec2.services.groups.service import Groups
from chronos_ec2.services.launch import Launched, WaitsForCapacity
from chronos_ec2.services.schedules import Started

logger = Logger()
schedules = cache(make_schedules)


@logger.inject_lambda_context
def handler(event: object, _context: object) -> None:
    """Start an instance, or the run of a schedule or a group. Repeating the request starts no second one."""
    environment = os.environ["ENVIRONMENT"]
    match parse_invocation(event, environment):
        case TimeHasCome(schedule, at):
            _log(schedule, schedules().invoke(schedule, at))
        case RunSucceeded(schedule, run_id):
            _log(schedule, schedules().after(schedule, run_id))
        case MemberEnded(group, run_id):
            reason = Groups(schedules()).after(group, run_id).reason
            logger.info("group goes on", extra={"group": group, "run_id": run_id}, reason=reason)
        case DataArrived(data_set, at):
            found = schedules().data_arrived(data_set, at)
            for schedule, done in found.items():
                _log(schedule, done)
            if not found:
                logger.info("nothing to start", reason=f"no schedule waits for data set {data_set}")
        case Ignored(reason):
            logger.info("ignored", reason=reason)
        case None:
            _start_instance(event, environment)


def _log(schedule: str, done: Started | Nothing) -> None:
    run_id = done.run_id if isinstance(done, Started) else None
    message = "run of a schedule started" if run_id else "schedule starts nothing"
    logger.info(message, extra={"schedule": schedule, "run_id": run_id}, reason=done.reason)


def _start_instance(event: object, environment: str) -> None:
    wanted = parse_relaunch(event, environment)
    if isinstance(wanted, Ignored):
        logger.info("ignored", reason=wanted.reason)
        return
    about = {"environment": wanted.lane.environment, "lane": wanted.lane.name, "run_id": wanted.run_id}
    try:
        found = schedules().launcher.start(wanted.lane, wanted.run_id)
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
