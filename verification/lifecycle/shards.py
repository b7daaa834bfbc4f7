"""How series fall to the shards of a forecast."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from agent.data.ingest.shards import split
from chronos_ec2.job_config.data import Data


def shard_figures(series: int = 2000) -> dict[str, int]:
    """How many series fall to no shard or to several, for some numbers of shards."""
    names = [f"item {number}" if number % 3 else f"größe-{number}" for number in range(series)]
    table = pa.table(
        {"item_id": names, "timestamp": pa.array([0] * series, pa.timestamp("s")), "target": [1.0] * series}
    )
    wrong, data = 0, Data.model_validate({"path": "x"})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "data.parquet")
        pq.write_table(table, file)
        for of, rows in ((2, series), (3, 100), (8, series), (8, 50)):
            counts: Counter[str] = Counter()
            for index in range(of):
                into = Path(folder, f"{of}-{rows}-{index}")
                shards = split([file], [], data, into, lambda _done, _total: None, rows, (index, of))
                for shard in shards:
                    counts.update(pq.read_table([*shard.files], columns=["item_id"])["item_id"].to_pylist())
            wrong += sum(counts[name] != 1 for name in names)
    return {"items_in_no_or_two_shards": wrong}
