"""`chronos-ec2 forecast`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from chronos_ec2.cli.commands.jobs import job_flags as flags
from chronos_ec2.cli.commands.jobs.launch_options import LaunchOptions, with_launch_options
from chronos_ec2.cli.commands.jobs.start import Work, start
from chronos_ec2.cli.completion import datasets, models
from chronos_ec2.cli.convert import TimestampFormat
from chronos_ec2.client.group import sharded
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.status import Job


@with_launch_options
def forecast(
    options: LaunchOptions,
    data: flags.Data = None,
    horizon: flags.Horizon = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A hub id, s3://…, run:RUN_ID, champion or a folder such as ./model. Default: amazon/chronos-2.",
            autocompletion=models,
        ),
    ] = None,
    future: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="The data set with the known covariates of the points to forecast.",
            autocompletion=datasets,
        ),
    ] = None,
    quantiles: Annotated[
        str | None, typer.Option(help="A column for each of these levels. Default: 0.1,0.2,…,0.9.")
    ] = None,
    format: Annotated[  # noqa: A002 - the name of the option
        Literal["parquet", "csv"] | None, typer.Option(help="Of the files with the forecasts. Default: parquet.")
    ] = None,
    to: flags.To = None,
    series: Annotated[str | None, typer.Option(help="Pattern of the series to forecast, such as 'shop-*'.")] = None,
    context: flags.Context = None,
    item_id: flags.ItemId = None,
    timestamp: flags.Timestamp = None,
    target: flags.Target = None,
    known: flags.Known = None,
    past: flags.Past = None,
    timestamp_format: TimestampFormat = None,
    config: flags.Config = None,
    shards: Annotated[
        int | None, typer.Option(help="Split the series among so many runs; --max-cost is for all of them.")
    ] = None,
    parallel: flags.Parallel = None,
    name: flags.GroupName = None,
) -> None:
    """Forecast what comes after the end of each series.

    On a new instance. Without training, the default model forecasts data that it has never seen. Forecasts are Parquet
    or CSV files below forecasts/ of the run; --to downloads them. With --shards several runs make a part each, with one
    manifest over all.
    """
    keys = {
        "prediction_length": horizon,
        "context_length": context,
        "model": model,
        "quantile_levels": flags.numbers("--quantiles", quantiles),
        "output.format": format,
        "series": series,
    } | flags.columns(item_id, timestamp, target, known, past)
    described = flags.job_config(Job.FORECAST, config, data, keys)
    if shards is None and not (parallel is None and name is None):
        raise InvalidInput("--parallel" if name is None else "--name", "is for --shards", "give --shards too")
    group = None if shards is None else sharded(shards, parallel, name)
    start(Work(described, config, None, data, future, timestamp_format, to, group=group), options)
