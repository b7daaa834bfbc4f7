"""Data sets as people have them, as Parquet: the commands that read data on this machine share it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from chronos_ec2.cli.output import console
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.input_files import check_input
from chronos_ec2.job_config.data import Data
from chronos_ec2.services.launch.dataset import PARQUET
from chronos_ec2.services.publish.data import table_kind

if TYPE_CHECKING:
    from agent.data.convert import Converted

TimestampFormat = Annotated[
    str | None, typer.Option(help="Form of times in CSV files that are not ISO 8601, such as '%d.%m.%Y %H:%M'.")
]


@contextmanager
def as_parquet(
    path: Path, data: Data | None = None, timestamp_format: str | None = None
) -> Iterator[tuple[Path, list[Converted]]]:
    """A folder with the files as Parquet, and what was converted; a temporary one unless all are Parquet already.

    `data` names the columns.

    Raises:
        InvalidInput: there is no such file, it cannot be converted, or there are files of both kinds. What is wrong
            with a temporary file is said of the one that it was made of.
    """
    tables = _tables(path)
    if (path.is_file() and not tables and not path.name.lower().endswith(PARQUET)) or not path.exists():
        problem = "is no Parquet, CSV or Feather file" if path.exists() else "there is no such file or folder"
        raise InvalidInput(str(path), problem, "name a folder, or a file that ends in .parquet, .csv or .feather")
    if not tables and not path.is_file():
        yield path, []
        return
    with TemporaryDirectory(prefix="chronos-ec2-") as temporary:
        folder = Path(temporary)
        try:
            if tables:
                yield folder, _converted(tables, path, folder, data, timestamp_format)
            else:
                (folder / path.name).symlink_to(path.resolve())
                yield folder, []
        except InvalidInput as error:
            where = as_given(error.where, folder, tables)
            raise InvalidInput(str(path) if where == path.name else where, error.detail, error.hint) from error


def as_given(where: str, folder: Path, tables: Iterable[Path]) -> str:
    """A place in a temporary folder with the name of the file that somebody has given."""
    where = where.removeprefix(f"{folder}/")
    for table in tables:
        where = where.replace(f"{table.name}{PARQUET}", table.name)
    return where


def _tables(path: Path) -> list[Path]:
    """The files to convert, below a folder or the path itself."""
    if path.is_file():
        return [path] if table_kind(path) else []
    files = [Path(root, name) for root, _, names in os.walk(path, followlinks=True) for name in names]
    tables = sorted(file for file in files if table_kind(file) and not file.name.startswith("."))
    if tables and (parquet := [file for file in files if file.name.lower().endswith(PARQUET)]):
        problem = f"holds {tables[0].name} and {parquet[0].name}, and a run would train on both"
        raise InvalidInput(str(path), problem, "keep files of one kind in the folder")
    return tables


def _converted(
    tables: list[Path], path: Path, folder: Path, data: Data | None, timestamp_format: str | None
) -> list[Converted]:
    try:
        from agent.data.convert import Names, convert  # noqa: PLC0415 - needs the extra `data`
    except ModuleNotFoundError as error:
        problem = f"{tables[0].name} has to be converted, which needs {error.name}"
        raise InvalidInput(str(path), problem, "pip install -e '.[data]', or write Parquet") from error
    names = Names(data.item_id, data.timestamp, data.target) if data else None
    done = []
    with console.status("converting to Parquet") as show:
        for table in tables:
            check_input(table)
            show(f"converting {table.name} to Parquet")
            target = folder / table.parent.relative_to(path) if path.is_dir() else folder
            done.append(convert(table, target, names, timestamp_format))
    return done
