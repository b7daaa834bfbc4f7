"""One pass over the rows of all files, which Arrow decodes in parallel, into arrays and a block on disk.

Only item and time of each row are kept in memory; values are written to the block, one row for each column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from agent.data.columns import common_time, names_of
from agent.data.ingest.batches import CHUNK_ROWS, batches
from agent.data.ingest.parts import Part, alike, is_text, value_type
from agent.data.panel import Block, Floats, Indices
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.job_config.data import Data

Codes = np.ndarray[Any, np.dtype[np.int32]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

LARGEST = 1e17
"""The models square values, and sum the squares of a context, in float32, which ends at 3e38."""


@dataclass(slots=True)
class ValueColumn:
    """What is known of a value column after the pass.

    `texts`: what its codes stand for, in the order of their first occurrence; None for numbers. `largest`: the largest
    absolute value. `rounded`: whether a number of a wider type lost digits.
    """

    name: str
    texts: list[str] | None = None
    largest: float = 0.0
    rounded: bool = False


@dataclass(slots=True)
class Scan:
    """The rows of a data set in the order of its files. The block has row i of values for column i.

    `ids`: for each id column its distinct values; `codes`: for each, and each row, the index of its value. `parts`:
    the files; `ends` (f,): the number of rows up to the end of each.
    """

    parts: Sequence[Part]
    ids: list[pa.Array]
    codes: list[Codes]
    ticks: Indices
    time_type: pa.DataType
    columns: list[ValueColumn] = field(default_factory=list)

    @property
    def ends(self) -> Indices:
        """(f,) number of rows up to the end of each file."""
        return np.cumsum([part.rows for part in self.parts])


def scan(parts: Sequence[Part], data: Data, block: Block, progress: Callable[[int], None]) -> Scan:
    """Read all rows once; values go into the block. `progress` is called after each chunk with its number of rows.

    Raises:
        InvalidInput: a file is damaged, a value cannot be read, or an item or a time is missing.
    """
    rows = sum(part.rows for part in parts)
    time_type = common_time(parts, data.timestamp)
    ids = [_Encoder(id_type(parts, name)) for name in data.item_id]
    codes = [np.empty(rows, np.int32) for _ in ids]
    values = [_Values(name, holds_text(parts, name)) for name in data.values]
    ticks, missing = np.empty(rows, np.int64), {name: np.zeros(len(parts), np.int64) for name in _named(data)}
    start, draft = 0, _Draft(block, len(values), progress)
    for number, batch in batches(parts, [*_named(data), *data.values]):
        part, here = parts[number], slice(start, start + len(next(iter(batch.values()))))
        for name, encoder, into in zip(data.item_id, ids, codes, strict=True):
            into[here] = encoder.codes(batch[name], part, name)
            missing[name][number] += np.count_nonzero(into[here] < 0)
        ticks[here] = _ticks(batch[data.timestamp], time_type, part, data.timestamp)
        missing[data.timestamp][number] += batch[data.timestamp].null_count
        for column, into in zip(values, draft.rows(here.stop - start), strict=True):
            column.read(batch[column.about.name], part, into)
        start = here.stop
    draft.write()
    for name, counts in missing.items():
        if counts.any():
            files = names_of(part for part, count in zip(parts, counts, strict=True) if count)
            problem = f"{int(counts.sum())} of {rows} rows have no value, for instance in {files}"
            raise InvalidInput(f"column {name!r}", problem, "remove them, or give them a value")
    pa.default_memory_pool().release_unused()
    return Scan(parts, [one.values() for one in ids], codes, ticks, time_type, [one.finish() for one in values])


class _Draft:
    """Values that are written when there are enough of them: files may be small and many."""

    def __init__(self, block: Block, columns: int, progress: Callable[[int], None]) -> None:
        self._block = block
        self._values = np.empty((columns, CHUNK_ROWS), np.float32)
        self._progress = progress
        self._start = self._count = 0

    def rows(self, count: int) -> Floats:
        """(V, count) place for the next rows."""
        if self._count + count > CHUNK_ROWS:
            self.write()
        self._count += count
        return self._values[:, self._count - count : self._count]

    def write(self) -> None:
        """Write what is there."""
        for index, values in enumerate(self._values):
            self._block.write(index, self._start, values[: self._count])
        self._progress(self._count)
        self._start, self._count = self._start + self._count, 0


def exact(parts: Sequence[Part], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n,) a column of numbers in double precision, in the order of the files."""
    found = [
        cast_column(batch[name], pa.float64(), parts[number], name, safe=False).to_numpy(zero_copy_only=False)
        for number, batch in batches(parts, [name])
    ]
    return np.concatenate(found)


def _named(data: Data) -> list[str]:
    return [*data.item_id, data.timestamp]


class _Encoder:
    """Codes of the values of a column across files, in the order of their first occurrence."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._known: dict[Any, int] = {}
        self._last: pa.Array | None = None
        self._into = np.array([-1], np.int32)

    def codes(self, chunk: pa.Array, part: Part, name: str) -> Codes:
        """(n,) codes, -1 where missing."""
        if pa.types.is_null(chunk.type):
            return np.full(len(chunk), -1, np.int32)
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        if not _same_buffers(encoded.dictionary, self._last):
            # Chunks of a row group share a dictionary: keeping it keeps its address from being used again.
            self._last = encoded.dictionary
            texts = _plain(encoded.dictionary, self._kind, part, name)
            known = self._known
            codes = (-1 if one is None else known.setdefault(one, len(known)) for one in texts)
            self._into = np.array([*codes, -1], np.int32)
        indices = encoded.indices
        if indices.null_count:
            indices = indices.fill_null(len(self._into) - 1)
        found: Codes = self._into[indices.to_numpy()]
        return found

    def values(self) -> pa.Array:
        """What the codes stand for."""
        return pa.array(list(self._known), self._kind)


class _Values:
    """Reads a value column chunk by chunk as float32: numbers, or the codes of texts, NaN where missing."""

    def __init__(self, name: str, text: bool) -> None:
        self.about = ValueColumn(name)
        self._encoder = _Encoder(pa.string()) if text else None

    def read(self, chunk: pa.Array, part: Part, into: Floats) -> None:
        """The values of a chunk, into (n,)."""
        if self._encoder is not None:
            codes = self._encoder.codes(chunk, part, self.about.name)
            into[:] = codes
            into[codes < 0] = np.nan
            return
        name, kind = self.about.name, chunk.type
        if kind != pa.float32():
            chunk = cast_column(chunk, pa.float64(), part, name, safe=False)
        found = chunk.to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore", invalid="ignore"):
            into[:] = found
            largest = float(np.fmax.reduce(np.abs(into), initial=0.0))
        self.about.largest = max(self.about.largest, largest)
        if found.dtype != np.float32 and not self.about.rounded:
            self.about.rounded = bool(((into != found) & (found == found)).any())  # noqa: PLR0124 - not NaN

    def finish(self) -> ValueColumn:
        """What is known of the column."""
        if self._encoder is not None:
            self.about.texts = self._encoder.values().to_pylist()
        return self.about


def _ticks(chunk: pa.Array, kind: pa.DataType, part: Part, name: str) -> Indices:
    """(n,) times as integers of the common type; 0 where missing."""
    if pa.types.is_null(chunk.type):
        return np.zeros(len(chunk), np.int64)
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if pa.types.is_timestamp(kind):
        # Keep the zone of each file, if any: the integers are instants.
        chunk = cast_column(chunk, pa.timestamp(kind.unit, getattr(chunk.type, "tz", None)), part, name)
    chunk = cast_column(chunk, pa.int64(), part, name)
    found: Indices = (chunk.fill_null(0) if chunk.null_count else chunk).to_numpy()
    return found


def cast_column(chunk: pa.Array, kind: pa.DataType, part: Part, name: str, *, safe: bool = True) -> pa.Array:
    """A chunk of a column in another type. Raises InvalidInput, which names file and column."""
    if chunk.type == kind:
        return chunk
    try:
        if pa.types.is_dictionary(chunk.type):
            chunk = chunk.dictionary_decode()
        return chunk.cast(kind, safe=safe)
    except pa.ArrowException as error:
        problem = f"column {name!r} is {chunk.type} and cannot be read as {kind}: {one_line(str(error), 160)}"
        remedy = "write the column with one type in all files"
        if pa.types.is_timestamp(kind):
            # The finest unit of all files is the common one, and nanoseconds end in 2262.
            remedy = "remove rows whose times are not real, or write all files with the same unit of time"
        raise InvalidInput(part.name, problem, remedy) from error


def _plain(values: pa.Array, kind: pa.DataType, part: Part, name: str) -> list[Any]:
    """The values as Python's. Raises InvalidInput, with an example, for text that is not UTF-8."""
    try:
        if is_text(values.type) and pa.types.is_string(kind):
            return [one.decode() if isinstance(one, bytes) else one for one in values.to_pylist()]
        found: list[Any] = cast_column(values, kind, part, name).to_pylist()
    except UnicodeDecodeError as error:
        problem = f"column {name!r} has text that is not UTF-8, for instance {bytes(error.object[:40])!r}"
        raise InvalidInput(
            part.name, problem, "decode it in its own encoding, df[column].str.decode('latin-1'), and write it again"
        ) from error
    return found


def _same_buffers(one: pa.Array, other: pa.Array | None) -> bool:
    if other is None or len(one) != len(other) or one.offset != other.offset or one.type != other.type:
        return False
    pairs = zip(one.buffers(), other.buffers(), strict=True)
    return all((a and a.address) == (b and b.address) for a, b in pairs)


def _kinds(parts: Sequence[Part], name: str) -> list[pa.DataType]:
    """The distinct types of a column in all files, apart from null."""
    found = {value_type(field.type) for part, *_ in alike(parts) if (field := part.field(name)) is not None}
    return [kind for kind in found if not pa.types.is_null(kind)]


def id_type(parts: Sequence[Part], name: str) -> pa.DataType:
    """The type of an id column as it was written; integers of several widths become int64, other mixtures text."""
    kinds = _kinds(parts, name)
    if len(kinds) == 1:
        return pa.string() if is_text(kinds[0]) else kinds[0]
    whole = bool(kinds) and all(pa.types.is_integer(kind) for kind in kinds)
    return pa.int64() if whole else pa.string()


def holds_text(parts: Sequence[Part], name: str) -> bool:
    """Whether a column is text in any file."""
    return any(is_text(kind) for kind in _kinds(parts, name))
