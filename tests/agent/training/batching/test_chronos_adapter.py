"""A panel goes into the library's own `fit` as it is, one series after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos.chronos2 import Chronos2Pipeline

from agent.data.panel import Panel
from agent.training.batching.chronos_adapter import PreparedSeries
from agent.training.evaluate.acceptance import sample_of, weights_changed
from tests.agent.training.builders import CONTEXT, HORIZON, a_family, a_panel


def test_the_library_trains_on_a_panel_without_having_it_whole(tmp_path: Path) -> None:
    panel = a_panel(
        tmp_path,
        past_price=lambda times, random: random.normal(size=len(times)),
        known_day=lambda times, _random: times % 7,
    )
    pipeline = a_family("chronos-2").pipeline
    assert isinstance(pipeline, Chronos2Pipeline)
    before = sample_of(pipeline.model)
    trained = pipeline.fit(
        PreparedSeries(panel, HORIZON), prediction_length=HORIZON, context_length=CONTEXT, num_steps=3, batch_size=9,
        learning_rate=1e-2, output_dir=tmp_path / "fit",
    )  # fmt: skip
    weights_changed(before, sample_of(trained.model))


class Counted(PreparedSeries):
    """Remembers what it was asked for."""

    def __init__(self, panel: Panel, prediction_length: int) -> None:
        super().__init__(panel, prediction_length)
        self.asked: list[Any] = []

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return super().__getitem__(index)


def test_the_library_reads_the_series_that_it_draws_and_no_other(tmp_path: Path) -> None:
    """Twelve draws of four batches, and the one by which it looks what it was given; each is read some three times."""
    series = Counted(a_panel(tmp_path, count=200, length=30), HORIZON)
    pipeline = a_family("chronos-2").pipeline
    assert isinstance(pipeline, Chronos2Pipeline)
    pipeline.fit(
        series, prediction_length=HORIZON, context_length=CONTEXT, num_steps=4, batch_size=3, learning_rate=1e-2,
        output_dir=tmp_path / "fit",
    )  # fmt: skip
    assert all(isinstance(index, int | np.integer) for index in series.asked)
    assert 6 < len(set(series.asked)) <= 13
    assert len(series.asked) < 50


def test_a_prepared_series_is_the_panels(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=3, past_price=lambda times, _random: times * 1.0)
    series = PreparedSeries(panel, HORIZON)
    assert [len(series), len(series[:2])] == [3, 2]
    last = series[-1]
    assert torch.equal(last["context"], torch.tensor(np.array(panel.series(2))))
    assert [last["n_targets"], last["n_covariates"], last["n_future_covariates"]] == [1, 1, 0]
