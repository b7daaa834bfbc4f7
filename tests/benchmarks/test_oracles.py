"""Every metric equals that of utilsforecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.training.accuracy.oracles import by_utilsforecast, cases, gap


def test_every_metric_equals_that_of_utilsforecast(tmp_path: Path) -> None:
    """On data with gaps, short series, constants, zeros and several windows."""
    undefined, windows, missing = set(), set(), 0
    for case in cases(tmp_path, 20):
        theirs = by_utilsforecast(case)
        assert gap(case.ours, theirs) < 1e-9, (case.ours, theirs)
        undefined |= {name for name, value in case.ours.items() if np.isnan(value)}
        windows.add(len(case.test.cutoffs))
        missing += int(np.isnan(case.test.truth).any())
    # The cases have what they are meant to have.
    assert undefined == {"mase", "sql", "wql"}
    assert windows == {1, 2, 3}
    assert missing > 3


def test_a_gap_counts_undefined_scores_too() -> None:
    assert gap({"wql": 1.0}, {"wql": float("inf")}) == float("inf")
    assert gap({"wql": float("nan")}, {"wql": float("nan")}) == 0
    assert gap({"wql": 1.0, "mase": 3.0}, {"wql": 1.5}) == 0.5 / 1.5
