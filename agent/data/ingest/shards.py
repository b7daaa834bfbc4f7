"""A data set in shards of bounded size, each with all rows of its series: reading one takes as much memory as any.

A run that forecasts one of N parts of the series reads each N-th shard, by the same hash.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.data.columns import check_columns, common_time, stored_time
from agent.data.findings import Findings
from agent.data.ingest.batches import batches
from agent.data.ingest.parts import Part, open_parts
from agent.data.ingest.scan import cast_column, holds_text, id_type
from agent.data.panel import Indices
from chronos_ec2.job_config.data import Data

SHARD_ROWS = 1 << 24
"""Of a shard, on average. Reading takes about 45 bytes a row."""
_BUFFERED_ROWS = 1 << 21


@dataclass(frozen=True, slots=True)
class Shard:
    """The files of some of the series, and those with the covariates that are known of their future.

    It is shard `number` of `of`. `categories`: the texts of each text covariate in all shards, sorted.
    """

    number: int
    of: int
    files: Sequence[Path]
    future: Sequence[Path]
    categories: dict[str, list[str]] = field(default_factory=dict)


def split(
    files: Sequence[Path],
    future: Sequence[Path],
    data: Data,
    folder: Path,
    progress: Callable[[int, int], None],
    max_rows: int = SHARD_ROWS,
    part: tuple[int, int] = (0, 1),
) -> list[Shard]:
    """The shards, the same ones each time; a data set of one shard stays in its files. A series is in one by its name.

    `part`: the index of a part of the series, and how many there are.

    Raises InvalidInput, which names file and column.
    """
    parts = open_parts(files, data)
    rows = check_columns(parts, data, Findings(data.problems))
    index, count = part
    of = count * -(-rows // (count * max_rows))
    if of == 1:
        return [Shard(0, 1, files, future)]
    wanted = range(index, of, count)
    texts: dict[str, set[str]] = {}
    history = _write(parts, data, folder / "history", wanted, texts, progress)
    ahead: dict[int, Path] = {}
    if future:
        asked = data.model_copy(update={"target": [], "past_covariates": []})
        ahead = _write(open_parts(future, asked), asked, folder / "future", wanted, {}, progress)
    categories = {name: sorted(found) for name, found in texts.items()}
    return [
        Shard(number // count, len(wanted), [path], [ahead[number]] if number in ahead else [], categories)
        for number, path in sorted(history.items())
    ]


def _write(
    parts: Sequence[Part],
    data: Data,
    folder: Path,
    wanted: range,
    texts: dict[str, set[str]],
    progress: Callable[[int, int], None],
) -> dict[int, Path]:
    """Write the rows of each wanted shard into a file of its own; returns those of the shards that have rows."""
    folder.mkdir(parents=True, exist_ok=True)
    of = wanted.stop
    kinds = _types(parts, data)
    shards: dict[int, _ShardFile] = {}
    done, total = 0, sum(part.rows for part in parts)
    for number, batch in batches(parts, list(kinds)):
        columns = {
            name: cast_column(batch[name], kind, parts[number], name, safe=kind != pa.float64())
            for name, kind in kinds.items()
        }
        for name in data.values:
            if pa.types.is_string(kinds[name]):
                texts.setdefault(name, set()).update(columns[name].drop_null().unique().to_pylist())
        shard = _shard_of([columns[name] for name in data.item_id], of)
        order = np.argsort(shard, kind="stable")
        table = pa.table(columns).take(pa.array(order))
        bounds = np.searchsorted(shard[order], np.arange(of + 1))
        for one in np.flatnonzero(np.diff(bounds)).tolist():
            if one not in wanted:
                continue
            if one not in shards:
                shards[one] = _ShardFile(folder / f"{one:05d}.parquet", table.schema, _BUFFERED_ROWS // of)
            shards[one].add(table.slice(bounds[one], bounds[one + 1] - bounds[one]))
        done += len(shard)
        progress(done, total)
    for file in shards.values():
        file.close()
    pa.default_memory_pool().release_unused()
    return {one: file.path for one, file in shards.items()}


class _ShardFile:
    """A Parquet file that is written in groups of rows, so that few of them are in memory."""

    def __init__(self, path: Path, schema: pa.Schema, group: int) -> None:
        self.path = path
        self._writer = pq.ParquetWriter(path, schema, compression="lz4")
        self._group = group
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self._rows += len(rows)
        if self._rows >= self._group:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._rows = [], 0


def _types(parts: Sequence[Part], data: Data) -> dict[str, pa.DataType]:
    """The type of each column, one that holds the values of all files."""
    kinds = {name: id_type(parts, name) for name in data.item_id}
    kinds[data.timestamp] = stored_time(parts, data.timestamp, common_time(parts, data.timestamp))
    return kinds | {name: pa.string() if holds_text(parts, name) else pa.float64() for name in data.values}


def _shard_of(ids: Sequence[pa.Array], of: int) -> Indices:
    """(n,) the shard of each row, by a hash of what names its series."""
    hashes: Any = np.zeros(len(ids[0]), dtype=np.uint64)
    for column in ids:
        encoded = column.dictionary_encode()
        texts = encoded.dictionary.cast(pa.string()).to_pylist()
        values = np.array([*(zlib.crc32(text.encode()) for text in texts), 0], dtype=np.uint64)
        codes = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
        hashes = hashes * np.uint64(1_000_003) + values[codes]
    shards: Indices = (hashes % np.uint64(of)).astype(np.int64)
    return shards
