"""The columns of a data set across its Parquet files: type checks, and reading one column at a time in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.data.panel import Floats, Indices
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.training_config.schema import Data

_CHUNK_ROWS = 1 << 18
_UNITS = ("s", "ms", "us", "ns")
EXAMPLES = 3
Codes = np.ndarray[Any, np.dtype[np.int32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Progress = Callable[[int, int], None]
"""Called after each chunk with the number of values read and the total."""


def ignore_progress(done: int, total: int) -> None:
    """The default Progress."""


def check_columns(files: Iterable[Path], data: Data) -> int:
    """Check the schemas of all files without reading them; returns the total number of rows.

    Raises:
        InvalidInput: names file and column.
    """
    rows, schemas = 0, {}
    for path in files:
        try:
            metadata = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise InvalidInput(path.name, f"is not Parquet: {one_line(str(error), 160)}") from error
        schemas[path] = metadata.schema.to_arrow_schema()
        rows += metadata.num_rows
    for role, allows in _ROLES.items():
        named = getattr(data, role)
        for column in [named] if isinstance(named, str) else named:
            _check_column(schemas, column, role, allows)
    _check_zones(schemas, data)
    if rows == 0:
        raise InvalidInput("data.path", "the data set has no rows")
    return rows


class ColumnReader:
    """Reads the columns of a data set's files, in the order of the files.

    Files may differ in integers or floats, units of time, and string types.
    """

    def __init__(self, files: Sequence[Path], data: Data, progress: Progress = ignore_progress) -> None:
        self.rows = check_columns(files, data)
        self._files = files
        self._data = data
        self._progress = progress
        self._done = 0

    def items(self) -> tuple[list[str], Codes]:
        """The sorted item names, and for each row the index of its name."""
        name = self._data.item_id
        names, codes = self._codes(name)
        self._refuse_missing(name, codes < 0)
        return names, codes

    def times(self) -> tuple[Indices, pa.DataType]:
        """(n,) times as integers, and their Arrow type, with the finest unit that occurs."""
        name, found, missing = self._data.timestamp, np.empty(self.rows, np.int64), np.zeros(self.rows, np.bool_)
        kind = _common_time([pq.read_schema(path).field(name).type for path in self._files])
        for path, start, chunk in self._chunks(name):
            # Keep the zone of each file, if any: the integers are instants.
            unit = pa.timestamp(kind.unit, getattr(chunk.type, "tz", None)) if pa.types.is_timestamp(kind) else kind
            here = slice(start, start + len(chunk))
            if chunk.null_count:
                missing[here] = chunk.is_null()
            found[here] = _cast(chunk, unit, path, name).cast(pa.int64()).fill_null(0)
        self._refuse_missing(name, missing)
        return found, kind

    def numbers(self, name: str) -> tuple[Floats, list[str] | None]:
        """(n,) values, NaN where missing. For text: codes from 0, and the sorted texts they stand for."""
        if any(_is_text(_value_type(pq.read_schema(path).field(name).type)) for path in self._files):
            names, codes = self._codes(name)
            values = codes.astype(np.float32)
            values[codes < 0] = np.nan
            return values, names
        found = np.empty(self.rows, dtype=np.float32)
        for path, start, chunk in self._chunks(name):
            # Unsafe, because a safe cast refuses to round to float32, which is all the model uses.
            numbers = _cast(chunk, pa.float32(), path, name, safe=False)
            found[start : start + len(chunk)] = numbers.to_numpy(zero_copy_only=False)
        return found, None

    def _codes(self, name: str) -> tuple[list[str], Codes]:
        """The sorted texts, and for each row the index of its text, -1 where missing."""
        known: dict[str, int] = {}
        found = np.empty(self.rows, dtype=np.int32)
        for path, start, chunk in self._chunks(name, dictionary=True):
            encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            names = _cast(encoded.dictionary, pa.string(), path, name).to_pylist()
            codes = (-1 if one is None else known.setdefault(one, len(known)) for one in names)
            into = np.array([*codes, -1], dtype=np.int32)
            indices = encoded.indices.fill_null(len(names)).to_numpy()
            found[start : start + len(chunk)] = into[indices]
        names = sorted(known)
        ranks = np.empty(len(known) + 1, dtype=np.int32)
        ranks[-1] = -1
        ranks[[known[one] for one in names]] = np.arange(len(names))
        return names, ranks[found]

    def _refuse_missing(self, name: str, missing: Mask) -> None:
        if not missing.any():
            return
        ends = np.cumsum([pq.read_metadata(path).num_rows for path in self._files])
        where = np.unique(np.searchsorted(ends, np.flatnonzero(missing), side="right"))
        problem = f"{int(missing.sum())} of {self.rows} rows have no value, for instance in "
        raise InvalidInput(f"column {name!r}", problem + _names(self._files[one] for one in where))

    def _chunks(self, name: str, *, dictionary: bool = False) -> Iterator[tuple[Path, int, pa.Array]]:
        """Yields file, number of the first row, values."""
        start, total = 0, self.rows * (2 + len(self._data.values))
        for path in self._files:
            # ParquetFile, because read_table would turn a folder named day=1 into a column.
            with pq.ParquetFile(path, read_dictionary=[name] if dictionary else None) as file:
                for batch in file.iter_batches(_CHUNK_ROWS, columns=[name]):
                    chunk = batch.column(0)
                    decode = not dictionary and pa.types.is_dictionary(chunk.type)
                    yield path, start, chunk.dictionary_decode() if decode else chunk
                    start += len(chunk)
                    self._done += len(chunk)
                    self._progress(self._done, total)
        pa.default_memory_pool().release_unused()


def _cast(chunk: pa.Array, kind: pa.DataType, path: Path, name: str, *, safe: bool = True) -> pa.Array:
    try:
        return chunk.cast(kind, safe=safe)
    except pa.ArrowException as error:
        problem = f"column {name!r} is {chunk.type} and cannot be read as {kind}: {one_line(str(error), 160)}"
        raise InvalidInput(path.name, problem) from error


def _check_column(
    schemas: Mapping[Path, pa.Schema], column: str, role: str, allows: Callable[[pa.DataType], bool]
) -> None:
    """Check that each file has the column with a type its role allows, and that all types are of one kind."""
    kinds: dict[str, list[Path]] = {}
    for path, schema in schemas.items():
        if column not in schema.names:
            names = one_line(", ".join(schema.names), 160)
            raise InvalidInput(path.name, f"has no column {column!r} for data.{role}", f"its columns: {names}")
        kind = schema.field(column).type
        if not allows(_value_type(kind)):
            raise InvalidInput(path.name, f"column {column!r} is {kind}, which cannot be data.{role}")
        # Items are always read as text; a column without any value has no kind.
        if role != "item_id" and not pa.types.is_null(kind):
            kinds.setdefault(_kind(_value_type(kind)), []).append(path)
    if len(kinds) > 1:
        problem = "; ".join(f"{kind} in {_of_files(paths, schemas)}" for kind, paths in _rarest_first(kinds))
        raise InvalidInput(f"column {column!r}", problem, f"data.{role} must be of one kind in all files")


def _check_zones(schemas: Mapping[Path, pa.Schema], data: Data) -> None:
    zones: dict[str, list[Path]] = {}
    for path, schema in schemas.items():
        kind = schema.field(data.timestamp).type
        zone = getattr(kind, "tz", None)
        zones.setdefault(f"in {zone}" if zone else "without a zone", []).append(path)
    if len(zones) > 1 and data.problems.zones == "refuse":
        problem = "; ".join(f"times {zone} in {_of_files(paths, schemas)}" for zone, paths in _rarest_first(zones))
        setting = "data.problems.zones: utc treats times as instants, those without a zone as UTC"
        raise InvalidInput(f"column {data.timestamp!r}", problem, setting)


def _rarest_first(groups: Mapping[str, list[Path]]) -> list[tuple[str, list[Path]]]:
    return sorted(groups.items(), key=lambda group: len(group[1]))


def _of_files(paths: Sequence[Path], all_files: Sized) -> str:
    return f"{len(paths)} of {len(all_files)} files, for instance {_names(paths)}"


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(one_line(path.name, 40) for path in islice(paths, EXAMPLES))


def _common_time(kinds: Sequence[pa.DataType]) -> pa.DataType:
    """int64, or a timestamp with the finest unit, in the common zone, or in UTC if zones differ."""
    if pa.types.is_integer(kinds[0]):
        return pa.int64()
    finest = max((kind.unit if pa.types.is_timestamp(kind) else "ms" for kind in kinds), key=_UNITS.index)
    zones = {getattr(kind, "tz", None) for kind in kinds}
    return pa.timestamp(finest, zones.pop() if len(zones) == 1 else "UTC")


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _kind(kind: pa.DataType) -> str:
    if _is_text(kind):
        return "text"
    return "a time" if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else "a number"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_item(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pa.types.is_integer(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind))


def _is_number(kind: pa.DataType) -> bool:
    """A number, or null, which a column without any value may be written as."""
    types = pa.types
    return any(is_it(kind) for is_it in (types.is_floating, types.is_integer, types.is_decimal, types.is_null))


def _is_covariate(kind: pa.DataType) -> bool:
    return _is_number(kind) or _is_text(kind) or bool(pa.types.is_boolean(kind))


_ROLES = {
    "item_id": _is_item,
    "timestamp": _is_time,
    "target": _is_number,
    "past_covariates": _is_covariate,
    "known_covariates": _is_covariate,
}
