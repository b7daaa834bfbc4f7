"""The paired bootstrap, against known probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.training.batching.held_out import HeldOutWindows
from agent.training.evaluate.metrics import errors
from agent.training.evaluate.significance import compare
from tests.agent.training.evaluate.test_metrics import forecasts, windows


def noisy(count: int, ratio: float, seed: int) -> tuple[HeldOutWindows, Any, Any]:
    """Windows, and two forecasts of them; the second has `ratio` times the noise of the first."""
    random = np.random.default_rng(seed)
    truth = random.normal(10, 1, (count, 6))
    noise = random.normal(size=(2, count, 6))
    return windows(truth), forecasts(truth + noise[0]), forecasts(truth + noise[1] * ratio)


def test_a_significantly_better_model_is_improved() -> None:
    truth, good, bad = noisy(200, 2.0, 0)
    found = compare(errors(truth, good), errors(truth, bad))
    assert found["improved"]
    assert found["wql"]["difference"] < found["wql"]["interval"][1] < 0
    assert not compare(errors(truth, bad), errors(truth, good))["improved"]


def test_an_equally_good_model_is_seldom_improved() -> None:
    wrong = 0
    for seed in range(60):
        truth, one, other = noisy(60, 1.0, seed)
        wrong += compare(errors(truth, one), errors(truth, other))["improved"]
    # One tail of a 95 % interval: 1.5 of 60 expected.
    assert wrong <= 6


def test_a_single_series_is_never_significant() -> None:
    truth, good, bad = noisy(1, 9.0, 0)
    found = compare(errors(truth, good), errors(truth, bad))
    assert found["wql"]["difference"] < 0
    assert np.isnan(found["wql"]["interval"]).all()
    assert np.isnan(found["mase"]["interval"]).all()
    assert not found["improved"]


def test_a_model_is_not_better_than_itself() -> None:
    truth, one, _ = noisy(20, 1.0, 0)
    found = compare(errors(truth, one), errors(truth, one))
    assert found["wql"] == {"difference": 0.0, "interval": [0.0, 0.0]}
    assert not found["improved"]
