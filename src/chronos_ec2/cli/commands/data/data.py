"""`chronos-ec2 data`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chronos_ec2.bootstrap.operator import OperatorWorld
from chronos_ec2.cli.commands.data.fix import write_settings
from chronos_ec2.cli.commands.jobs.inputs import downloaded
from chronos_ec2.cli.commands.jobs.job_flags import ItemId, Known, Past, Target, Timestamp, columns
from chronos_ec2.cli.convert import TimestampFormat, as_given, as_parquet
from chronos_ec2.cli.exit_codes import ExitCode
from chronos_ec2.cli.monitor_screen import sparkline
from chronos_ec2.cli.options import AsJson, Bucket, Environment, Region, connect
from chronos_ec2.cli.output import console, joined, print_json, print_table, styled
from chronos_ec2.client.inputs import UNNAMED
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import counted, one_line
from chronos_ec2.domain.records.s3_keys import shared_key
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import load_config, load_document, parse_config
from chronos_ec2.services.publish.data import find_files

if TYPE_CHECKING:
    from agent.data.check import DataReport

_POINTS = 24
"""How many of its points a series is drawn with."""
DataPath = Annotated[
    str,
    typer.Argument(
        metavar="PATH",
        help="A folder with Parquet, CSV or Feather files, or one file; or training-data/NAME/ of the bucket.",
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="The configuration. Default: item_id, timestamp, target, or what options name.")
]
Picture = Annotated[Path | None, typer.Option(help="Also draw a few series into this PNG file.")]

data = typer.Typer(name="data", help="Check a data set before anything is paid for.", rich_markup_mode=None)


@data.callback()
def _group() -> None:
    """Check a data set before anything is paid for."""


@data.command()
def check(
    path: DataPath,
    config: Config = None,
    horizon: Annotated[int, typer.Option(min=1, help="Points to forecast, without --config.")] = 1,
    fix: Annotated[bool, typer.Option("--fix", help="Write the settings that settle findings into --config.")] = False,
    picture: Picture = None,
    item_id: ItemId = None,
    timestamp: Timestamp = None,
    target: Target = None,
    known: Known = None,
    past: Past = None,
    timestamp_format: TimestampFormat = None,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Read data as an instance would, and list everything that it would refuse, leave out or fill in.

    Each finding has its counts, examples, and the line of the configuration that settles it. Files of this machine need
    no AWS account. Exit code 2 if a run would refuse the data.
    """
    if fix and config is None:
        raise InvalidInput("--fix", "needs --config", "name the configuration to write into")
    checks = _checks("data check")
    named = columns(item_id, timestamp, target, known, past)
    settings = _settings(config, horizon, named)
    look = _draw(checks, picture)
    with _found(path, settings, timestamp_format, lambda: connect(environment, region, bucket)) as found:
        report = found.report(checks, settings, look)
        written: tuple[str, ...] = ()
        # What is left out by one setting may show what needs another.
        while fix and config and report.settings not in ((), written):
            written = report.settings
            write_settings(config, written)
            if not json:
                for line in written:
                    console.print(f"written into {config}: {line}")
            settings = _settings(config, horizon, named)
            report = found.report(checks, settings, look)
    if json:
        print_json(report.to_document() | {"files": len(found.files), "converted": found.converted})
    else:
        _print(report, len(found.files))
    if not report.accepted:
        raise typer.Exit(ExitCode.MEND)


@data.command()
def show(
    path: DataPath,
    config: Config = None,
    series: Annotated[int, typer.Option(min=1, max=1000, help="How many series, the shortest to the longest.")] = 6,
    picture: Picture = None,
    item_id: ItemId = None,
    timestamp: Timestamp = None,
    target: Target = None,
    known: Known = None,
    past: Past = None,
    timestamp_format: TimestampFormat = None,
    environment: Environment = "dev",
    region: Region = None,
    bucket: Bucket = None,
    json: AsJson = False,
) -> None:
    """Show data as a run would see them: their columns, their step, and a few series.

    Exit code 2 if a run would refuse the data, with its findings instead of series if it could not read them.
    """
    checks = _checks("data show")
    settings = _settings(config, 1, columns(item_id, timestamp, target, known, past))
    seen: list[dict[str, Any]] = []
    draw = _draw(checks, picture)

    def look(panel: Any) -> None:
        seen.extend(map(_described, checks.some_series(panel, series)))
        draw(panel)

    with _found(path, settings, timestamp_format, lambda: connect(environment, region, bucket)) as found:
        report = found.report(checks, settings, look)
        kinds = checks.columns_of(found.files, settings.data)
    if json:
        described = {"columns": [asdict(kind) for kind in kinds], "series": seen}
        print_json(report.to_document() | {"files": len(found.files), "converted": found.converted} | described)
    else:
        print_table(("column", "type", "data."), [(kind.name, kind.type, kind.role) for kind in kinds])
        console.print()
        if seen:
            print_table(("series", "points", "missing", "from", "to", "mean", ""), [_row(one) for one in seen])
            console.print()
        _print(report, len(found.files))
    if not report.accepted:
        raise typer.Exit(ExitCode.MEND)


@dataclass(frozen=True, slots=True)
class _Found:
    """The Parquet files of a data set, and the files that some of them were converted from."""

    path: str
    folder: Path
    files: list[Path]
    sources: tuple[Path, ...] = ()

    @property
    def converted(self) -> int:
        return len(self.sources)

    def report(self, checks: ModuleType, settings: JobConfig, look: Callable[[Any], None]) -> DataReport:
        with console.status(f"reading {one_line(self.path, 200)}"):
            report: DataReport = checks.check_data(self.files, settings, look=look)
        named = (replace(one, where=as_given(one.where, self.folder, self.sources)) for one in report.findings)
        return replace(report, findings=tuple(named))


@contextmanager
def _found(
    path: str, settings: JobConfig, timestamp_format: str | None, world: Callable[[], OperatorWorld]
) -> Iterator[_Found]:
    """The files of a data set on this machine, or of the bucket of `world`."""
    here = Path(path).expanduser()
    with ExitStack() as temporary:
        if path.startswith(("s3://", "training-data/")) and not here.exists():
            folder = _from_bucket(world(), temporary, path)
            yield _Found(path, folder, find_files(folder))
        else:
            folder, made = temporary.enter_context(as_parquet(here, settings.data, timestamp_format))
            yield _Found(path, folder, find_files(folder), tuple(one.source for one in made))


def _from_bucket(world: OperatorWorld, temporary: ExitStack, path: str) -> Path:
    bucket, environment = world.stack.bucket, world.stack.environment
    ours = f"s3://{bucket}/{shared_key(environment, '')}"
    if path.startswith("s3://") and not path.startswith(ours):
        remedy = f"download it: aws s3 sync {one_line(path, 200)} ./data"
        raise InvalidInput(one_line(path, 200), f"is not below {ours}", remedy)
    folder = downloaded(world, temporary, path.removeprefix(ours), "PATH")
    if folder is None:
        raise InvalidInput("PATH", f"{one_line(path, 200)} has more than 1 GiB", "download it, and check it here")
    return folder


def _settings(config: Path | None, horizon: int, keys: dict[str, Any]) -> JobConfig:
    """The configuration, or one without any but these columns."""
    named = {key.removeprefix("data."): value for key, value in keys.items() if value is not None}
    if config is None:
        document: Any = {"data": {"path": UNNAMED} | named, "prediction_length": horizon}
        return parse_config(document, "the options")
    if not named:
        return load_config(config)
    document = load_document(config)
    inner = document.get("data") if isinstance(document, dict) else None
    return parse_config({**document, "data": inner | named} if isinstance(inner, dict) else document, str(config))


def _checks(command: str) -> ModuleType:
    try:
        from agent.data import check as checks  # noqa: PLC0415 - needs the extra `data`
    except ModuleNotFoundError as error:
        raise InvalidInput(command, f"needs {error.name}", "pip install -e '.[data]'") from error
    return checks


def _draw(checks: ModuleType, picture: Path | None) -> Callable[[Any], None]:
    if picture is None:
        return lambda _panel: None
    try:
        from agent.plots import draw_series  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise InvalidInput("--picture", f"needs {error.name}", "pip install -e '.[data]'") from error
    return lambda panel: draw_series(checks.some_series(panel), picture)


def _described(one: dict[str, Any]) -> dict[str, Any]:
    times, values = one["times"], one["values"]
    known = [value for value in values if math.isfinite(value)]
    return {
        "item": one["item"],
        "points": len(values),
        "missing": len(values) - len(known),
        "first": times[0],
        "last": times[-1],
        "mean": sum(known) / len(known) if known else None,
        "newest": known[-_POINTS:],
    }


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    mean = "" if one["mean"] is None else f"{one['mean']:.4g}"
    line = sparkline(one["newest"], unicode=console.unicode)
    first, last = (str(one[end]).removesuffix(" 00:00:00") for end in ("first", "last"))
    return str(one["item"]), str(one["points"]), str(one["missing"]), first, last, mean, line


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
        console.print("settled by these lines of the configuration, which --fix writes:")
        for line in report.settings:
            console.print(f"  {line}")
    if report.accepted:
        console.print(styled("a run would train on these data", "green"))
    else:
        console.print(styled("a run would refuse these data", "red"))
