"""Start a run: plan, question, upload, launch; then follow it and fetch its results if that is asked for."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.commands.jobs.inputs import InputFinder, Inputs
from chronos_ec2.cli.commands.jobs.launch_options import LaunchOptions
from chronos_ec2.cli.commands.runs.groups import follow_group
from chronos_ec2.cli.commands.runs.monitor import follow_run
from chronos_ec2.cli.commands.runs.results import download, download_results
from chronos_ec2.cli.exit_codes import ExitCode
from chronos_ec2.cli.options import check_target, confirm, connect, on_interrupt
from chronos_ec2.cli.output import console, print_json, print_waiting, print_warning, styled
from chronos_ec2.cli.plan import GroupSize, Plan
from chronos_ec2.client.group import Grouping, begin, group_results
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import check_name, counted
from chronos_ec2.domain.records.champion import DEFAULT_MODEL, Promote
from chronos_ec2.domain.records.lane import MAIN_LANE
from chronos_ec2.domain.records.s3_keys import group_key
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.services.groups.status import find_group
from chronos_ec2.services.launch import Launched, WaitsForCapacity, launch
from chronos_ec2.services.launch.config import default_config
from chronos_ec2.services.launch.former import find_former
from chronos_ec2.services.launch.prepare import Prepared
from chronos_ec2.services.launch.spec import LaunchRequest, LaunchSpec


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is to do.

    Attributes:
        config: None: the default configuration in the bucket.
        config_path: the file that `config` was read from.
        resume: the run to take up.
        data: the data set, or files of this machine; None: the configuration names it.
        future: the same for the known covariates of the points to forecast.
        group: the group that it is split into; None: it is one run.
        promote: when the model becomes the champion of `model_name` by itself.
        to: where the results go once the run is over; None: they stay in the bucket.
    """

    config: JobConfig | None
    config_path: Path | None = None
    resume: str | None = None
    data: str | None = None
    future: str | None = None
    timestamp_format: str | None = None
    to: Path | None = None
    promote: Promote | None = None
    model_name: str = DEFAULT_MODEL
    group: Grouping | None = None


def start(work: Work, options: LaunchOptions) -> None:
    """Start a run as a command asks for it, and print what has become of it."""
    options.request(config=work.config)  # refuses wrong numbers and names before anything is read
    if work.group is not None and options.lane != MAIN_LANE:
        raise InvalidInput("--lane", "is for a single run", "leave it out: each run of a group has a lane of its own")
    if work.to is not None:
        check_target("--to", work.to, folder=True)
    world = connect(options.environment, options.region, options.bucket)
    with ExitStack() as temporary, on_interrupt("nothing was started"):
        inputs = _inputs(work, world, temporary)
        request = options.request(
            config=inputs and inputs.config, config_path=work.config_path, resume=work.resume,
            data=inputs and inputs.data, future=inputs and inputs.future,
            promote=work.promote, model_name=check_name(work.model_name, "--model-name"),
        )  # fmt: skip
        if work.group is not None:
            name = _begin_group(work.group, request, world, options)
            started = None
        else:
            name, started = None, _launch(request, world, options)
    if name is not None:
        _follow_group(name, work.to, world, options)
    if started is None:
        return
    run_id, environment = started.run_id, options.environment
    succeeded = True
    if options.watch or work.to is not None:
        with on_interrupt(f"the run goes on; `chronos-ec2 monitor {run_id}` follows it again"):
            succeeded = follow_run(environment, options.region, options.bucket, run_id, json=options.json)
    if work.to is not None:
        download_results(world, environment, run_id, work.to, json=options.json)
    if not succeeded:
        raise typer.Exit(ExitCode.FAILED)


def _inputs(work: Work, world: OperatorWorld, temporary: ExitStack) -> Inputs | None:
    """The configuration and its data; None if the one in the bucket is used as it is."""
    if work.data is None and work.future is None and work.config is None:
        return None
    config = work.config or default_config(world.store, world.stack.environment, print_warning)
    return InputFinder(world, temporary, work.timestamp_format).find(config, work.data, work.future)


def _launch(request: LaunchRequest, world: OperatorWorld, options: LaunchOptions) -> Launched | WaitsForCapacity | None:
    """Plan, ask, publish, launch. None if only the plan is asked for."""
    prepared, shown, spec = _prepare(request, world, options)
    if spec is None:
        return None
    with _terminated_like_interrupted():
        launched = launch(spec, world.store, world.fleet, world.deadlines, world.clock)
    _print(launched, prepared, shown, f"s3://{world.stack.bucket}/{options.environment}/{launched.run_id}/", options)
    return launched


def _begin_group(
    grouping: Grouping, request: LaunchRequest, world: OperatorWorld, options: LaunchOptions
) -> str | None:
    """Plan, ask, publish, order a group and start its first members; its name, None if only the plan is asked for."""
    environment = options.environment
    name, request = grouping.first(request, world)
    prepared, _, spec = _prepare(request, world, options, GroupSize(grouping.members, grouping.parallel))
    variants = grouping.variants(prepared)
    if spec is None:
        return None
    group = grouping.order(name, spec, variants, world)
    with on_interrupt(f"`chronos-ec2 runs show {name}` shows what was started, `chronos-ec2 kill {name}` ends it"):
        begin(group, world)
    uri = f"s3://{world.stack.bucket}/{group_key(environment, name, '')}"
    if options.json:
        print_json({"group": name, "uri": uri, "runs": list(group.run_ids)})
        return name
    members = counted(len(group.members), "run")
    console.print("group ", styled(name, "bold"), f": {members}, {group.parallel} at a time")
    console.print(f"  results   {uri}")
    console.print(f"  next      chronos-ec2 monitor {name} --environment {environment}")
    return name


def _follow_group(name: str, to: Path | None, world: OperatorWorld, options: LaunchOptions) -> None:
    if not (options.watch or to is not None):
        return
    succeeded = follow_group(options.environment, options.region, options.bucket, name, json=options.json)
    if to is not None and succeeded and (view := find_group(world.store, options.environment, name)):
        download(world, f"group {name}", group_results(world, view), to, json=options.json)
    if not succeeded:
        raise typer.Exit(ExitCode.FAILED)


def _prepare(
    request: LaunchRequest, world: OperatorWorld, options: LaunchOptions, group: GroupSize | None = None
) -> tuple[Prepared, Plan, LaunchSpec | None]:
    """Plan, ask, publish. Without a spec only the plan is asked for."""
    with console.status("checking the launch") as show:
        preparation = world.launch_preparation(show, print_warning)
        prepared = preparation.plan(request)
        shown = Plan(prepared, find_former(world.store, prepared.spec), world.clock.now(), group)
    if options.plan and options.json:
        print_json({"plan": shown.as_document()})
    elif not options.json:
        shown.print()
    if options.plan:
        return prepared, shown, None
    if not (options.yes or options.json) and sys.stdin.isatty() and sys.stderr.isatty():
        confirm("start it?")
    with console.status("preparing the launch") as show:
        return prepared, shown, replace(preparation, report=show).publish(request, prepared)


def _print(
    launched: Launched | WaitsForCapacity, prepared: Prepared, shown: Plan, uri: str, options: LaunchOptions
) -> None:
    if options.json:
        resumed = prepared.resumed
        parent = resumed and {"run_id": resumed.parent.run_id, "step": resumed.step}
        print_json(
            {"uri": uri, "chosen": prepared.chosen, "parent": parent, "plan": shown.as_document()} | asdict(launched)
        )
        return
    lane = prepared.spec.lane
    if isinstance(launched, WaitsForCapacity):
        console.print("run ", styled(launched.run_id, "bold"), f" waits for capacity in {lane}")
        print_waiting(launched.waiting)
    else:
        console.print("run ", styled(launched.run_id, "bold"), f" launched in {lane}")
        option = launched.option
        console.print(f"  instance  {launched.instance_id} ({option.instance_type}, {option.subnet_id})")
    console.print(f"  results   {uri}")
    console.print(f"  next      chronos-ec2 monitor {launched.run_id} --environment {options.environment}")


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the launch as Ctrl-C does, so that it frees its lane or says what may be running."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
