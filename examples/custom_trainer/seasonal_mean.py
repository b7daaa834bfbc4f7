"""A custom trainer: forecasts each point by the mean of the last points in the same season position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agent.chronos.batching.load import load_panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal, write_json
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.schema import TrainingConfig


class SeasonalMean:
    """Learns a mean per series and season position; evaluated on the last points of each series."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.season = config.evaluation.season_length
        self.seasons = config.options.get("seasons", 3)
        if not isinstance(self.seasons, int) or self.seasons < 1:
            raise InvalidInput("options.seasons", "must be an integer of at least 1", "such as 3")

    def train(self, workdir: Workdir, metrics: Metrics, stop: StopSignal) -> Mapping[str, Any]:
        """One step per series: learn its means, and compare them with the held-out points."""
        horizon = self.config.prediction_length
        # Sorted by time and checked by data.problems; read_table(workdir.data) would work too.
        _, panel = load_panel(workdir, self.config, metrics)
        means, errors = np.empty((len(panel), self.season)), []
        write_json(workdir.facts, {"device": "cpu", "series": len(panel), "parameters": means.size})
        for index in range(len(panel)):
            stop.check()
            values = panel.series(index)[0]
            past, truth = values[:-horizon], values[-horizon:]
            means[index] = self.learn(past)
            forecast = np.resize(means[index], horizon)
            scale = np.nanmean(np.abs(past[self.season :] - past[: -self.season]))
            errors.append(np.nanmean(np.abs(forecast - truth)) / scale)
            metrics.step(index + 1, len(panel), loss=float(np.mean(errors)))
        workdir.model.mkdir()
        columns = {f"mean_{position}": means[:, position] for position in range(self.season)}
        pq.write_table(pa.table({"item_id": panel.items} | columns), workdir.model / "seasonal_means.parquet")
        return {"steps": len(panel), "metrics": {"mase": float(np.mean(errors))}}

    def learn(self, past: Any) -> Any:
        """(season,) means; the first is that of the next point."""
        seasons = min(self.seasons, len(past) // self.season)
        return np.nanmean(past[-seasons * self.season :].reshape(seasons, self.season), axis=0)
