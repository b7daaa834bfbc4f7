"""What an instance is told at its first boot."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from importlib.resources import files
from string import Template

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.names import check_bucket
from chronos_ec2.domain.records.run import Run, check_run_id


def render_user_data(bucket: str, run: Run, limits: Limits) -> str:
    """The cloud-init document of the instance of a run's current attempt.

    Only names that a regular expression has passed go in; everything else is read from request.json. The document holds
    no secret: whoever may describe the instance can read it.
    """
    return _template().substitute(
        BUCKET=check_bucket(bucket, "bucket"),
        ENVIRONMENT=run.lane.environment,
        RUN_ID=check_run_id(run.run_id),
        ATTEMPT=run.attempt,
        DEADLINE_SECONDS=int((_time_of(run, limits) + limits.grace).total_seconds()),
        BOOT_SECONDS=int(limits.boot.total_seconds()),
        # Calls that hang for minutes while S3 is down are no frozen agent: it fences itself when that lasts too long.
        WATCHDOG_SECONDS=int(limits.self_fence.total_seconds() / 2),
    )


def _time_of(run: Run, limits: Limits) -> timedelta:
    """What is left for this attempt when it begins; with the grace it is a little later than the watchdog's deadline.

    It follows from the record and the order alone: a launch that is repeated has to ask for the very same instance.
    """
    return max(timedelta(0), min(run.deadline - run.attempt_started_at, limits.max_runtime))


@cache
def _template() -> Template:
    return Template(files(__package__).joinpath("user-data.yaml").read_text())
