"""The sentence of a comparison."""

from __future__ import annotations

import math

import pytest

from agent.chronos.comparison.verdict import NAIVE, ranking, verdict
from agent.chronos.evaluate.significance import Difference

CLEAR, UNCLEAR = (-0.2, -0.1), (-0.2, 0.1)


def sentence(scores: dict[str, float], intervals: dict[str, tuple[float, float]], base: str = "base") -> str:
    named = {name: {"wql": score, "mase": 1.0} for name, score in scores.items()}
    best = ranking({name: found for name, found in named.items() if name != NAIVE})[1][0]
    minus = {
        name: {"wql": Difference(scores[best] - scores[name], intervals.get(name, CLEAR), 40)}
        for name in scores
        if name != best
    }
    found: str = verdict(base, named, minus)["sentence"]
    return found


@pytest.mark.parametrize(
    ("scores", "intervals", "expected"),
    [
        ({"base": 0.1, NAIVE: 0.2}, {}, "base is 50% better than seasonal naive in WQL"),
        (
            {"base": 0.1005, "tuned": 0.1, NAIVE: 0.2},
            {},
            "base is already within 0.5% of the best, tuned: fine-tuning is not the lever",
        ),
        ({"base": 0.125, "tuned": 0.1, NAIVE: 0.2}, {}, "tuned is 20.0% better than base in WQL"),
        (
            {"base": 0.125, "tuned": 0.1, NAIVE: 0.2},
            {"base": UNCLEAR},
            "tuned is 20.0% better than base in WQL, which 40 series do not prove",
        ),
        (
            {"base": 0.1, "tuned": 0.11, NAIVE: 0.2},
            {},
            "base is the best, 50% better than seasonal naive in WQL; the next, tuned, is 10.0% behind",
        ),
        (
            {"base": 0.19, "tuned": 0.195, NAIVE: 0.2},
            {NAIVE: UNCLEAR},
            "no model is shown to be better than seasonal naive: WQL 0.1900 of base against 0.2000",
        ),
    ],
)
def test_one_sentence_says_whether_the_first_model_is_good_enough(
    scores: dict[str, float], intervals: dict[str, tuple[float, float]], expected: str
) -> None:
    assert sentence(scores, intervals) == expected


def test_mase_decides_where_wql_is_undefined() -> None:
    scores = {"a": {"wql": math.nan, "mase": 2.0}, "b": {"wql": math.nan, "mase": 1.0}}
    assert ranking(scores) == ("mase", ["b", "a"])


def test_without_a_score_nothing_is_said() -> None:
    scores = {name: {"wql": math.nan, "mase": math.nan} for name in ("a", NAIVE)}
    found = verdict("a", scores, {})
    assert (found["best"], found["by"]) == (None, None)
    assert found["sentence"].startswith("undefined")
