"""`chronos-ec2 schedule`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.commands.jobs.launch_options import LaunchOptions, with_launch_options
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, confirm, connect
from chronos_ec2.cli.output import console, print_json, print_table, print_warning, styled
from chronos_ec2.cli.plan import Plan
from chronos_ec2.domain.errors import InvalidInput, LostRace
from chronos_ec2.domain.parsing.names import check_name
from chronos_ec2.domain.parsing.numbers import check_number
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.champion import DEFAULT_MODEL, Promote
from chronos_ec2.domain.records.status import Job
from chronos_ec2.domain.schedules.ledger import Ledger
from chronos_ec2.domain.schedules.order import Planned, Schedule, check_schedule_name
from chronos_ec2.job_config.jobs import ForecastConfig, JobConfig
from chronos_ec2.job_config.parse import load_config
from chronos_ec2.services.launch.dataset import find_dataset
from chronos_ec2.services.launch.former import find_former
from chronos_ec2.services.schedules import Started
from chronos_ec2.services.schedules.ordering import create_schedule, delete_schedule
from chronos_ec2.services.schedules.plan import planned_run

Name = Annotated[str, typer.Argument(help="The name of a schedule.")]
schedule = typer.Typer(name="schedule", rich_markup_mode=None, no_args_is_help=True)
_RATE = re.compile(r"([1-9][0-9]{0,3})([hd])")
_UNITS = {"h": "hour", "d": "day"}


@schedule.callback()
def _schedule() -> None:
    """Start runs by themselves: at a time, or when new data are there."""


@schedule.command()
@with_launch_options
def create(
    options: LaunchOptions,
    name: Name,
    config: Annotated[Path, typer.Option(help="Configuration of the run (YAML).")],
    cron: Annotated[str | None, typer.Option(help='Six fields in UTC, such as "0 3 * * ? *": at three.')] = None,
    rate: Annotated[str | None, typer.Option(help="How often, such as 6h or 1d.")] = None,
    on_data: Annotated[
        str | None, typer.Option(metavar="NAME", help="Each time that data set NAME has been uploaded.")
    ] = None,
    promote: Annotated[
        Promote | None, typer.Option(help="Make the model the champion at the end: if it is better, or always.")
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help=f"With --promote: which model of the registry. Default: {DEFAULT_MODEL}.")
    ] = None,
    then: Annotated[
        Path | None, typer.Option(help="Configuration of the job after each run that has succeeded: a forecast.")
    ] = None,
    then_future: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of that job: the data set with the known covariates.")
    ] = None,
    max_cost_per_month: Annotated[
        float | None, typer.Option(help="USD that its runs may cost in a month; needs --max-cost, the limit of each.")
    ] = None,
) -> None:
    """Order a schedule. Its runs use this checkout's agent and today's prices until it is created again.

    Unchanged data start nothing. Neither does a busy lane or a spent month, of which people are told once.
    """
    check_schedule_name(name)
    expression = _expression(cron, rate, on_data)
    _check_cap(max_cost_per_month, options.max_cost)
    trained, after = load_config(config), load_config(then) if then else None
    _check_data(config, trained, on_data)
    if isinstance(after, ForecastConfig) and after.future != (then_future is not None):
        problem = "and future: true in the configuration of --then belong together"
        raise InvalidInput("--then-future", problem, "give both or none")
    world = connect(options.environment, options.region, options.bucket)
    if world.schedules.orders.order(name):
        raise _exists(name)
    if expression:
        find_dataset(world.store, options.environment, trained.data.path)
    run = _planned(world, options, trained, config, None, promote, DEFAULT_MODEL if model_name is None else model_name)
    follows = replace(options, lane=f"{name}-then", instance_type=None)
    afterwards = _planned(world, follows, after, then, then_future) if after and then else None
    made = Schedule(name, expression, on_data, run, afterwards, max_cost_per_month)
    if options.plan:
        return
    try:
        create_schedule(made, world.schedules.orders, world.timetable)
    except LostRace as error:
        raise _exists(name) from error
    if options.json:
        print_json(_as_document(made, Ledger()))
    else:
        console.print("schedule ", styled(name, "bold"), f": {made.when}")
        console.print(f"  next      chronos-ec2 schedule run {name} --environment {options.environment}")


@schedule.command("list")
def list_(environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False) -> None:
    """List the schedules of an environment."""
    orders = connect(environment, region, bucket).schedules.orders
    found = [(made, orders.ledger(name).ledger) for name in orders.names() if (made := orders.order(name))]
    if json:
        print_json([_as_document(*one) for one in found])
    elif not found:
        console.print(f"no schedules in environment {environment}: `chronos-ec2 schedule create` makes one")
    else:
        rows = [(one.name, one.when, "on" if one.enabled else "paused", _last(ledger)) for one, ledger in found]
        print_table(("schedule", "when", "", "last run"), rows)


@schedule.command()
def show(
    name: Name, environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False
) -> None:
    """Show a schedule and the runs that it has started, newest first."""
    orders = connect(environment, region, bucket).schedules.orders
    made, ledger = _found(name, orders.order(name)), orders.ledger(name).ledger
    if json:
        print_json(_as_document(made, ledger))
        return
    console.print(f"{name}: {made.when}{'' if made.enabled else ' (paused)'}, lane {made.run.request.lane.name}")
    rows = [
        (one.run_id, one.job, format_time(one.at), "" if one.spent_usd is None else f"${one.spent_usd:.2f}")
        for one in reversed(ledger.entries)
    ]
    print_table(("run", "job", "for", "cost"), rows)


@schedule.command()
def pause(
    name: Name, environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False
) -> None:
    """Start no more runs until the schedule is resumed. One that is active goes on."""
    _enable(name, connect(environment, region, bucket), enabled=False, json=json)


@schedule.command()
def resume(
    name: Name, environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False
) -> None:
    """Start runs again. What was missed meanwhile is not made up for."""
    _enable(name, connect(environment, region, bucket), enabled=True, json=json)


@schedule.command()
def run(
    name: Name, environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False
) -> None:
    """Start the run of a schedule now, also if its data have not changed or it is paused."""
    world = connect(environment, region, bucket)
    _found(name, world.schedules.orders.order(name))
    done = world.schedules.invoke(name, world.clock.now(), asked=True)
    if not isinstance(done, Started):
        raise InvalidInput("NAME", f"schedule {name} starts nothing: {done.reason}", "`chronos-ec2 runs` lists runs")
    if json:
        print_json({"run_id": done.run_id})
    else:
        console.print("run ", styled(done.run_id, "bold"), " started")
        console.print(f"  next      chronos-ec2 monitor {done.run_id} --environment {environment}")


@schedule.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Delete a schedule. Its runs and their results stay."""
    check_schedule_name(name)
    world = connect(environment, region, bucket)
    if name not in world.schedules.orders.names() and name not in world.timetable.listed():
        raise _missing(name)
    if not yes:
        confirm(f"delete schedule {name}?")
    delete_schedule(name, world.schedules.orders, world.timetable)
    if json:
        print_json({"deleted": name})
    else:
        console.print(f"schedule {name} deleted")


def _planned(
    world: OperatorWorld,
    options: LaunchOptions,
    config: JobConfig,
    path: Path,
    future: str | None,
    promote: Promote | None = None,
    model_name: str = DEFAULT_MODEL,
) -> Planned:
    """Check what a run of the schedule needs, show what it may cost, and upload what the bucket lacks of it."""
    request = options.request(
        config=config, config_path=path, promote=promote, model_name=check_name(model_name, "--model-name"), later=True
    )
    with console.status("checking the schedule") as show:
        preparation = world.launch_preparation(show, print_warning)
        prepared = preparation.plan(request)
        shown = Plan(prepared, find_former(world.store, prepared.spec), world.clock.now())
    if not options.json:
        shown.print()
    spec = prepared.spec
    if not options.plan:
        with console.status("preparing the schedule") as show:
            spec = replace(preparation, report=show).publish(request, prepared)
    return planned_run(spec, world.clock.now(), None if future is None else f"training-data/{future}/")


def _check_cap(per_month: float | None, per_run: float | None) -> None:
    if per_month is None:
        return
    check_number(per_month, "--max-cost-per-month", 0, 1_000_000, above=True)
    if per_run is None:
        problem = "needs --max-cost: what a run may cost is reserved before it starts"
        raise InvalidInput("--max-cost-per-month", problem, "give --max-cost too, such as --max-cost 5")


def _check_data(path: Path, config: JobConfig, on_data: str | None) -> None:
    if on_data is None or config.data.path.rstrip("/") == f"training-data/{check_name(on_data, '--on-data')}":
        return
    problem = f"{path} has data.path: {config.data.path}, which is another data set"
    raise InvalidInput("--on-data", problem, f"write data: {{path: training-data/{on_data}/}}")


def _expression(cron: str | None, rate: str | None, on_data: str | None) -> str | None:
    """The expression of EventBridge Scheduler, None to wait for data. Raises InvalidInput."""
    if sum(one is not None for one in (cron, rate, on_data)) != 1:
        problem = "exactly one of --cron, --rate and --on-data says when the schedule starts runs"
        raise InvalidInput("--cron", problem, 'such as --cron "0 3 * * ? *", --rate 1d or --on-data sales')
    if cron is not None:
        return f"cron({cron})"
    if rate is None:
        return None
    found = _RATE.fullmatch(rate)
    if found is None:
        raise InvalidInput("--rate", f"{rate!r} is not a number of hours or days", "such as 6h or 1d")
    unit = _UNITS[found[2]]
    return f"rate({found[1]} {unit if found[1] == '1' else unit + 's'})"


def _enable(name: str, world: OperatorWorld, *, enabled: bool, json: bool) -> None:
    made = _found(name, world.schedules.orders.enable(name, enabled=enabled))
    if json:
        print_json({"schedule": name, "enabled": made.enabled})
    else:
        console.print(f"schedule {name} is {'on' if made.enabled else 'paused'}")


def _found(name: str, made: Schedule | None) -> Schedule:
    if made is None:
        raise _missing(name)
    return made


def _missing(name: str) -> InvalidInput:
    return InvalidInput("NAME", f"there is no schedule {name}", "`chronos-ec2 schedule list` lists all")


def _exists(name: str) -> InvalidInput:
    return InvalidInput("NAME", f"there is a schedule {name} already", f"`chronos-ec2 schedule delete {name}` first")


def _last(ledger: Ledger) -> str:
    return ledger.entries[-1].run_id if ledger.entries else "none"


def _as_document(made: Schedule, ledger: Ledger) -> dict[str, Any]:
    return {
        "schedule": made.name,
        "when": made.when,
        "enabled": made.enabled,
        "lane": made.run.request.lane.name,
        "data_path": made.run.data_path,
        "then": str(Job(made.then.request.job)) if made.then else None,
        "max_cost_per_month_usd": made.max_cost_per_month_usd,
        "runs": [one.to_dict() for one in reversed(ledger.entries)],
    }
