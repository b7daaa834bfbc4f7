"""`chronos-ec2 data`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_ec2.cli.convert import TimestampFormat, as_given, as_parquet
from chronos_ec2.cli.exit_codes import ExitCode
from chronos_ec2.cli.options import AsJson
from chronos_ec2.cli.output import console, joined, print_json, styled
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import counted
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import load_config, parse_config
from chronos_ec2.services.publish.data import find_files

if TYPE_CHECKING:
    from agent.data.check import DataReport

data = typer.Typer(name="data", help="Check a data set before anything is paid for.", rich_markup_mode=None)


@data.callback()
def _group() -> None:
    """Check a data set before anything is paid for."""


@data.command()
def check(
    path: Annotated[Path, typer.Argument(help="A folder with Parquet, CSV or Feather files, or one file.")],
    config: Annotated[
        Path | None, typer.Option(help="The training configuration. Default: item_id, timestamp, target.")
    ] = None,
    horizon: Annotated[int, typer.Option(min=1, help="Points to forecast, without --config.")] = 1,
    picture: Annotated[Path | None, typer.Option(help="Also draw a few series into this PNG file.")] = None,
    timestamp_format: TimestampFormat = None,
    json: AsJson = False,
) -> None:
    """Read data as an instance would, and list everything that it would refuse, leave out or fill in.

    Each finding has its counts, examples, and the line of the configuration that settles it. Needs no AWS account.
    Exit code 2 if a run would refuse the data.
    """
    settings = load_config(config) if config else _without_config(horizon)
    with as_parquet(path, settings.data, timestamp_format) as (folder, converted):
        files = find_files(folder)
        with console.status(f"checking {path}"):
            report = _checked(files, settings, picture)
        sources = [one.source for one in converted]
        named = (replace(one, where=as_given(one.where, folder, sources)) for one in report.findings)
        report = replace(report, findings=tuple(named))
    if json:
        print_json(report.to_document() | {"files": len(files), "converted": len(converted)})
    else:
        _print(report, len(files))
    if not report.accepted:
        raise typer.Exit(ExitCode.MEND)


def _without_config(horizon: int) -> JobConfig:
    return parse_config({"data": {"path": "training-data/unnamed/"}, "prediction_length": horizon}, "--horizon")


def _checked(files: list[Path], settings: JobConfig, picture: Path | None) -> DataReport:
    try:
        from agent.data.check import check_data, some_series  # noqa: PLC0415 - needs the extra `data`
    except ModuleNotFoundError as error:
        raise InvalidInput("data check", f"needs {error.name}", "pip install -e '.[data]'") from error
    if picture is None:
        return check_data(files, settings)
    try:
        from agent.plots import draw_series  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise InvalidInput("--picture", f"needs {error.name}", "pip install -e '.[data]'") from error
    return check_data(files, settings, look=lambda panel: draw_series(some_series(panel), picture))


def _print(report: DataReport, files: int) -> None:
    if summary := report.summary:
        console.field(
            "",
            f"{counted(files, 'file')}, {summary.series} series, {summary.points} points, {summary.observations} of "
            f"them observed, {summary.evaluated} series long enough to be evaluated",
        )
        step = f"step {summary.frequency}" if summary.frequency else "no common step"
        console.print(f"{step}, {summary.first} to {summary.last}")
    for finding in report.findings:
        mark = styled("accepted", "green") if finding.accepted else styled("refused ", "red")
        console.field(joined(mark, "  "), f"{finding.where}: {finding.problem}")
        if not finding.accepted:
            console.field(" " * 10, finding.remedy)
    if report.settings:
        console.print("these lines of the configuration settle what is refused:")
        for line in report.settings:
            console.print(f"  {line}")
    if report.accepted:
        console.print(styled("a run would train on these data", "green"))
    else:
        console.print(styled("a run would refuse these data", "red"))
