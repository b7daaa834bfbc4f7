"""Batches are functions of seed, step and rank, and windows stay within their limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from agent.chronos.batching.sampler import Sampler, TrainingWindows, WindowBatch, contexts, futures
from agent.chronos.batching.split import sampling_weights
from agent.data.ingest.read import read_panel
from agent.data.panel import Panel
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import a_config, toy_series
from tests.agent.chronos.builders import a_panel


@pytest.fixture
def panel(tmp_path: Path) -> Panel:
    return a_panel(tmp_path, count=6, length=40)


def windows(panel: Panel, **changes: int) -> TrainingWindows:
    settings = {"context_length": 12, "horizon": 5, "min_past": 7} | changes
    return TrainingWindows(panel, panel.lengths - 5, **settings)


def test_a_batch_depends_only_on_seed_step_and_rank(panel: Panel) -> None:
    one, other = Sampler(windows(panel), 64, "series", 1), Sampler(windows(panel), 64, "series", 1)
    for _ in range(3):
        other.draw(99)
    same, again = one.draw(5, rank=1), other.draw(5, rank=1)
    assert np.array_equal(same.series, again.series)
    assert np.array_equal(same.cutoffs, again.cutoffs)
    others = [one.draw(6, 1), one.draw(5, 0), Sampler(windows(panel), 64, "series", 2).draw(5, 1)]
    assert all(not np.array_equal(same.cutoffs, different.cutoffs) for different in others)


@pytest.mark.parametrize("by", ["series", "length"])
def test_exactly_the_allowed_cutoffs_are_drawn(panel: Panel, by: str) -> None:
    drawn = Sampler(windows(panel), 50_000, by, 0).draw(0)
    for index in range(len(panel)):
        cutoffs = np.unique(drawn.cutoffs[drawn.series == index])
        assert np.array_equal(cutoffs, np.arange(7, panel.lengths[index] - 5 - 5 + 1))


def test_sampling_by_length_draws_every_window_equally_often(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=2, length=40)
    ends = np.array([20, 41])
    both = TrainingWindows(panel, ends, 12, 5, 7)
    counts = np.bincount(Sampler(both, 100_000, "length", 0).draw(0).series)
    assert counts[1] / counts[0] == pytest.approx((41 - 11) / (20 - 11), rel=0.05)
    even = np.bincount(Sampler(both, 100_000, "series", 0).draw(0).series)
    assert even[1] / even[0] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("by", "window_counts"), [("series", (1, 1)), ("length", (20 - 11, 41 - 11))])
def test_weights_multiply_the_sampling_probability(tmp_path: Path, by: str, window_counts: tuple[int, int]) -> None:
    panel = a_panel(tmp_path, count=3, length=40)
    both = TrainingWindows(panel, np.array([20, 41, 41]), 12, 5, 7)
    counts = np.bincount(Sampler(both, 100_000, by, 0, np.array([3.0, 1.0, 0.0])).draw(0).series, minlength=3)
    assert counts[1] / counts[0] == pytest.approx(window_counts[1] / (3 * window_counts[0]), rel=0.05)
    assert counts[2] == 0


def test_the_first_matching_pattern_sets_the_weight(panel: Panel) -> None:
    config = parse_config(a_config(training={"weights": {"item00[01]": 2, "item*": 0.5, "*": 9}}), "test")
    assert sampling_weights(panel, config).tolist() == [2, 2, 0.5, 0.5, 0.5, 0.5]
    without_one = parse_config(a_config(training={"weights": {"item000": 0}}), "test")
    assert sampling_weights(panel, without_one).tolist() == [0, 1, 1, 1, 1, 1]
    assert sampling_weights(panel, parse_config(a_config(), "test")) is None
    with pytest.raises(InvalidInput, match="leaves no series to train on"):
        sampling_weights(panel, parse_config(a_config(training={"weights": {"*": 0}}), "test"))


def test_series_without_a_window_are_never_drawn(panel: Panel) -> None:
    ends = panel.lengths - 5
    ends[2] = 11
    drawn = Sampler(TrainingWindows(panel, ends, 12, 5, 7), 1000, "series", 0).draw(0)
    assert 2 not in drawn.series


def test_contexts_are_left_padded_and_futures_follow_them(panel: Panel) -> None:
    batch = WindowBatch(np.array([1, 4]), np.array([3, 30]))
    past, future = contexts(panel, batch, 12), futures(panel, batch, 5)
    assert past.shape == (2, 1, 12)
    assert np.isnan(past[0, 0, :9]).all()
    assert np.array_equal(past[0, 0, 9:], panel.series(1)[0, :3])
    assert np.array_equal(past[1, 0], panel.series(4)[0, 18:30])
    assert np.array_equal(future[0, 0], panel.series(1)[0, 3:8])
    assert np.array_equal(future[1, 0], panel.series(4)[0, 30:35])


def test_windows_in_a_gap_are_drawn_again(tmp_path: Path) -> None:
    """Nothing can be learnt from a window without an observation before or after its cutoff."""
    table = toy_series(1, 400)
    inside = pa.array([100 <= row < 390 for row in range(400)])
    gap = pc.if_else(inside, pa.scalar(None, pa.float64()), table["target"])
    pq.write_table(table.set_column(2, "target", gap), tmp_path / "gap.parquet")
    panel = read_panel([tmp_path / "gap.parquet"], Data.model_validate({"path": "x"}), 1, tmp_path / "panel")
    assert not panel.complete
    windows = TrainingWindows(panel, panel.lengths, 24, 6, 6)
    sampler = Sampler(windows, 64, "series", 0)
    drawn = [sampler.draw(step) for step in range(20)]
    assert all(windows.observed(batch).all() for batch in drawn)
    assert np.array_equal(sampler.draw(7).cutoffs, drawn[7].cutoffs)
    # Within the gap, at its beginning and at its end.
    assert not windows.observed(WindowBatch(np.array([0, 0, 0]), np.array([150, 100, 390]))).any()


def test_a_panel_knows_whether_it_is_complete(tmp_path: Path) -> None:
    table = toy_series(2, 40)
    for name, rows, complete in (("all", table, True), ("gap", table.filter(pa.array(np.arange(80) != 5)), False)):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
        data = Data.model_validate({"path": "x"})
        assert read_panel([tmp_path / f"{name}.parquet"], data, 1, tmp_path / name).complete is complete
