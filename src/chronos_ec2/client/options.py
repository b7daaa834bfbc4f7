"""The options of a launch from Python, with the names and the defaults of those of the command."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TypedDict

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.services.launch.spec import LaunchRequest


class LaunchOptions(TypedDict, total=False):
    """The options of `chronos-ec2 launch`.

    Attributes:
        instance_type: an EC2 instance type, or several to try in order, with commas between them.
        lane: the lane to run in; each has one run at a time. By default `main`.
        max_hours: the deadline.
        max_cost: the price cap in USD over all attempts.
        price: USD per hour of the instance, by default the list price.
        spot: cheaper, but EC2 may take the instance back; the run then resumes on another one.
        wait_for_capacity: how long to wait if EC2 has no capacity; without it the launch fails at once.
        on_demand_after: with `spot`, after how long of a wait on-demand capacity will do too.
        preemptions: how often the run resumes after EC2 took its instance, by default 5.
        crashes: how often the run resumes after its instance died, by default 1.
        allow_cpu: whether it may train on a CPU.
        resume: the run that it takes up; the configuration is then that of that run.
    """

    instance_type: str | None
    lane: str
    max_hours: float | None
    max_cost: float | None
    price: float | None
    spot: bool
    wait_for_capacity: timedelta | None
    on_demand_after: timedelta | None
    preemptions: int
    crashes: int
    allow_cpu: bool
    resume: str | None


def launch_request(
    environment: str, config: JobConfig | None, path: Path | None, options: LaunchOptions
) -> LaunchRequest:
    """What the options ask for. Raises InvalidInput; TypeError for an option that there is not."""
    if unknown := options.keys() - LaunchOptions.__annotations__.keys():
        raise TypeError(f"there is no option {', '.join(sorted(unknown))} of a launch")
    if options.get("resume") is not None and config is not None:
        raise InvalidInput("resume", "and config exclude each other", "a resumed run trains as that run did")
    return LaunchRequest(
        config=config,
        config_path=path,
        lane=Lane(environment, options.get("lane", MAIN_LANE)),
        instance_types=options.get("instance_type"),
        max_hours=options.get("max_hours"),
        max_cost_usd=options.get("max_cost"),
        price_per_hour_usd=options.get("price"),
        market=SPOT if options.get("spot") else ON_DEMAND,
        preemptions=options.get("preemptions", 5),
        crashes=options.get("crashes", 1),
        allow_cpu=options.get("allow_cpu", False),
        resume=options.get("resume"),
        wait_for_capacity=options.get("wait_for_capacity"),
        on_demand_after=options.get("on_demand_after"),
    )
