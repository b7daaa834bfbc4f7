"""Forecast jobs in this process, with a tiny model and small series."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.chronos.forecast.job import run
from agent.data.ingest.shards import SHARD_ROWS
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.jobs import ForecastConfig
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import a_workdir, toy_series
from tests.agent.chronos.builders import a_family

MODEL = "amazon/chronos-2"


def forecast_config(**changes: Any) -> ForecastConfig:
    document = {"job": "forecast", "data": {"path": "training-data/toy/"}, "prediction_length": 6, "context_length": 24}
    found = parse_config(document | {"model": MODEL} | changes, "test")
    assert isinstance(found, ForecastConfig)
    return found


def forecast_workdir(tmp_path: Path, table: pa.Table | None = None, family: str = "chronos-2") -> Workdir:
    workdir = a_workdir(tmp_path)
    pq.write_table(toy_series() if table is None else table, workdir.data / "toy.parquet")
    a_family(family).save(workdir.reference(MODEL))
    return workdir


def forecast(
    workdir: Workdir, stop: StopSignal | None = None, shard_rows: int = SHARD_ROWS, **config: Any
) -> dict[str, Any]:
    with closing(Metrics(workdir.metrics)) as metrics:
        return run(workdir, forecast_config(**config), metrics, stop or StopSignal(), shard_rows)


def rows(workdir: Workdir) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(workdir.forecast_parts.glob("part-*.parquet")))


def with_covariates(table: pa.Table, horizon: int = 6) -> tuple[pa.Table, pa.Table]:
    """The table with a price and a weekday, and the rows of both for the points after its end."""
    count = len(table["item_id"].unique())
    ends = table.group_by("item_id").aggregate([("timestamp", "max")])["timestamp_max"].to_numpy()
    random = np.random.default_rng(3)

    def more(items: Any, times: Any) -> dict[str, Any]:
        days = times.astype("datetime64[D]").astype(int) % 7
        return {"price": random.normal(size=len(items)), "day": [f"day-{day}" for day in days.tolist()]}

    history = more(table["item_id"].to_pylist(), table["timestamp"].to_numpy())
    items = np.repeat([f"item-{index:02d}" for index in range(count)], horizon)
    times = (ends[:, None] + np.arange(1, horizon + 1) * np.timedelta64(1, "D")).ravel().astype("datetime64[ms]")
    future = {"item_id": items.tolist(), "timestamp": times} | more(items, times)
    for name, values in history.items():
        table = table.append_column(name, [values])
    return table, pa.table(future)
