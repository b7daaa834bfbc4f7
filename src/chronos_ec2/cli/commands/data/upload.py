"""`chronos-ec2 upload`."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from chronos_ec2.cli.commands.jobs.inputs import READ_BYTES
from chronos_ec2.cli.convert import TimestampFormat, as_parquet
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, print_json, print_warning
from chronos_ec2.client.inputs import UNNAMED, data_checks, refuse_bad_data
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import check_name, counted
from chronos_ec2.domain.records.s3_keys import bundle_key
from chronos_ec2.input_files import shown
from chronos_ec2.job_config.parse import load_config, parse_config
from chronos_ec2.services.publish.agent import publish_agent
from chronos_ec2.services.publish.data import find_files, upload_config, upload_data

_NAMED = 5
upload = typer.Typer(
    name="upload",
    help="Upload a data set, a configuration or the agent.",
    rich_markup_mode=None,
)


@upload.command()
def data(
    folder: Annotated[Path, typer.Argument(help="A folder with Parquet, CSV or Feather files, or one file.")],
    name: Annotated[str, typer.Argument(help="Name of the data set; its `data.path` is training-data/NAME/.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove files of an earlier upload that FOLDER no longer has.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Name the columns as this configuration does, and check the data for its runs.")
    ] = None,
    timestamp_format: TimestampFormat = None,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Upload the files in FOLDER and its subfolders as data set NAME.

    CSV and Feather files are converted to Parquet first, wide tables to long ones: of a table with times and a column
    per series each column becomes a series. Links are followed. Files that no run could read are refused before
    anything is sent; with --config also what only a run with this configuration would refuse, as `data check` does.
    Without it, what a run with default settings would refuse is told, of up to 1 GiB.
    """
    check_name(name, "NAME")
    settings = load_config(config) if config else None
    checks = data_checks("--config") if settings else None
    world = connect(environment, region, bucket)
    sent: list[int] = []
    with as_parquet(folder, settings.data if settings else None, timestamp_format) as (ready, converted):
        with console.status(f"checking {folder}"):
            if settings and checks:
                refuse_bad_data(checks, ready, settings, None)
            else:
                _warn_of_bad_data(ready, folder)
        with console.status(f"uploading {folder}"):
            done = upload_data(ready, name, environment, world.store, world.transfer, sent.append, replace=replace)
    rows = sum(each.rows for each in converted)
    series = sorted({name for each in converted for name in each.series})
    if json:
        print_json(asdict(done) | {"bytes": sum(sent), "converted": len(converted), "rows": rows, "series": series})
        return
    if converted:
        wide = f"; {len(series)} columns became series: {', '.join(series[:_NAMED])}" if series else ""
        console.print(f"converted {counted(len(converted), 'file')} to Parquet, {rows} rows{wide}")
    removed = f", {done.removed} old files removed" if done.removed else ""
    size = f"{sum(sent) / 1e6:.1f} MB"
    console.print(f"{counted(done.files, 'file')}, {size}{removed}; in train.yaml:  data: {{path: {done.data_path}}}")


def _warn_of_bad_data(folder: Path, source: Path) -> None:
    """Tell what a run with default settings would refuse, if the checks are installed. Others may accept it."""
    try:
        checks = data_checks("")
    except InvalidInput:
        return
    files = find_files(folder)
    if sum(file.stat().st_size for file in files) > READ_BYTES:
        return
    defaults = parse_config({"data": {"path": UNNAMED}, "prediction_length": 1}, "")
    refused = [finding for finding in checks.check_data(files, defaults).findings if not finding.accepted]
    if refused:
        problem = f"a run with default settings would refuse the data: {refused[0].where}: {refused[0].problem}"
        print_warning(problem, f"`chronos-ec2 data check {shlex.quote(shown(source))}` lists everything")


@upload.command()
def config(
    file: Annotated[Path, typer.Argument(help="A training configuration; train.yaml is the default of `launch`.")],
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Check and upload a training configuration."""
    load_config(file)
    key = upload_config(file, environment, connect(environment, region, bucket).store)
    if json:
        print_json({"key": key})
    else:
        console.print(f"uploaded as {key}")


@upload.command()
def agent(environment: Environment = "dev", region: Region = None, bucket: Bucket = None, json: AsJson = False) -> None:
    """Upload the agent and its Python packages. `launch` does so if needed."""
    world = connect(environment, region, bucket)
    with console.status("checking the bucket for the agent") as show:
        sha256, size = publish_agent(world.stack.packages_in_image, world.store, world.transfer, show)
    if json:
        print_json({"key": bundle_key(sha256), "bytes": size})
    else:
        packages = "in the AMI" if world.stack.packages_in_image else "uploaded"
        console.print(f"{size / 1e3:.0f} kB as {bundle_key(sha256)}; its packages are {packages}")
