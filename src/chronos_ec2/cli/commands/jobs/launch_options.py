"""The options that every launch has, as one argument of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Annotated, Any, get_type_hints

import typer

from chronos_ec2.cli.completion import lanes
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region
from chronos_ec2.domain.parsing.times import check_span
from chronos_ec2.domain.records.capacity import ON_DEMAND, SPOT
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane
from chronos_ec2.services.launch.spec import LaunchRequest

_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(days=7)


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """Where a run runs, within which limits, and what the command shows."""

    instance_type: Annotated[
        str | None,
        typer.Option(
            envvar="INSTANCE_TYPE",
            help="EC2 instance type, or several to try in order: a,b,c. Default: the stack's to train, else small.",
        ),
    ] = None
    lane: Annotated[str, typer.Option(help="The lane to run in; each has one run at a time.", autocompletion=lanes)] = (
        MAIN_LANE
    )
    max_hours: Annotated[
        float | None, typer.Option(help="Hard deadline of the run. Default: 12 to train, 4 to forecast and evaluate.")
    ] = None
    max_cost: Annotated[float | None, typer.Option(help="Cost limit in USD over all attempts.")] = None
    price: Annotated[
        float | None,
        typer.Option(help="USD per hour of the instance, whatever its type. Default: the list price."),
    ] = None
    spot: Annotated[
        bool, typer.Option("--spot", help="Use spot capacity: cheaper, but EC2 may take the instance back.")
    ] = False
    wait_for_capacity: Annotated[
        str | None,
        typer.Option(help="How long to wait if EC2 has no capacity, such as 2h. Default: the launch fails at once."),
    ] = None
    on_demand_after: Annotated[
        str | None,
        typer.Option(help="With --spot: after how long a wait on-demand capacity will do too, such as 30m."),
    ] = None
    preemptions: Annotated[int, typer.Option(help="How often the run resumes after a spot interruption.")] = 5
    crashes: Annotated[int, typer.Option(help="How often the run resumes after its instance died.")] = 1
    allow_cpu: Annotated[bool, typer.Option("--allow-cpu", help="Use the CPU if there is no GPU.")] = False
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be started and what it costs; stop.")] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run as `monitor` does.")] = False
    environment: Environment = "dev"
    region: Region = None
    bucket: Bucket = None
    json: AsJson = False

    def request(self, **what: Any) -> LaunchRequest:
        """The launch that these options ask for; `what` are its other fields. Raises InvalidInput."""
        return LaunchRequest(
            lane=Lane(self.environment, self.lane),
            instance_types=self.instance_type,
            max_hours=self.max_hours,
            max_cost_usd=self.max_cost,
            price_per_hour_usd=self.price,
            market=SPOT if self.spot else ON_DEMAND,
            preemptions=self.preemptions,
            crashes=self.crashes,
            allow_cpu=self.allow_cpu,
            wait_for_capacity=_span("--wait-for-capacity", self.wait_for_capacity),
            on_demand_after=_span("--on-demand-after", self.on_demand_after),
            **what,
        )


def with_launch_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose argument `options` is filled by these options, which come after its own."""
    own = inspect.signature(command, eval_str=True)
    hints = get_type_hints(LaunchOptions, include_extras=True)
    names = [field.name for field in fields(LaunchOptions)]
    parameters = [one.replace(kind=one.KEYWORD_ONLY) for one in own.parameters.values() if one.name != "options"]
    parameters += [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(LaunchOptions)
    ]

    def run(**given: Any) -> None:
        options = LaunchOptions(**{name: given.pop(name) for name in names})
        command(**given, options=options)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _span(option: str, value: str | None) -> timedelta | None:
    return None if value is None else check_span(value, option, _SHORTEST_WAIT, _LONGEST_WAIT)
