"""What each model family trains and how it forecasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.chronos.batching.held_out import QUANTILES
from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.model.chronos2 import Chronos2Family
from agent.chronos.model.load import add_lora
from agent.data.panel import Panel
from chronos_ec2.job_config.schema import Lora
from tests.agent.chronos.builders import CONTEXT, FAMILIES, HORIZON, a_family, a_panel

WINDOWS = WindowBatch(np.array([0, 3, 5, 7]), np.array([20, 31, 9, 50]))


def univariate(tmp_path: Path) -> Panel:
    return a_panel(tmp_path)


def with_covariates(tmp_path: Path) -> Panel:
    return a_panel(
        tmp_path,
        target_two=lambda times, _random: np.sin(times / 2) * 3,
        past_heat=lambda times, random: np.cos(times / 5) + random.normal(size=len(times)),
        known_day=lambda times, _random: (times % 7).astype(float),
    )


@pytest.mark.parametrize("attention", ["block", "stock"])
@pytest.mark.parametrize("make", [univariate, with_covariates])
def test_forecasts_of_chronos_2_are_those_of_the_library(tmp_path: Path, make: type, attention: str) -> None:
    panel, family = make(tmp_path), a_family("chronos-2", dropout=0.0)
    family.model.eval()
    assert isinstance(family, Chronos2Family)
    family.use_attention("stock", panel.columns)
    theirs = family._forecast_by_the_library(panel, WINDOWS, QUANTILES)
    family.use_attention(attention, panel.columns)
    ours = family.forecast(panel, WINDOWS, QUANTILES)
    assert ours.shape == (4, panel.columns.targets, HORIZON, len(QUANTILES))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")
def test_chronos_2_forecasts_further_than_in_one_pass(tmp_path: Path) -> None:
    """The library then forecasts from its own forecasts, in groups that are not adjacent."""
    panel, further = with_covariates(tmp_path), 2 * HORIZON
    short = a_family("chronos-2", dropout=0.0)
    short.model.eval()
    found = []
    for attention in ("stock", "block"):
        family = Chronos2Family(short.pipeline, CONTEXT, further)
        family.use_attention(attention, panel.columns)
        found.append(family.forecast(panel, WINDOWS, QUANTILES))
    assert found[0].shape == (4, 2, further, len(QUANTILES))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attention", ["block", "stock"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("make", [univariate, with_covariates])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_weight_that_is_trained_is_used(
    tmp_path: Path, name: str, make: type, lora: bool, attention: str
) -> None:
    """Several processes do not search for weights without a gradient."""
    panel, family = make(tmp_path) if name == "chronos-2" else univariate(tmp_path), a_family(name, dropout=0.0)
    if lora:
        add_lora(family, Lora())
    family.freeze_unused(panel.columns)
    family.use_attention(attention, panel.columns)
    family.model(**family.batch(panel, WINDOWS)).loss.backward()
    trained = {name: weight for name, weight in family.model.named_parameters() if weight.requires_grad}
    assert trained
    assert [name for name, weight in trained.items() if weight.grad is None] == []
    queries = [name for name, _ in family.model.named_parameters() if ".layer.1.self_attention.q." in name]
    if name == "chronos-2" and not lora:
        assert bool(trained.keys() & set(queries)) is (panel.columns.all > 1)
