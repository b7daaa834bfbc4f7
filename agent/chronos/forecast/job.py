"""A forecast in the trainer's process, from top to bottom: load, predict, write parts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from agent.chronos.batching.held_out import MEDIAN
from agent.chronos.batching.split import matching
from agent.chronos.evaluate.forecast_table import future_examples, nulls_for_nan, points_of, quantile_columns
from agent.chronos.evaluate.predict import forecast_batches
from agent.chronos.forecast.part_writer import PartWriter
from agent.chronos.forecast.report import write_report
from agent.chronos.forecast.windows import future_windows, unobserved
from agent.chronos.model.family import Family
from agent.chronos.model.load import forecasting_model
from agent.data.covariate_schema import categories_of, with_categories
from agent.data.frequency import frequency_of
from agent.data.ingest.future import Horizon, read_future
from agent.data.ingest.read import read_panel
from agent.data.ingest.shards import SHARD_ROWS, Shard, split
from agent.data.panel import Floats, Indices, Panel
from agent.protocol.forecast_parts import DoneParts, latest_parts
from agent.protocol.metrics_log import BEGAN, CHECKPOINT, Metrics
from agent.protocol.trainer import StopSignal, write_json
from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.jobs import ForecastConfig

_CHUNK_VALUES = 1 << 22
"""Values of the series that are in memory at a time, unless a single batch has more."""
_CROSS_LEARNING_ROWS = 100
"""Rows that learn from each other, as in the Chronos-2 report."""


def run(
    workdir: Workdir, config: ForecastConfig, metrics: Metrics, stop: StopSignal, shard_rows: int = SHARD_ROWS
) -> dict[str, Any]:
    """Forecast all series that the configuration names. Writes parts, and a checkpoint after each; returns the result.

    Raises:
        InvalidInput: the data, the model or the future covariates cannot be used, or a forecast is not finite.
        StoppedEarly: SIGTERM; the parts so far count.
    """
    started = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    metrics.event("loading", what="model", device=device)
    family = forecasting_model(workdir.reference(config.model), config, device)
    stop.check()
    job = _Job(workdir, config, metrics, stop, family, latest_parts(workdir.checkpoints))
    metrics.event(BEGAN, step=job.done.items)

    def progress(done: int, total: int) -> None:
        metrics.event("loading", what="data", done=done, total=total)
        stop.check()

    files, future = (sorted(folder.rglob("*.parquet")) for folder in (workdir.data, workdir.future))
    part = (config.shard.index, config.shard.of) if config.shard else (0, 1)
    shards = split(files, future, config.data, workdir.panels / "shards", progress, shard_rows, part)
    for shard in shards:
        if not job.has(shard):
            job.forecast(shard)
    found = job.summary()
    write_report(workdir.evaluation, found, config)
    return {
        "stopped_early": False,
        "steps": job.done.items,
        "resumed_from": job.resumed_from,
        "forecast": found,
        "examples": job.examples,
        "seconds": {"forecasting": round(time.monotonic() - started, 3)},
    }


@dataclass
class _Job:
    """A forecast so far: its parts that are done, and the series in and before the one in progress."""

    workdir: Workdir
    config: ForecastConfig
    metrics: Metrics
    stop: StopSignal
    family: Family
    done: DoneParts
    examples: list[dict[str, Any]] = field(default_factory=list)
    frequency: str | None = None

    def __post_init__(self) -> None:
        """Begin as the last part has ended."""
        self.resumed_from = self.items = self.total = self.done.items
        self._began = time.monotonic()
        self.levels = sorted({*self.config.quantile_levels, MEDIAN})

    def has(self, shard: Shard) -> bool:
        """Whether all series of a shard are forecast: parts of a later one are done."""
        return any(number > shard.number for number, _ in self.done.ends)

    def forecast(self, shard: Shard) -> None:
        """Read a shard and forecast its series, part by part."""
        folder = self.workdir.panels / f"shard-{shard.number:05d}"
        panel = self._read(shard, folder)
        series = matching(panel, self.config.series)
        self._begin(shard, panel, len(series))
        if len(series):
            self._forecast(shard, Horizon.of(panel, self.config.data, self.config.prediction_length), series)
        shutil.rmtree(folder, ignore_errors=True)

    def _read(self, shard: Shard, folder: Path) -> Panel:
        def progress(done: int, total: int) -> None:
            self.metrics.ongoing("loading", what="data", done=done, total=total)
            self.stop.check()

        self.metrics.event("loading", what="data")
        panel = read_panel(shard.files, self.config.data, 1, folder, progress, constant=True)
        categories = shard.categories | categories_of(self.workdir.reference(self.config.model))
        return with_categories(panel, self.config.data, categories, folder / "recoded.npy")

    def _begin(self, shard: Shard, panel: Panel, count: int) -> None:
        """Note what the shard says about the data, and set the model to its columns."""
        family, config = self.family, self.config
        family.rows(panel.columns)
        rows = config.batch_size or (_CROSS_LEARNING_ROWS if config.cross_learning else None)
        asked = None if rows is None else max(1, rows // family.sequences(panel.columns))
        family.fitting = family.fitting or self.done.windows or asked
        if family.attention is None and self.done.attention is not None:
            family.use_attention(self.done.attention, panel.columns)
        frequency = frequency_of(panel)
        if self.frequency not in (None, frequency):
            problem = f"some series have the step {self.frequency}, others {frequency}"
            raise InvalidInput("data.path", problem, "forecast each frequency by itself")
        self.frequency = frequency
        self.done = self.done.of_data(shard.number, panel.findings)
        # Of the shards that are not read yet nobody knows the series: about as many as of those that are.
        self.total = round((self.done.items - self.done.of_shard(shard.number) + count) * shard.of / (shard.number + 1))
        write_json(self.workdir.facts, self._facts(panel))

    def _facts(self, panel: Panel) -> dict[str, Any]:
        """Facts for run.json."""
        return {
            "family": self.family.name,
            "context_length": self.family.context,
            "device": self.family.device,
            "precision": self.family.precision,
            "model": self.config.model,
            "series": self.total,
            "frequency": self.frequency,
            "findings": list(panel.findings),
        }

    def _forecast(self, shard: Shard, horizon: Horizon, series: Indices) -> None:
        known = None
        if shard.future:
            known = read_future(shard.future, self.config.data, horizon, series)
        size = self.config.output.series_per_part
        for start in range(self.done.of_shard(shard.number), len(series), size):
            stop = min(start + size, len(series))
            of_part = None if known is None else known[:, start:stop]
            self._part(horizon, series[start:stop], of_part, (shard.number, stop))

    def _part(self, horizon: Horizon, series: Indices, known: Floats | None, end: tuple[int, int]) -> None:
        """Forecast and write the series of a part, then save it as a checkpoint."""
        number, config = len(self.done.parts), self.config
        writer = PartWriter(self.workdir.forecast_parts, number, config.output.format)
        # Chronos-T5 samples its forecasts: those of a part do not depend on the parts before it.
        torch.manual_seed(number)
        for chunk in self._chunks(horizon.panel, series):
            of_chunk = None if known is None else known[:, chunk]
            panel, windows = future_windows(horizon, series[chunk], self.family.context, of_chunk)
            found = []
            for block in forecast_batches(self.family, panel, windows, self.levels):
                found.append(block)
                self.items += len(block)
                self._report()
            forecasts, unknown = np.concatenate(found), unobserved(panel)
            forecasts[unknown] = np.nan
            writer.write(self._table(panel, windows.cutoffs, forecasts, unknown), panel.ids, config.data.timestamp)
            self.examples = self.examples or future_examples(panel, windows, self.family.name, forecasts, self.levels)
        self.done = self.done.add(writer.finish(), end, self.family.attention, self.family.fitting)
        self.metrics.event(CHECKPOINT, step=self.done.save(self.workdir.checkpoints))

    def _table(self, panel: Panel, cutoffs: Indices, forecasts: Floats, unknown: Any) -> pa.Table:
        broken = ~(np.isfinite(forecasts).all(axis=(2, 3)) | unknown).all(axis=1)
        if broken.any():
            problem = f"the forecast of {panel.items[int(broken.argmax())].as_py()} is not finite"
            raise InvalidInput("model", problem, "precision: fp32, or another model")
        columns = points_of(panel, self.config.data, np.arange(len(panel)), cutoffs[None], forecasts.shape[2])
        wanted = [self.levels.index(level) for level in self.config.quantile_levels]
        numbers = {"predictions": quantile_columns(forecasts, self.levels)[str(MEDIAN)]}
        numbers |= quantile_columns(forecasts[..., wanted], self.config.quantile_levels)
        if unknown.any():
            numbers = {name: nulls_for_nan(values) for name, values in numbers.items()}
        return pa.table(columns | numbers)

    def _chunks(self, panel: Panel, series: Indices) -> Iterator[slice]:
        """Series to have in memory at a time, in whole batches: where a chunk ends does not change any batch."""
        start = 0
        while start < len(series):
            windows = self.family.forecast_windows(panel.columns)
            longest = int(np.minimum(panel.lengths[series[start : start + windows]], self.family.context).max())
            values = (longest + self.config.prediction_length) * panel.columns.all * windows
            stop = min(start + windows * max(1, _CHUNK_VALUES // values), len(series))
            yield slice(start, stop)
            start = stop

    def _report(self) -> None:
        pace = (self.items - self.resumed_from) / max(time.monotonic() - self._began, 1e-9)
        self.metrics.step(self.items, self.total, eta_seconds=round((self.total - self.items) / pace, 1))
        self.stop.check()

    def summary(self) -> dict[str, Any]:
        """What was forecast. Raises InvalidInput if nothing was."""
        parts = self.done.parts
        if not parts and self.config.shard is None:
            raise InvalidInput("series", f"{self.config.series!r} matches no series", "use a pattern such as 'shop-*'")
        return {
            "rows": sum(part.rows for part in parts),
            "items": self.done.items,
            "left_out": self.done.left_out,
            "first_timestamp": min((part.first_timestamp for part in parts), default=None),
            "last_timestamp": max((part.last_timestamp for part in parts), default=None),
            "rows_without_numbers": sum(part.rows_without_numbers for part in parts),
            "quantiles_cross": sum(part.quantiles_cross for part in parts),
            "parts": len(parts),
            "format": self.config.output.format,
            "model": self.config.model,
            "family": self.family.name,
            "context_length": self.family.context,
            "precision": self.family.precision,
            "attention": self.family.attention,
            "cross_learning": self.config.cross_learning,
            "frequency": self.frequency,
            "findings": [str(one["problem"]) for one in self.done.findings],
        }
