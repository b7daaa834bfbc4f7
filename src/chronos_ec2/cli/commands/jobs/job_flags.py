"""The options by which a command describes a job, so that the common case needs no configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from chronos_ec2.cli.completion import datasets
from chronos_ec2.client.group import PARALLEL
from chronos_ec2.client.inputs import UNNAMED
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.status import Job
from chronos_ec2.job_config.jobs import JobConfig
from chronos_ec2.job_config.parse import load_document, parse_config

Data = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PATH",
        help="A data set of the bucket; or a folder or file: checked, then uploaded.",
        autocompletion=datasets,
    ),
]
Config = Annotated[Path | None, typer.Option(help="A configuration (YAML); other options change single keys of it.")]
Horizon = Annotated[int | None, typer.Option(min=1, help="Points to forecast.")]
Context = Annotated[int | None, typer.Option(min=1, help="Points of history to look at. Default: 2048.")]
ItemId = Annotated[str | None, typer.Option(help="The column that names the series, or several: a,b.")]
Timestamp = Annotated[str | None, typer.Option(help="The column of the time.")]
Target = Annotated[str | None, typer.Option(help="The column to forecast, or several together: a,b.")]
Known = Annotated[str | None, typer.Option(help="Columns that are also known ahead: a,b. Default: those of --future.")]
Past = Annotated[str | None, typer.Option(help="Further columns, known for the past alone: a,b.")]
To = Annotated[Path | None, typer.Option(help="Wait for the end, and download the results into this folder.")]

Parallel = Annotated[int | None, typer.Option(help=f"How many of its runs are active at a time. Default: {PARALLEL}.")]
GroupName = Annotated[str | None, typer.Option(help="The name of the group. Default: one is made up.")]


def job_config(job: Job, path: Path | None, data: str | None, keys: Mapping[str, Any]) -> JobConfig:
    """The configuration that a file and options describe. `keys` are dotted, None where there is no option.

    Raises:
        InvalidInput: it is of another job, or something is missing or wrong.
    """
    document = load_document(path) if path else {}
    where = str(path) if path else "the options"
    if not isinstance(document, dict):
        raise InvalidInput(where, "must be a mapping of keys", "docs/configuration.md has them all")
    if document.get("job", job) != job:
        remedy = f"`chronos-ec2 launch --config {path}` does what it says"
        raise InvalidInput(where, f"is of job {document['job']}, not {job}", remedy)
    document = document | {"job": str(job)}
    for key, value in keys.items():
        if value is not None:
            section, _, name = key.rpartition(".")
            inner = document.get(section) if section else document
            changed = (inner if isinstance(inner, dict) else {}) | {name: value}
            document = document | {section: changed} if section else changed
    named = document.get("data")
    if data is not None:
        document["data"] = {"path": UNNAMED} | (named if isinstance(named, dict) else {})
    elif not isinstance(named, dict) or "path" not in named:
        remedy = "name a data set of the bucket, such as sales, or a folder or file, such as ./sales"
        raise InvalidInput("--data", "is missing", remedy)
    if "prediction_length" not in document:
        raise InvalidInput("--horizon", "is missing", "say how many points to forecast, such as --horizon 28")
    return parse_config(document, where)


def columns(
    item_id: str | None, timestamp: str | None, target: str | None, known: str | None, past: str | None
) -> dict[str, Any]:
    """The keys of the data set's columns."""
    return {
        "data.item_id": names(item_id),
        "data.timestamp": timestamp,
        "data.target": names(target),
        "data.known_covariates": names(known),
        "data.past_covariates": names(past),
    }


def names(text: str | None) -> list[str] | None:
    """The names in a list with commas; None if it is not given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def numbers(option: str, text: str | None) -> list[float] | None:
    """The numbers in a list with commas. Raises InvalidInput."""
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError as error:
        raise InvalidInput(option, f"{text!r} is not a list of numbers", "such as 0.1,0.5,0.9") from error
