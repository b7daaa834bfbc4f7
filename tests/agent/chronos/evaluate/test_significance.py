"""The sign-flip test against known probabilities, and its interval against the test."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.chronos.batching.held_out import HeldOutWindows
from agent.chronos.evaluate.metrics import errors
from agent.chronos.evaluate.significance import Comparison, compare, verdict
from tests.agent.chronos.evaluate.test_metrics import forecasts, windows


def noisy(count: int, ratio: float, seed: int, *, of: int = 1) -> tuple[HeldOutWindows, Any, Any]:
    """`of` windows, and two forecasts of them; the second has `ratio` times the noise of the first."""
    random = np.random.default_rng(seed)
    truth = random.normal(10, 1, (of, count, 6))
    noise = random.normal(size=(2, of, count, 6))
    return windows(truth), forecasts(truth + noise[0]), forecasts(truth + noise[1] * ratio)


def compared(truth: HeldOutWindows, one: Any, other: Any) -> Comparison:
    return compare(errors(truth, one), errors(truth, other), truth.origins)


def losses(differences: Any, sizes: Any) -> Comparison:
    """The comparison of two models whose losses differ so much, of series of such sizes; both (n,) or (k, n).

    By WQL alone: without a scale MASE is undefined, which halves the time.
    """
    truth = windows(np.atleast_2d(sizes)[:, :, None], scale=0.0)
    theirs = errors(truth, forecasts(np.zeros_like(truth.truth[:, :, 0])))
    ours = replace(theirs, quantile_loss=theirs.quantile_loss + np.atleast_2d(differences))
    return compare(ours, theirs, truth.origins)


@pytest.mark.parametrize("of", [1, 4])
def test_a_significantly_better_model_is_improved(of: int) -> None:
    truth, good, bad = noisy(200, 2.0, 0, of=of)
    found = compared(truth, good, bad)
    assert found["wql"].below_zero
    assert found["wql"].interval[0] < found["wql"].difference < found["wql"].interval[1] < 0
    assert not compared(truth, bad, good)["wql"].below_zero


@pytest.mark.parametrize(("count", "trials"), [(2, 100), (4, 100), (8, 400), (30, 400), (100, 300)])
def test_one_of_two_exchangeable_models_is_seldom_improved(count: int, trials: int) -> None:
    """At most 2.5 %: more than the bound happens once in ten thousand times if it is 2.5 %."""
    random = np.random.default_rng(count)
    wrong = 0
    for _ in range(trials):
        # Series of very different sizes, with heavy tails.
        sizes = random.lognormal(0, 1, count)
        wrong += losses(random.standard_t(3, count) * sizes, sizes)["wql"].below_zero
    bound = trials * 0.025 + 3.72 * math.sqrt(trials * 0.025 * 0.975)
    assert wrong <= (bound if count > 5 else 0)


@pytest.mark.parametrize(("count", "of"), [(8, 2), (40, 3), (40, 8)])
def test_errors_that_series_share_at_one_time_are_not_taken_for_evidence(count: int, of: int) -> None:
    """The difference is that of the origin and of the series, and almost the same in all windows of both."""
    random = np.random.default_rng(of)
    trials, wrong = 300, 0
    for _ in range(trials):
        by_origin, by_series = random.normal(size=(of, 1)), random.normal(size=(1, count))
        shared = by_origin + by_series / 2 + random.normal(size=(of, count)) / 4
        wrong += losses(shared, np.ones((of, count)))["wql"].below_zero
    assert wrong <= trials * 0.025 + 3.72 * math.sqrt(trials * 0.025 * 0.975)


def test_the_interval_is_that_of_the_differences_that_the_test_does_not_refute() -> None:
    """All 2^8 ways to flip signs, for true differences within the interval and outside of it."""
    random = np.random.default_rng(5)
    sizes, differences = random.uniform(1, 3, 8), random.normal(-0.5, 0.5, 8)
    low, high = losses(differences, sizes)["wql"].interval

    def p_of(true: float, side: int) -> float:
        """How often flipped signs give at least as large a total; `side`: 1 upwards, -1 downwards."""
        rest = (differences - true * sizes) * side
        totals = [float(np.dot(signs, rest)) for signs in itertools.product((1, -1), repeat=8)]
        return float(np.mean([total >= rest.sum() - 1e-12 for total in totals]))

    assert p_of(low - 1e-6, 1) <= 0.025 < p_of(low + 1e-6, 1)
    assert p_of(high + 1e-6, -1) <= 0.025 < p_of(high - 1e-6, -1)


def test_five_series_prove_nothing_and_six_that_agree_do() -> None:
    assert np.isnan(losses([-1.0] * 5, [1.0] * 5)["wql"].interval).all()
    assert not losses([-1.0] * 5, [1.0] * 5)["wql"].below_zero
    assert losses([-1.0, -2, -3, -4, -5, -6], [1.0] * 6)["wql"].interval == (-6, -1)
    assert losses([-1.0] * 6, [1.0] * 6)["wql"].below_zero
    assert not losses([-1.0] * 5 + [0.1], [1.0] * 6)["wql"].below_zero


def test_a_single_series_is_never_significant() -> None:
    truth, good, bad = noisy(1, 9.0, 0)
    found = compared(truth, good, bad)
    assert found["wql"].difference < 0
    assert np.isnan(found["wql"].interval).all()
    assert np.isnan(found["mase"].interval).all()
    assert not found["wql"].below_zero


def test_a_model_is_not_better_than_itself() -> None:
    truth, one, _ = noisy(20, 1.0, 0)
    found = compared(truth, one, one)["wql"]
    assert (found.difference, found.interval, found.series) == (0.0, (0.0, 0.0), 20)
    assert not found.below_zero


def test_series_without_a_size_do_not_undo_the_interval() -> None:
    """Products that have ended: five of eight observe nothing but 0."""
    found = losses([-3.0, -2, -4, -1, -0.5, -0.2, -0.1, -0.1], [10.0, 9, 12, 0, 0, 0, 0, 0])["wql"]
    assert found.series == 8
    assert found.below_zero
    assert np.isfinite(found.interval).all()
    worse = losses([3.0, 2, 4, 1, 0.5, 0.2, 0.1, 0.1], [10.0, 9, 12, 0, 0, 0, 0, 0])["wql"]
    assert np.isnan(worse.interval).all()
    # Without a loss either, they do not count.
    few = losses([-3.0, -2, -4, 0, 0, 0, 0, 0], [10.0, 9, 12, 0, 0, 0, 0, 0])["wql"]
    assert few.series == 3
    assert np.isnan(few.interval).all()


def test_more_series_than_groups_have_the_interval_of_the_mean() -> None:
    random = np.random.default_rng(3)
    differences = random.normal(-0.1, 1, 40_000)
    low, high = losses(differences, np.ones(40_000))["wql"].interval
    assert low == pytest.approx(differences.mean() - 1.96 * 0.005, abs=1e-3)
    assert high == pytest.approx(differences.mean() + 1.96 * 0.005, abs=1e-3)


def test_the_t_test_is_clustered_by_origin() -> None:
    """Three origins: the interval is that of three observations with two degrees of freedom."""
    by_origin = np.array([-1.0, -2.0, -3.0])
    found = losses(np.repeat(by_origin[:, None], 30, axis=1), np.ones((3, 30)))["wql"]
    margin = 4.302652729911275 * 1.0 / math.sqrt(3)
    assert found.interval == pytest.approx((-2 - margin, -2 + margin))


def test_the_verdict_names_what_decides_and_what_it_rests_on() -> None:
    truth, good, bad = noisy(40, 2.0, 0)
    found = verdict({"seasonal_naive": compared(truth, good, bad)}, 1)
    assert (found["against"], found["verdict"], found["by"]) == ("seasonal_naive", "improved", "wql")
    assert (found["test"], found["series"], found["note"]) == ("sign-flip test", 40, None)
    with_base = {"seasonal_naive": compared(truth, good, bad), "base": compared(truth, bad, good)}
    assert (verdict(with_base, 2)["against"], verdict(with_base, 2)["verdict"]) == ("base", "not improved")
    assert verdict(with_base, 2)["test"] == "sign-flip test and t-test clustered by series and origin"


def test_the_verdict_says_that_few_series_prove_little() -> None:
    for count, words in ((5, "5 series cannot prove a difference at 5 %"), (29, "29 series prove little"), (30, None)):
        truth, good, bad = noisy(count, 9.0, 0)
        found = verdict({"seasonal_naive": compared(truth, good, bad)}, 1)
        assert found["verdict"] == ("improved" if count > 5 else "not improved")
        assert str(found["note"]).startswith(str(words))


def test_mase_decides_where_every_observation_is_zero_and_without_both_the_verdict_is_undefined() -> None:
    truth, good, bad = windows(np.zeros((30, 6))), forecasts(np.full((30, 6), 0.1)), forecasts(np.full((30, 6), 0.2))
    found = verdict({"seasonal_naive": compared(truth, good, bad)}, 1)
    assert (found["by"], found["verdict"], found["series"]) == ("mase", "improved", 30)
    assert math.isnan(found["wql"]["difference"])
    neither = windows(np.zeros((30, 6)), scale=0.0)
    found = verdict({"seasonal_naive": compared(neither, good, bad)}, 1)
    assert (found["by"], found["verdict"], found["series"]) == (None, "undefined", 0)
