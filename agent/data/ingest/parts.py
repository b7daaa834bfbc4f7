"""The files of a data set: their footers, and the columns that the names of their folders are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Data
from chronos_ec2.services.publish.data import table_kind

_THREADS = 8
"""Files opened at a time."""
_NO_KEY = "__HIVE_DEFAULT_PARTITION__"
_ARROW_SCHEMA = b"ARROW:schema"
"""In the footer of a file that Arrow has written: types that Parquet does not have."""
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")


@dataclass(frozen=True, slots=True)
class Part:
    """A Parquet file with rows, of which it has at least one.

    `schema`: the types as they were written; `stored`: the columns by name, of those with the same name the first.
    Files with the same columns share both. `keys`: the columns in its folders' names, NAME=VALUE, as Arrow scalars.
    """

    path: Path
    fragment: Any
    rows: int
    schema: pa.Schema
    stored: Mapping[str, pa.Field]
    keys: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name for messages, with the folders that are columns."""
        return "/".join([*(one for one in self.path.parts[:-1] if "=" in one), self.path.name])

    @property
    def converted(self) -> bool:
        """Whether it was made from a CSV or Feather file, whose whole name it has before its own ending."""
        return table_kind(self.path.with_suffix("")) is not None

    def head(self, rows: int) -> pa.Table:
        """The first rows, with the columns in the names of its folders."""
        table = self.fragment.head(rows)
        for name, value in self.keys.items():
            table = table.append_column(name, pa.repeat(value, table.num_rows))
        return table

    def field(self, column: str) -> pa.Field | None:
        """The column in the file, or in the names of its folders; None if it has none."""
        if column in self.stored:
            return self.stored[column]
        return pa.field(column, self.keys[column].type) if column in self.keys else None


def alike(parts: Iterable[Part]) -> list[list[Part]]:
    """The files by their columns. What is said of columns is the same for all files of a group, and groups are few."""
    groups: dict[tuple[Any, ...], list[Part]] = {}
    for part in parts:
        groups.setdefault((id(part.stored), *part.keys), []).append(part)
    return list(groups.values())


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values; other types as they are."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Whether it is text, also as bytes, as which some writers leave it."""
    types = pa.types
    kinds = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary)
    return any(is_it(kind) for is_it in kinds)


def open_parts(files: Iterable[Path], data: Data) -> list[Part]:
    """The files with rows, by their footers. A file without any makes no difference, whatever its columns.

    Raises:
        InvalidInput: a file is not Parquet, or there are no rows.
    """
    import pyarrow.dataset as ds  # noqa: PLC0415 - imports pandas, which would delay the claim

    # Text is read as codes and dictionaries; the names of other columns are ignored here.
    text = [*data.item_id, *data.past_covariates, *data.known_covariates]
    # On a local disk, fetching row groups before they are decoded is one more copy of them.
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=False)
    layout = ds.ParquetFileFormat(dictionary_columns=text, default_fragment_scan_options=checked)
    disk = LocalFileSystem()

    def opened(path: Path) -> tuple[Path, Any, pq.FileMetaData, dict[str, str | None]]:
        fragment = layout.make_fragment(str(path), disk)
        try:
            return path, fragment, fragment.metadata, _keys(path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition(f"'{path}': ")[2] or str(error)
            raise InvalidInput(
                path.name, f"is not Parquet: {one_line(reason, 160)}", "write it again, or leave it out of the data set"
            ) from error

    with ThreadPoolExecutor(_THREADS) as pool:
        found = [one for one in pool.map(opened, files) if one[2].num_rows]
    if not found:
        raise InvalidInput("data.path", "the data set has no rows", "upload files that have some")
    values: dict[str, list[str | None]] = {}
    for *_, keys in found:
        for name, value in keys.items():
            values.setdefault(name, []).append(value)
    kinds = {name: _key_type(texts, is_time=name == data.timestamp) for name, texts in values.items()}
    columns = _SharedColumns()
    return [
        Part(
            path, fragment, metadata.num_rows, *columns.of(metadata),
            {name: pa.scalar(value).cast(kinds[name]) for name, value in keys.items()},
        )
        for path, fragment, metadata, keys in found
    ]  # fmt: skip


class _SharedColumns:
    """The columns of each file, once for all files that have the same: there may be many thousand files."""

    def __init__(self) -> None:
        self._known: dict[bytes | None, list[tuple[Any, pa.Schema, Mapping[str, pa.Field]]]] = {}

    def of(self, metadata: pq.FileMetaData) -> tuple[pa.Schema, Mapping[str, pa.Field]]:
        """The schema, and the columns by name."""
        known = self._known.setdefault((metadata.metadata or {}).get(_ARROW_SCHEMA), [])
        for stored, schema, fields in known:
            if stored.equals(metadata.schema):
                return schema, fields
        schema = metadata.schema.to_arrow_schema()
        known.append((metadata.schema, schema, {field.name: field for field in reversed(schema)}))
        return known[-1][1:]


def _keys(path: Path) -> dict[str, str | None]:
    found = (one.partition("=") for one in path.parts[:-1] if "=" in one)
    return {unquote(name): None if value == _NO_KEY else unquote(value) for name, _, value in found}


def _key_type(texts: Sequence[str | None], *, is_time: bool) -> pa.DataType:
    """Integers if they all are, times for the column of times, else text."""
    known = [text for text in texts if text is not None]
    if known and all(_INTEGER.fullmatch(text) for text in known):
        return pa.int64()
    try:
        return pa.array(known).cast(pa.timestamp("ms")).type if is_time else pa.string()
    except pa.ArrowException:
        return pa.string()
