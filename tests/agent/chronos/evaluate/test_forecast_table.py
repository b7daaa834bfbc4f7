"""The table of forecasts: each row against the panel, with the names and types of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.chronos.batching.held_out import QUANTILES, hold_out
from agent.chronos.evaluate.forecast_table import write_forecasts
from agent.chronos.evaluate.seasonal_naive import naive_forecasts
from agent.data.ingest.read import read_panel
from chronos_ec2.job_config.schema import Data

HORIZON = 3


def test_each_row_is_a_held_out_point_under_the_names_and_types_of_the_data(tmp_path: Path) -> None:
    count, length = 4, 20
    table = pa.table(
        {
            "store": pa.array(np.repeat([7, 30, 100, 2], length), pa.int32()),
            "day": pa.array(np.tile(np.datetime64("2024-01-01", "s") + np.arange(length) * 86_400, count)),
            "sales": np.random.default_rng(0).normal(size=count * length),
            "visits": np.random.default_rng(1).normal(size=count * length),
        }
    )
    pq.write_table(table, tmp_path / "data.parquet")
    data = Data.model_validate({"path": "x", "item_id": "store", "timestamp": "day", "target": ["sales", "visits"]})
    panel = read_panel([tmp_path / "data.parquet"], data, 1, tmp_path / "panel")
    test = hold_out(panel, HORIZON, 2, 1).select([0, 2, 3])
    forecasts = np.random.default_rng(2).normal(size=(*test.truth.shape, len(QUANTILES))).astype(np.float32)
    naive = naive_forecasts(panel, test)
    write_forecasts(tmp_path / "forecasts.parquet", panel, test, data, forecasts, naive)
    found = pq.read_table(tmp_path / "forecasts.parquet")
    assert found.column_names[:3] == ["store", "day", "target_name"]
    assert found.schema.field("store").type == pa.int32()
    frame = table.to_pandas().set_index(["store", "day"])
    for row in found.to_pylist():
        assert row["target"] == np.float32(frame.loc[(row["store"], row["day"]), row["target_name"]])
    rows = found.to_pandas()
    assert len(rows) == 2 * 3 * 2 * HORIZON
    assert not rows.duplicated(["store", "day", "target_name"]).any()
    for window, position, target in np.ndindex(*test.truth.shape[:3]):
        store = panel.ids["store"][int(test.series[position])].as_py()
        name, last = data.target[target], rows[rows["store"] == store].sort_values("day", kind="stable")
        shown = last[last["target_name"] == name].iloc[window * HORIZON : (window + 1) * HORIZON]
        np.testing.assert_array_equal(shown["0.3"], forecasts[window, position, target, :, 2])
        np.testing.assert_array_equal(shown["seasonal_naive"], naive[window, position, target, :, 4])
