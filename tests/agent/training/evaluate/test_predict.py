"""Forecasts of held-out points: no more at a time than fits, and how long all of them will take."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.data.panel import Columns, Floats, Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.training.batching.sampler import Draw
from agent.training.batching.split import Split
from agent.training.evaluate import metrics as scoring
from agent.training.evaluate import time_budget
from agent.training.evaluate.metrics import Held
from agent.training.evaluate.predict import Forecaster
from agent.training.evaluate.reference_models import ReferenceModel
from agent.training.model.families import Chronos2Family, Family
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.parse import parse_config
from tests.agent.builders import FakeTime, tiny_chronos
from tests.agent.training.builders import HORIZON, a_family, a_panel


def test_a_model_that_draws_its_forecasts_is_given_fewer_series_at_a_time() -> None:
    assert a_family("chronos-2").at_once(Columns(1, 1, 2)) == 256 // 4
    assert a_family("chronos-bolt").at_once(Columns(2)) == 256 // 2
    # Twenty draws of each.
    assert a_family("chronos-t5").at_once(Columns(1)) == 256 // 20


def small_gpu(family: Family, windows: int) -> list[int]:
    """Its memory holds so many windows. Returns how many were tried, as long as the test runs."""
    tried, whole = [], family.forecast

    def forecast(panel: Panel, draw: Draw, quantiles: Sequence[float]) -> Floats:
        tried.append(len(draw.series))
        if len(draw.series) > windows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(panel, draw, quantiles)

    family.forecast = forecast  # type: ignore[method-assign]
    return tried


def forecasts(family: Family, panel: Panel, held: Held, tmp_path: Path) -> Floats:
    with closing(Metrics(tmp_path / "metrics.jsonl")) as metrics:
        return Forecaster(panel, metrics, StopSignal()).forecasts(family, held)


def test_forecasts_that_do_not_fit_into_memory_are_made_in_smaller_batches(tmp_path: Path) -> None:
    panel, family = a_panel(tmp_path), a_family("chronos-2", dropout=0.0)
    family.model.eval()
    held = scoring.hold_out(panel, HORIZON, 2, 6)
    whole = forecasts(family, panel, held, tmp_path)
    tried = small_gpu(family, 3)
    parts = forecasts(family, panel, held, tmp_path)
    assert tried == 2 * [8, 4, 2, 2, 2, 2]
    np.testing.assert_allclose(parts, whole, rtol=1e-4)


def test_a_forecast_that_never_fits_is_said_so(tmp_path: Path) -> None:
    panel, family = a_panel(tmp_path), a_family("chronos-2")
    small_gpu(family, 0)
    with pytest.raises(InvalidInput, match="not even one forecast fits into the GPU's memory"):
        forecasts(family, panel, scoring.hold_out(panel, HORIZON, 1, 6), tmp_path)


def test_time_is_kept_for_every_pass_of_every_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two windows of the test and one of the validation, by trained model, base and champion: ten seconds each."""
    panel, clock = a_panel(tmp_path), FakeTime()
    base = tmp_path / "base"
    a_family("chronos-2").save(base)
    config: Any = tiny_chronos() | {"model": {"base": str(base)}, "prediction_length": HORIZON}
    config["evaluation"] = {"windows": 2, "champion": str(base), "baselines": []}
    whole, load = Chronos2Family.forecast, ReferenceModel.load

    def slow(family: Chronos2Family, part: Panel, draw: Draw, quantiles: Sequence[float]) -> Floats:
        clock.advance(10)
        return whole(family, part, draw, quantiles)

    def far_away(reference: ReferenceModel, *arguments: Any, **more: Any) -> Family:
        clock.advance(7)
        return load(reference, *arguments, **more)

    monkeypatch.setattr(Chronos2Family, "forecast", slow)
    monkeypatch.setattr(ReferenceModel, "load", far_away)
    parsed = parse_config(config, "test")
    seconds = time_budget.evaluation_seconds(
        a_family("chronos-2"), Split.of(panel, parsed), parsed, StopSignal(), monotonic=clock
    )
    # The eight series are one batch. The trained model is loaded too, to be compared with that in memory.
    assert seconds == pytest.approx(1.5 * (3 * 3 * 10 + 3 * 7) + 60, abs=1e-3)
