"""The benchmark of forecasts compares equal work, and says so when a side runs out of memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.chronos.model.families import family_of
from agent.chronos.model.from_scratch import new_pipeline
from benchmarks.forecast.__main__ import TINY, figures, text
from benchmarks.forecast.dataset import CONTEXT, write_dataset
from benchmarks.forecast.sides import SIDES, out_of_memory
from benchmarks.training.workload import HORIZON

_ROW = {"seconds": 2.0, "cpu_seconds": 1.9, "peak_mb": 700, "rows": 24}


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
@pytest.mark.parametrize("covariates", [False, True])
def test_the_sides_write_the_same_forecasts(tmp_path: Path, covariates: bool) -> None:
    folder, model = tmp_path / "data", tmp_path / "model"
    write_dataset(folder, 20, covariates=covariates)
    family_of(new_pipeline(TINY, CONTEXT, HORIZON), CONTEXT, HORIZON).save(model)
    sides = ["whole", "chunks", *([] if covariates else ["tensors"])]
    for side in ("ours", *sides):
        assert SIDES[side](folder, model) == 20 * HORIZON

    ours = pa.concat_tables(map(pq.read_table, sorted((folder / "ours").rglob("part-*.parquet"))))
    levels = ours.column_names[4:]
    for side in sides:
        theirs = pq.read_table(folder / f"{side}.parquet")
        assert theirs["item_id"].to_pylist() == ours["item_id"].to_pylist()
        assert (theirs["timestamp"].to_numpy() == ours["timestamp"].to_numpy()).all()
        # Ours are sorted, so that quantiles do not cross. Texts have codes in another order.
        if not covariates:
            numbers = [np.stack([table[level].to_numpy() for level in levels], axis=1) for table in (theirs, ours)]
            np.testing.assert_allclose(np.sort(numbers[0], axis=1), numbers[1], rtol=1e-3)


def test_the_figures_are_those_of_100_000_series_without_covariates() -> None:
    rows = [
        {
            "series": count,
            "covariates": covariates,
            "model": "tiny",
            "ours": _ROW,
            "whole": _ROW | {"cpu_seconds": seconds},
        }
        for count, covariates, seconds in ((1_000, False, 1.0), (100_000, True, 3.0), (100_000, False, 5.7))
    ]
    found = figures(rows)["forecast"]
    assert (found["series"], found["ours"], found["stock"], found["ratio"]) == (100_000, 1.9, 5.7, 3.0)
    assert found["peak_mb"] == {"ours": 700, "stock": 700}


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (pa.ArrowMemoryError("malloc of size 64 failed: out of memory"), True),
        (pa.ArrowException("Unknown error: Wrapping item_0175394 failed"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (pa.ArrowInvalid("Could not open Parquet input source"), False),
        (RuntimeError("the model is not there"), False),
    ],
)
def test_memory_that_is_not_enough_is_told_from_what_is_wrong(error: Exception, short: bool) -> None:
    assert out_of_memory(error) is short


def test_a_side_without_enough_memory_says_so() -> None:
    row = {"series": 10, "covariates": False, "model": "tiny", "ours": _ROW, "whole": {"out_of_memory_gb": 8.0}}
    assert "| 10 | none | tiny | whole | | | | over 8,000 | out of memory |" in text([row])
