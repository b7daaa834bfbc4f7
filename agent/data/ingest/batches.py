"""The rows of many files in order, which Arrow decodes in parallel; damage is named by file and column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from agent.data.ingest.parts import Part, alike
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line

CHUNK_ROWS = 1 << 17
_READ_AHEAD = 8
"""Chunks decoded ahead: enough for two cores, and little memory."""


def batches(parts: Sequence[Part], names: Sequence[str]) -> Iterator[tuple[int, dict[str, pa.Array]]]:
    """Yields the number of a file and its next rows by column, in order. Raises InvalidInput for a damaged file."""
    import pyarrow.dataset as ds  # noqa: PLC0415 - imports pandas, which would delay the claim

    layouts = {
        id(one.stored): [(name, field.type) for name in names if (field := one.stored.get(name)) is not None]
        for one, *_ in alike(parts)
    }
    for _, group in groupby(range(len(parts)), lambda number: layouts[id(parts[number].stored)]):
        numbers = list(group)
        first = parts[numbers[0]]
        stored = [name for name in names if name in first.stored]
        kinds = first.fragment.physical_schema
        schema = pa.schema([kinds.field(kinds.names.index(name)) for name in stored])
        fragments = [parts[number].fragment for number in numbers]
        scanner = ds.FileSystemDataset(fragments, schema, first.fragment.format, LocalFileSystem()).scanner(
            columns=stored, batch_size=CHUNK_ROWS, batch_readahead=_READ_AHEAD
        )
        yield from _numbered(parts, numbers, _guarded(scanner.to_batches(), parts, numbers, stored), names)


def _numbered(
    parts: Sequence[Part], numbers: Sequence[int], batches: Iterator[pa.RecordBatch], names: Sequence[str]
) -> Iterator[tuple[int, dict[str, pa.Array]]]:
    """The batches of consecutive files with their file's number, and the columns that the folders name."""
    place, left = 0, parts[numbers[0]].rows
    for batch in batches:
        if not len(batch):
            continue
        if not left:
            place += 1
            left = parts[numbers[place]].rows
        left -= len(batch)
        part, found = parts[numbers[place]], dict(zip(batch.schema.names, batch.columns, strict=True))
        for name in names:
            if name not in found:
                found[name] = pa.repeat(part.keys[name], len(batch))
        yield numbers[place], found


def _guarded(
    batches: Iterator[pa.RecordBatch], parts: Sequence[Part], numbers: Sequence[int], names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The batches; an error in one of them names the file and the column, which Arrow does not."""
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            _find_damage([parts[number] for number in numbers], names)
            problem = f"cannot be read: {one_line(str(error), 160)}"
            raise InvalidInput("data.path", problem, "write the files again") from error
        yield batch


def _find_damage(parts: Sequence[Part], names: Sequence[str]) -> None:
    for part in parts:
        for name in names:
            try:
                with pq.ParquetFile(part.path, page_checksum_verification=True) as file:
                    for _ in file.iter_batches(CHUNK_ROWS, columns=[name]):
                        pass
            except (pa.ArrowException, OSError) as error:
                problem = f"column {name!r} is damaged: {one_line(str(error), 160)}"
                raise InvalidInput(part.name, problem, "write the file again") from error
