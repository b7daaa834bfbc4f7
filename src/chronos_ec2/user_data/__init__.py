"""The user data of an instance: the cloud-init document that starts the agent."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from importlib.resources import files
from string import Template

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.names import check_bucket
from chronos_ec2.domain.records.run import Run, check_run_id


def render_user_data(bucket: str, run: Run, limits: Limits) -> str:
    """The user data for the current attempt of a run.

    Contains only names that a regular expression has checked; the instance reads everything else from request.json. It
    holds no secrets: anybody who may describe the instance can read it.
    """
    return _template().substitute(
        BUCKET=check_bucket(bucket, "bucket"),
        ENVIRONMENT=run.lane.environment,
        RUN_ID=check_run_id(run.run_id),
        ATTEMPT=run.attempt,
        DEADLINE_SECONDS=int((_time_left(run, limits) + limits.grace).total_seconds()),
        BOOT_SECONDS=int(limits.boot.total_seconds()),
        # Longer than the agent's calls block while S3 is down: it is not frozen then, and fences itself if that lasts.
        WATCHDOG_SECONDS=int(limits.self_fence.total_seconds() / 2),
    )


def _time_left(run: Run, limits: Limits) -> timedelta:
    """The time left when this attempt begins. With the grace, the timer fires a little after the watchdog's deadline.

    Computed from the run and limits alone, not the clock: a repeated launch must request exactly the same instance.
    """
    return max(timedelta(0), min(run.deadline - run.launch_due_at, limits.max_runtime))


@cache
def _template() -> Template:
    return Template(files(__package__).joinpath("user-data.yaml").read_text())
