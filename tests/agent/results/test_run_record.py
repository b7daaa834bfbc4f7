"""What the record of a run says about its model to the watchdog."""

from __future__ import annotations

from typing import Any

import pytest

from agent.results.run_record import RunRecord
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.reports import Comparison
from chronos_ec2.domain.records.request import Request
from chronos_ec2.testing.builders import LANE, RUN_ID
from chronos_ec2.worker.progress import Progress

REQUEST = Request(RUN_ID, LANE, {}, ("g4dn.2xlarge",), "0" * 64, (), Limits())


def comparison(by: str | None = "wql", exported: str = "trained", **highs: float | None) -> Comparison | None:
    """Of a run whose differences have these upper ends in WQL; in MASE each is the opposite."""
    minus = {
        name: {
            "wql": {"difference": -1.0, "interval": [-2.0, high]},
            "mase": {"difference": 1.0, "interval": [0.5, None if high is None else -high]},
        }
        for name, high in highs.items()
    }
    result: dict[str, Any] = {"evaluation": {"exported": exported, "verdict": {"by": by}, "trained_minus": minus}}
    return RunRecord(REQUEST, Progress(), result=result).comparison


def test_it_is_better_than_models_whose_whole_interval_is_above_it_by_the_score_of_the_verdict() -> None:
    assert comparison(base=-0.1, champion=0.0, seasonal_naive=0.1) == Comparison(
        "trained", ("base", "champion", "seasonal_naive"), ("base",)
    )
    assert comparison("mase", base=-0.1, seasonal_naive=0.1) == Comparison(
        "trained", ("base", "seasonal_naive"), ("seasonal_naive",)
    )


@pytest.mark.parametrize(("by", "high"), [(None, -0.1), ("wql", None)])
def test_what_is_undefined_is_no_better(by: str | None, high: float | None) -> None:
    assert comparison(by, base=high) == Comparison("trained", ("base",), ())


@pytest.mark.parametrize(("exported", "score"), [("base", 0.2), ("trained", 0.25)])
def test_the_score_before_the_test_windows_is_that_of_the_exported_model(exported: str, score: float) -> None:
    scores = {"trained": 0.25, "base": 0.2}
    found = {"exported": exported, "verdict": {"by": None}, "trained_minus": {}, "selection": scores}
    comparison = RunRecord(REQUEST, Progress(), result={"evaluation": found}).comparison
    assert comparison == Comparison(exported, (), (), score)


def test_a_run_without_an_evaluation_compares_nothing() -> None:
    assert RunRecord(REQUEST, Progress()).comparison is None
