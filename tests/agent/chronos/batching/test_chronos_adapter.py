"""The library's own `fit` trains on a panel, one series at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos.chronos2 import Chronos2Pipeline

from agent.chronos.batching.chronos_adapter import PreparedSeries
from agent.chronos.evaluate.acceptance import sample_weights, weights_changed
from agent.data.panel import Panel
from tests.agent.chronos.builders import CONTEXT, HORIZON, a_family, a_panel


def test_the_library_trains_on_a_panel(tmp_path: Path) -> None:
    panel = a_panel(
        tmp_path,
        past_price=lambda times, random: random.normal(size=len(times)),
        known_day=lambda times, _random: times % 7,
    )
    pipeline = a_family("chronos-2").pipeline
    assert isinstance(pipeline, Chronos2Pipeline)
    before = sample_weights(pipeline.model)
    trained = pipeline.fit(
        PreparedSeries(panel, HORIZON), prediction_length=HORIZON, context_length=CONTEXT, num_steps=3, batch_size=9,
        learning_rate=1e-2, output_dir=tmp_path / "fit",
    )  # fmt: skip
    weights_changed(before, sample_weights(trained.model))


class RecordedSeries(PreparedSeries):
    """Records the indices that are read."""

    def __init__(self, panel: Panel, prediction_length: int) -> None:
        super().__init__(panel, prediction_length)
        self.indices: list[Any] = []

    def __getitem__(self, index: Any) -> Any:
        self.indices.append(index)
        return super().__getitem__(index)


def test_the_library_reads_only_the_series_it_samples(tmp_path: Path) -> None:
    """Twelve samples in four batches, and one to detect the input type; each is read about three times."""
    series = RecordedSeries(a_panel(tmp_path, count=200, length=30), HORIZON)
    pipeline = a_family("chronos-2").pipeline
    assert isinstance(pipeline, Chronos2Pipeline)
    pipeline.fit(
        series, prediction_length=HORIZON, context_length=CONTEXT, num_steps=4, batch_size=3, learning_rate=1e-2,
        output_dir=tmp_path / "fit",
    )  # fmt: skip
    assert all(isinstance(index, int | np.integer) for index in series.indices)
    assert 6 < len(set(series.indices)) <= 13
    assert len(series.indices) < 50


def test_a_prepared_series_has_the_panels_values(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=3, past_price=lambda times, _random: times * 1.0)
    series = PreparedSeries(panel, HORIZON)
    assert [len(series), len(series[:2])] == [3, 2]
    last = series[-1]
    assert torch.equal(last["context"], torch.tensor(np.array(panel.series(2))))
    assert [last["n_targets"], last["n_covariates"], last["n_future_covariates"]] == [1, 1, 0]
