"""`chronos-ec2 launch`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.cli.commands.jobs import job_flags as flags
from chronos_ec2.cli.commands.jobs.launch_options import LaunchOptions, with_launch_options
from chronos_ec2.cli.commands.jobs.start import Work, start
from chronos_ec2.cli.completion import datasets, registered, run_ids
from chronos_ec2.cli.convert import TimestampFormat
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.champion import DEFAULT_MODEL, Promote
from chronos_ec2.job_config.schema import Ending
from chronos_ec2.services.launch.config import DEFAULT_CONFIG, Trainer, requested_config


@with_launch_options
def launch(
    options: LaunchOptions,
    config: Annotated[
        Path | None, typer.Option(help=f"Configuration of any job (YAML). Default: the uploaded {DEFAULT_CONFIG}.")
    ] = None,
    data: flags.Data = None,
    future: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Of a forecast: the data set with the covariates that are known ahead.",
            autocompletion=datasets,
        ),
    ] = None,
    timestamp_format: TimestampFormat = None,
    trainer: Annotated[
        Trainer | None, typer.Option(help="`probe`: a smoke test without --config; costs cents, trains nothing.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long the probe runs. Default: 3.")] = None,
    ending: Annotated[Ending | None, typer.Option(help="How the probe ends. Default: ok.")] = None,
    promote: Annotated[
        Promote | None,
        typer.Option(help="Make the model the champion at the end: if it is significantly better, or always."),
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(
            help=f"With --promote: which model of the registry. Default: {DEFAULT_MODEL}.", autocompletion=registered
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            autocompletion=run_ids,
            help="Take up a run that ended before its training was complete, from its latest checkpoint, as a new run.",
        ),
    ] = None,
) -> None:
    """Start a run on a new instance. Refused while another run is active in the lane.

    Shows first what the run may cost and by when it is gone, and asks if there is a terminal to ask on.
    """
    if resume is not None:
        fixed = {"--config": config, "--trainer": trainer, "--minutes": minutes, "--ending": ending, "--data": data}
        fixed |= {"--future": future, "--promote": promote, "--allow-cpu": options.allow_cpu or None}
        _refuse_with("--resume", fixed, f"a resumed run trains exactly as run {resume} did; leave out one of them")
    if trainer is not None:
        _refuse_with("--trainer", {"--data": data, "--future": future}, "the probe brings its own data")
    if promote is None and model_name is not None:
        raise InvalidInput("--model-name", "is for --promote", "give --promote better or --promote always too")
    asked = requested_config(config, trainer, minutes, ending)
    work = Work(
        asked,
        config,
        resume,
        data,
        future,
        timestamp_format,
        promote=promote,
        model_name=DEFAULT_MODEL if model_name is None else model_name,
    )
    start(work, options)


def _refuse_with(option: str, others: Mapping[str, object], remedy: str) -> None:
    """Raise InvalidInput if another option is given that has no meaning with this one."""
    given = next((name for name, value in others.items() if value is not None), None)
    if given is not None:
        raise InvalidInput(option, f"and {given} exclude each other", remedy)
