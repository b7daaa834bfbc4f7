"""`chronos-ec2 runs`."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.commands.runs.groups import show_group
from chronos_ec2.cli.completion import run_ids
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, RunOrGroup, check_target, connect
from chronos_ec2.cli.output import (
    as_document,
    coloured_end,
    coloured_status,
    console,
    dollars,
    joined,
    print_json,
    print_table,
    verdict_line,
)
from chronos_ec2.client.comparison import Comparison
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import brief_span, human_span
from chronos_ec2.domain.records.lane import MAIN_LANE
from chronos_ec2.job_config.parse import parse_config
from chronos_ec2.services.groups.status import find_group
from chronos_ec2.services.run_details import RunDetails, config_differences, phases, run_details
from chronos_ec2.services.run_queries import RunView, UnreadRun, list_instances, list_runs

_COLUMNS = ("run", "age", "job", "status", "took", "cost", "type", "")
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many runs to list.")]
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
    """List the runs of an environment; show one, compare several."""
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
    costs = [None if isinstance(run, UnreadRun) else run.cost_usd(now, world.limits, listed) for run in found]
    if json:
        print_json(
            [
                {"run_id": run.run_id, "error": run.problem} if isinstance(run, UnreadRun) else as_document(run, cost)
                for run, cost in zip(found, costs, strict=True)
            ]
        )
        return
    if not found:
        console.print(f"no runs yet in environment {environment}")
        return
    print_table(_COLUMNS, [_row(run, cost, now) for run, cost in zip(found, costs, strict=True)])


@runs.command()
def show(
    run_id: RunOrGroup,
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
    console.field("config    ", ", ".join(_chosen(details.config)))
    console.field("results   ", f"s3://{world.stack.bucket}/{environment}/{run_id}/")


@runs.command()
def compare(
    run_ids: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Run ids, see `runs`.", autocompletion=run_ids)
    ],
    html: Annotated[Path | None, typer.Option(help="Also write the comparison into this HTML file.")] = None,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Compare runs: outcome, time, cost, scores, and the keys in which their configurations differ."""
    if len(run_ids) < 2:
        raise InvalidInput("RUN", "one run cannot be compared", "give two or more; `chronos-ec2 runs` lists them")
    if html:
        check_target("--html", html, folder=False)
    world = connect(environment, region, bucket)
    found, cost_of = [run_details(world.store, environment, run_id) for run_id in run_ids], _costs(world, environment)
    comparison = Comparison(found, [cost_of(each) for each in found], world.clock.now())
    if html:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_bytes(comparison.page())
    if json:
        rows = [
            dict(as_document(each.view, cost)) | {"exported": each.exported, "scores": dict(each.scores)}
            for each, cost in zip(found, comparison.costs, strict=True)
        ]
        print_json({"runs": rows, "config": config_differences(found), "html": html and str(html)})
        return
    print_table(
        ("", *run_ids),
        [(name, *values) for name, values in (*comparison.results(), *comparison.configuration())],
    )
    if html:
        console.print(f"comparison  {html}")


def _row(run: RunView | UnreadRun, cost: float | None, now: datetime) -> tuple[str | Text, ...]:
    if isinstance(run, UnreadRun):
        return run.run_id, "", "", "unknown", "", "unknown", "", f"could not be read: {run.problem}"
    record, verdict = run.run, run.run.verdict
    about = [
        f"lane {record.lane.name}" if record.lane.name != MAIN_LANE else "",
        f"attempt {record.attempt}" if record.attempt > 1 else "",
        f"{verdict.cause}: {verdict.message}" if verdict else run.progress,
        f"takes up {record.parent}" if record.parent else "",
    ]
    return (
        record.run_id, brief_span(now - record.created_at), str(record.job), coloured_end(record),
        brief_span(run.lasted(now)), dollars(cost), record.instance_type, ", ".join(filter(None, about)),
    )  # fmt: skip


def _chosen(config: Mapping[str, Any]) -> Iterator[str]:
    """What a configuration says beside the defaults; all of it if it is not one of this release."""
    try:
        given = parse_config(dict(config), "request.json").model_dump(mode="json", exclude_defaults=True)
    except InvalidInput:
        given = dict(config)
    yield from _keys(given, "")


def _keys(section: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} {one_line(value if isinstance(value, str) else jsonlib.dumps(value), 200)}"


def _costs(world: OperatorWorld, environment: str) -> Callable[[RunDetails], float | None]:
    now, listed = world.clock.now(), list_instances(world.fleet, environment)
    return lambda details: details.view.cost_usd(now, world.limits, listed)


def _scores(details: RunDetails) -> str:
    scores = ", ".join(f"{name} {_number(value)}" for name, value in details.scores.items())
    return f"{scores} ({details.exported})" if scores else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
