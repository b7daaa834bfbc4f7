"""`chronos-ec2 evaluate`."""

from __future__ import annotations

from typing import Annotated

import typer

from chronos_ec2.cli.commands.jobs import job_flags as flags
from chronos_ec2.cli.commands.jobs.launch_options import LaunchOptions, with_launch_options
from chronos_ec2.cli.commands.jobs.start import Work, start
from chronos_ec2.cli.convert import TimestampFormat
from chronos_ec2.domain.records.status import Job
from chronos_ec2.job_config.jobs import BASE_MODEL


@with_launch_options
def evaluate(
    options: LaunchOptions,
    data: flags.Data = None,
    horizon: flags.Horizon = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            "--model",
            help=f"Models to compare: hub ids, s3://…, run:RUN_ID, champion, folders, as a,b,c. Default: {BASE_MODEL}.",
        ),
    ] = None,
    windows: Annotated[int | None, typer.Option(min=1, help="Windows at the end of each series. Default: 1.")] = None,
    season: Annotated[
        int | None, typer.Option(min=1, help="Points per season, for MASE and the seasonal naive forecast. Default: 1.")
    ] = None,
    to: flags.To = None,
    series: Annotated[str | None, typer.Option(help="Pattern of the series to evaluate, such as 'shop-*'.")] = None,
    context: flags.Context = None,
    item_id: flags.ItemId = None,
    timestamp: flags.Timestamp = None,
    target: flags.Target = None,
    known: flags.Known = None,
    past: flags.Past = None,
    timestamp_format: TimestampFormat = None,
    config: flags.Config = None,
) -> None:
    """Compare models on the last points of each series.

    On a new instance, without training. Every model and some statistical baselines forecast the same windows. The
    report has a leaderboard and a verdict: is it worth it to train?
    """
    named = flags.names(models)
    keys = {
        "prediction_length": horizon,
        "context_length": context,
        "models": [BASE_MODEL] if named is None and config is None else named,
        "evaluation.windows": windows,
        "evaluation.season_length": season,
        "evaluation.series": series,
    } | flags.columns(item_id, timestamp, target, known, past)
    described = flags.job_config(Job.EVALUATE, config, data, keys)
    start(Work(described, config, None, data, None, timestamp_format, to), options)
