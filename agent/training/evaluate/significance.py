"""Whether one model is better than another: paired bootstrap over series, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agent.training.evaluate.metrics import Errors, scores, series_mase

RESAMPLES = 1_000
"""Bootstrap resamples per comparison."""
_INTERVAL = (0.025, 0.975)


def compare(ours: Errors, theirs: Errors, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """The differences of WQL and MASE, ours minus theirs, with 95 % percentile bootstrap intervals.

    Each resample draws the same series for both models (Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
    chapter 13). `improved`: the whole interval of the WQL difference is below zero. A single series has no interval:
    it is NaN.
    """
    random = np.random.default_rng(seed)
    count = len(ours.count)
    usable = (ours.scaled_count > 0) & (theirs.scaled_count > 0)
    our_mase, their_mase = (np.where(usable, series_mase(model), 0.0) for model in (ours, theirs))
    wql, mase = [], []
    for _ in range(resamples):
        picks = random.integers(count, size=count)
        target = ours.target[picks].sum()
        loss = ours.quantile_loss[picks].sum() - theirs.quantile_loss[picks].sum()
        wql.append(loss / target if target > 0 else np.nan)
        scaled = usable[picks].sum()
        mase.append((our_mase[picks].sum() - their_mase[picks].sum()) / scaled if scaled else np.nan)
    our_scores, their_scores = scores(ours), scores(theirs)
    intervals = {
        name: [float(edge) for edge in np.quantile(drawn, _INTERVAL)] if count > 1 else [np.nan, np.nan]
        for name, drawn in (("wql", wql), ("mase", mase))
    }
    found: dict[str, Any] = {
        name: {"difference": our_scores[name] - their_scores[name], "interval": intervals[name]}
        for name in ("wql", "mase")
    }
    return found | {"improved": intervals["wql"][1] < 0}


def verdict(comparisons: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """`improved` or `not improved`: the trained model against its base, or without one against seasonal naive.

    `comparisons` maps each reference model to the result of `compare`.
    """
    against = "base" if "base" in comparisons else "seasonal_naive"
    improved = "improved" if comparisons[against]["improved"] else "not improved"
    return {"against": against, "verdict": improved, **differences(comparisons)[against]}


def differences(comparisons: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The differences of both scores with their intervals, by reference model."""
    return {name: {score: one[score] for score in ("wql", "mase")} for name, one in comparisons.items()}
