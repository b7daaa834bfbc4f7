"""`chronos-ec2 runs`."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from chronos_ec2.bootstrap import OperatorWorld
from chronos_ec2.cli.commands.runs.groups import show_group
from chronos_ec2.cli.completion import run_ids
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, RunId, connect
from chronos_ec2.cli.output import (
    as_document,
    coloured_status,
    console,
    dollars,
    joined,
    print_json,
    print_table,
    verdict_line,
)
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.run import Run
from chronos_ec2.services.groups.status import find_group
from chronos_ec2.services.run_details import RunDetails, config_differences, phases, run_details
from chronos_ec2.services.run_queries import RunView, UnreadRun, list_instances, list_runs

Limit = Annotated[int, typer.Option(min=1, help="How many runs to list.")]
runs = typer.Typer(name="runs", rich_markup_mode=None)


@runs.callback(invoke_without_command=True)
def runs_by_default(
    context: typer.Context,
    limit: Limit = 20,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """List the runs of an environment, newest first; show one, compare several."""
    if context.invoked_subcommand is None:
        list_(limit, environment, region, bucket, json)


@runs.command("list")
def list_(
    limit: Limit = 20,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """List the runs of an environment, newest first."""
    world = connect(environment, region, bucket)
    found, now = list_runs(world.store, environment, limit), world.clock.now()
    listed = list_instances(world.fleet, environment)

    def row(run: RunView | UnreadRun) -> tuple[str | Text, ...]:
        if isinstance(run, UnreadRun):
            return run.run_id, "", "", "unknown", "", "unknown", f"could not be read: {run.problem}"
        status, cost = coloured_status(run.run), dollars(run.cost_usd(now, world.limits, listed))
        about = filter(None, (verdict_line(run.run) or joined(run.progress), joined(_takes_up(run.run))))
        return (
            run.run.run_id,
            str(run.run.job),
            run.run.lane.name,
            status,
            str(run.run.attempt),
            cost,
            Text(", ").join(about),
        )

    if json:
        print_json(
            [
                {"run_id": run.run_id, "error": run.problem}
                if isinstance(run, UnreadRun)
                else as_document(run, run.cost_usd(now, world.limits, listed))
                for run in found
            ]
        )
        return
    if not found:
        console.print(f"no runs yet in environment {environment}")
        return
    print_table(("run", "job", "lane", "status", "attempt", "cost", ""), [row(run) for run in found])


@runs.command()
def show(
    run_id: RunId,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Show a run: how it ended, what it took, what it cost, how good its model is, what it was told to do.

    Of a group: its runs, and by what they differ.
    """
    world = connect(environment, region, bucket)
    if group := find_group(world.store, environment, run_id):
        show_group(world, group, json=json)
        return
    details, cost_of = run_details(world.store, environment, run_id), _costs(world, environment)
    if json:
        document = as_document(details.view, cost_of(details))
        more = {"config": dict(details.config), "scores": dict(details.scores), "forecasts": dict(details.forecasts)}
        print_json(dict(document) | more)
        return
    run = details.run
    lines: list[tuple[str, str | Text]] = [
        ("run", f"{run.run_id}, {run.job}, in lane {run.lane.name}, attempt {run.attempt}"),
        (
            "ended" if run.verdict else "status",
            verdict_line(run) or joined(coloured_status(run), f" {details.view.progress}"),
        ),
        ("took", ", ".join(f"{status} {human_span(span)}" for status, span in phases(run))),
        ("instance", run.instance_type),
        ("cost", dollars(cost_of(details))),
        ("scores", _scores(details)),
        ("forecasts", ", ".join(f"{count} {name}" for name, count in details.forecasts.items())),
        ("parent", run.parent or ""),
    ]
    for name, text in lines:
        if text:
            console.field(f"{name:<10}", text)
    console.field("config    ", one_line(jsonlib.dumps(details.config), 4000))
    console.field("results   ", f"s3://{world.stack.bucket}/{environment}/{run_id}/")


@runs.command()
def compare(
    run_ids: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Run ids, see `runs`.", autocompletion=run_ids)
    ],
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Compare runs: outcome, time, cost, scores, and the keys in which their configurations differ."""
    if len(run_ids) < 2:
        raise InvalidInput("RUN", "one run cannot be compared", "give two or more; `chronos-ec2 runs` lists them")
    world = connect(environment, region, bucket)
    found, cost_of = [run_details(world.store, environment, run_id) for run_id in run_ids], _costs(world, environment)
    differing = config_differences(found)
    if json:
        rows = [
            dict(as_document(each.view, cost_of(each))) | {"exported": each.exported, "scores": dict(each.scores)}
            for each in found
        ]
        print_json({"runs": rows, "config": differing})
        return
    metrics = sorted({name for each in found for name in each.scores})
    table: list[tuple[str, Sequence[str | Text]]] = [
        ("job", [str(each.run.job) for each in found]),
        ("status", [coloured_status(each.run) for each in found]),
        ("took", [_took(each.run) for each in found]),
        ("cost", [dollars(cost_of(each)) for each in found]),
        ("instance", [each.run.instance_type for each in found]),
        ("model", [each.exported or "" for each in found]),
        *((name, [_number(each.scores.get(name)) for each in found]) for name in metrics),
        *((key, [_value(value) for value in values]) for key, values in differing.items()),
    ]
    print_table(("", *run_ids), [(name, *cells) for name, cells in table])


def _takes_up(run: Run) -> str:
    return f"takes up {run.parent}" if run.parent else ""


def _costs(world: OperatorWorld, environment: str) -> Callable[[RunDetails], float | None]:
    now, listed = world.clock.now(), list_instances(world.fleet, environment)
    return lambda details: details.view.cost_usd(now, world.limits, listed)


def _scores(details: RunDetails) -> str:
    scores = ", ".join(f"{name} {_number(value)}" for name, value in details.scores.items())
    return f"{scores} ({details.exported})" if scores else ""


def _took(run: Run) -> str:
    ended = run.ended_at or (run.phases[-1][1] if run.verdict and run.phases else None)
    return human_span(ended - run.created_at) if ended else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _value(value: Any) -> str:
    return one_line(value if isinstance(value, str) else jsonlib.dumps(value), 60)
