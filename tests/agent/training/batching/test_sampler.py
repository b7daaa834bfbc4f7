"""Batches are functions of seed, step and rank, cut where they may be cut, and right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.data.panel import Panel
from agent.training.batching.sampler import Draw, Sampler, Windows, contexts, futures
from agent.training.batching.split import weights_of
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.parse import parse_config
from tests.agent.builders import a_config
from tests.agent.training.builders import a_panel


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    return a_panel(tmp_path, count=6, length=40)


def windows(panel: Panel, **changes: int) -> Windows:
    settings = {"context_length": 12, "horizon": 5, "min_past": 7} | changes
    return Windows(panel, panel.lengths - 5, **settings)


def test_a_draw_depends_on_seed_step_and_rank_alone(panel: Panel) -> None:
    one, other = Sampler(windows(panel), 64, "series", 1), Sampler(windows(panel), 64, "series", 1)
    for _ in range(3):
        other.draw(99)
    same, again = one.draw(5, rank=1), other.draw(5, rank=1)
    assert np.array_equal(same.series, again.series)
    assert np.array_equal(same.cuts, again.cuts)
    others = [one.draw(6, 1), one.draw(5, 0), Sampler(windows(panel), 64, "series", 2).draw(5, 1)]
    assert all(not np.array_equal(same.cuts, different.cuts) for different in others)


@pytest.mark.parametrize("by", ["series", "length"])
def test_every_cut_that_is_allowed_comes_up_and_no_other(panel: Panel, by: str) -> None:
    drawn = Sampler(windows(panel), 50_000, by, 0).draw(0)
    for index in range(len(panel)):
        cuts = np.unique(drawn.cuts[drawn.series == index])
        assert np.array_equal(cuts, np.arange(7, panel.lengths[index] - 5 - 5 + 1))


def test_sampling_by_length_takes_every_window_equally_often(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=2, length=40)
    ends = np.array([20, 41])
    cut = Windows(panel, ends, 12, 5, 7)
    counts = np.bincount(Sampler(cut, 100_000, "length", 0).draw(0).series)
    assert counts[1] / counts[0] == pytest.approx((41 - 11) / (20 - 11), rel=0.05)
    even = np.bincount(Sampler(cut, 100_000, "series", 0).draw(0).series)
    assert even[1] / even[0] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("by", "windows_of"), [("series", (1, 1)), ("length", (20 - 11, 41 - 11))])
def test_weights_count_beside_how_series_are_drawn(tmp_path: Path, by: str, windows_of: tuple[int, int]) -> None:
    panel = a_panel(tmp_path, count=3, length=40)
    cut = Windows(panel, np.array([20, 41, 41]), 12, 5, 7)
    counts = np.bincount(Sampler(cut, 100_000, by, 0, np.array([3.0, 1.0, 0.0])).draw(0).series, minlength=3)
    assert counts[1] / counts[0] == pytest.approx(windows_of[1] / (3 * windows_of[0]), rel=0.05)
    assert counts[2] == 0


def test_weights_go_by_the_first_pattern_that_matches(panel: Panel) -> None:
    config = parse_config(a_config(training={"weights": {"item00[01]": 2, "item*": 0.5, "*": 9}}), "test")
    assert weights_of(panel, config).tolist() == [2, 2, 0.5, 0.5, 0.5, 0.5]
    without_one = parse_config(a_config(training={"weights": {"item000": 0}}), "test")
    assert weights_of(panel, without_one).tolist() == [0, 1, 1, 1, 1, 1]
    assert weights_of(panel, parse_config(a_config(), "test")) is None
    with pytest.raises(InvalidInput, match="leaves no series to train on"):
        weights_of(panel, parse_config(a_config(training={"weights": {"*": 0}}), "test"))


def test_series_without_a_window_are_never_drawn(panel: Panel) -> None:
    ends = panel.lengths - 5
    ends[2] = 11
    drawn = Sampler(Windows(panel, ends, 12, 5, 7), 1000, "series", 0).draw(0)
    assert 2 not in drawn.series


def test_contexts_are_padded_on_the_left_and_futures_follow_them(panel: Panel) -> None:
    draw = Draw(np.array([1, 4]), np.array([3, 30]))
    past, future = contexts(panel, draw, 12), futures(panel, draw, 5)
    assert past.shape == (2, 1, 12)
    assert np.isnan(past[0, 0, :9]).all()
    assert np.array_equal(past[0, 0, 9:], panel.series(1)[0, :3])
    assert np.array_equal(past[1, 0], panel.series(4)[0, 18:30])
    assert np.array_equal(future[0, 0], panel.series(1)[0, 3:8])
    assert np.array_equal(future[1, 0], panel.series(4)[0, 30:35])
