"""Which points each part of a split has, and which series are in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.chronos.batching.split import Split
from agent.data.ingest.read import read_panel
from agent.data.panel import Panel
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.data import Data
from chronos_ec2.job_config.held_out import min_series_length
from chronos_ec2.job_config.parse import parse_config, parse_yaml
from chronos_ec2.job_config.schema import TrainingConfig
from tests.agent.builders import tiny_chronos, toy_series
from tests.agent.chronos.builders import a_panel

NAN = np.nan


def config(*, base: bool = False, stopping: bool = False, **sections: Any) -> TrainingConfig:
    """Two test windows of 6 points; with `base` a model to choose, with `stopping` a step."""
    document = tiny_chronos() | sections
    document["evaluation"] = {"season_length": 6, "windows": 2} | sections.get("evaluation", {})
    document["training"] = document["training"] | ({"early_stopping": {}} if stopping else {})
    return parse_config(document | ({"model": {"base": "./b"}} if base else {}), "test")


@pytest.mark.parametrize(
    ("base", "stopping", "selection_at", "stopping_at", "trained_to"),
    [
        (False, False, None, None, 12),
        (True, False, 18, None, 18),
        (False, True, None, 18, 18),
        (True, True, 18, 24, 24),
    ],
)
def test_each_choice_has_a_window_of_its_own(
    tmp_path: Path, base: bool, stopping: bool, selection_at: int | None, stopping_at: int | None, trained_to: int
) -> None:
    """Points before the end of each series. Nothing is chosen on a window on which something else was."""
    panel, parsed = a_panel(tmp_path), config(base=base, stopping=stopping)
    split = Split.of(panel, parsed)
    assert (panel.lengths - split.test.cutoffs).tolist() == [[12] * 8, [6] * 8]
    for windows, at in ((split.selection, selection_at), (split.stopping, stopping_at)):
        assert (None if windows is None else (panel.lengths - windows.cutoffs).tolist()) == (at and [[at] * 8])
    assert (panel.lengths - split.training.ends).tolist() == [trained_to] * 8
    assert min_series_length(parsed) == trained_to + 6


def test_nothing_is_chosen_on_a_window_if_the_trained_model_is_exported_in_any_case(tmp_path: Path) -> None:
    split = Split.of(a_panel(tmp_path), config(base=True, evaluation={"export": "trained"}))
    assert split.selection is None


def test_only_series_to_evaluate_are_cut_short(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=4)
    split = Split.of(panel, config(evaluation={"series": "item00[13]"}))
    assert (panel.lengths - split.training.ends).tolist() == [0, 12, 0, 12]
    assert split.test.series.tolist() == [1, 3]
    assert split.evaluated == 2


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_no_series_is_trained_on_points_from_the_cutoff_on(tmp_path: Path, zone: str | None) -> None:
    panel = a_panel(tmp_path, count=3, length=60)
    # 2024-01-01 is the first day; the series have 60, 61 and 62.
    panel = replace(panel, time_type=pa.timestamp(panel.time_type.unit, zone))
    cut = Split.of(panel, config(training={"cutoff": "2024-02-10"}, evaluation={"series": "item000"}))
    # At midnight in Tokyo it is 15:00 in London: the day before has begun, its point is still before the cutoff.
    assert cut.training.ends.tolist() == [40] * 3
    assert Split.of(panel, config(evaluation={"series": "item000"})).training.ends.tolist() == [48, 61, 62]
    late = Split.of(panel, config(training={"cutoff": "2024-02-28T12:00"}, evaluation={"series": "item000"}))
    assert late.training.ends.tolist() == [48, 59, 59]


def test_a_cutoff_with_a_zone_is_an_instant(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=3, length=60)
    with pytest.raises(InvalidInput, match=r"training.cutoff: 2024-02-10T00:00\+09:00 has a zone"):
        Split.of(panel, config(training={"cutoff": "2024-02-10T00:00+09:00"}))
    panel = replace(panel, time_type=pa.timestamp(panel.time_type.unit, "UTC"))
    assert Split.of(panel, config(training={"cutoff": "2024-02-10T00:00+09:00"})).training.ends.tolist() == [40] * 3
    assert Split.of(panel, config(training={"cutoff": "2024-02-10T09:00+09:00"})).training.ends.tolist() == [40] * 3
    assert Split.of(panel, config(training={"cutoff": "2024-02-10T09:01+09:00"})).training.ends.tolist() == [41] * 3


def test_a_cutoff_is_a_number_where_times_are(tmp_path: Path) -> None:
    panel = a_panel(tmp_path, count=3, length=60)
    with pytest.raises(InvalidInput, match=r"training.cutoff: 40 is no time of the data"):
        Split.of(panel, config(training={"cutoff": 40}))
    day = int(panel.ticks[1] - panel.ticks[0])
    panel = replace(panel, ticks=(panel.ticks - panel.ticks[0]) // day, time_type=pa.int64())
    assert Split.of(panel, config(training={"cutoff": 40})).training.ends.tolist() == [40] * 3
    with pytest.raises(InvalidInput, match=r"training.cutoff: 2024-02-10 is no time of the data"):
        Split.of(panel, config(training={"cutoff": "2024-02-10"}))


def test_a_cutoff_before_all_data_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no series has 12 points to train on"):
        Split.of(a_panel(tmp_path), config(training={"cutoff": "2023-02-10"}))


@pytest.mark.parametrize("text", ["2024-07-01", "'2024-07-01'", "2024-07-01T12:00:00"])
def test_a_cutoff_may_be_written_without_quotes(text: str) -> None:
    raw = f"data: {{path: x}}\nprediction_length: 6\ntraining: {{cutoff: {text}}}\n"
    assert str(parse_yaml(raw.encode(), "train.yaml").training.cutoff).startswith("2024-07-01")


def test_a_cutoff_that_is_no_time_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"training.cutoff: must be a time such as 2024-07-01"):
        config(training={"cutoff": "July"})


def with_gaps(panel: Panel, series: int, first: int, last: int) -> Panel:
    values = panel.values.copy()
    start, end = panel.offsets[series : series + 2]
    values[0, start:end][slice(first, last or None)] = NAN
    return replace(panel, values=values)


def test_each_held_out_window_has_the_series_that_are_observed_in_it(tmp_path: Path) -> None:
    panel = with_gaps(with_gaps(a_panel(tmp_path, count=4), 0, -12, 0), 2, -18, -12)
    split = Split.of(panel, config(base=True))
    assert split.selection is not None
    assert (split.test.series.tolist(), split.selection.series.tolist()) == ([1, 2, 3], [0, 1, 3])
    # All are held out from training, and all count as evaluated.
    assert (panel.lengths - split.training.ends).tolist() == [18] * 4
    assert split.evaluated == 4


@pytest.mark.parametrize(
    ("first", "last", "where"),
    [(-12, 0, "its last 12 points"), (0, -6, "its last 12 points"), (-18, -12, "the 6 points for selection")],
)
def test_windows_without_any_observation_in_and_before_them_are_refused(
    tmp_path: Path, first: int, last: int, where: str
) -> None:
    panel = a_panel(tmp_path, count=3)
    for series in range(3):
        panel = with_gaps(panel, series, first, last)
    with pytest.raises(InvalidInput, match=f"none of the 3 series to evaluate has an observation in {where}"):
        Split.of(panel, config(base=where.endswith("selection")))


def test_a_series_too_short_to_be_judged_is_counted_and_trained_on(tmp_path: Path) -> None:
    """It has two points before its last window; a horizon of them is needed."""
    rows = toy_series(3, 40).slice(32)
    pq.write_table(rows, tmp_path / "short.parquet")
    panel = read_panel([tmp_path / "short.parquet"], Data.model_validate({"path": "x"}), 12, tmp_path / "panel")
    assert panel.lengths.tolist() == [8, 40, 40]
    split = Split.of(panel, config(evaluation={"windows": 1}, training=tiny_chronos(min_past=2)["training"]))
    assert split.test.series.tolist() == [1, 2]
    assert split.evaluated == 3
    assert split.training.ends.tolist() == [8, 34, 34]
    assert split.training.usable.tolist() == [0, 1, 2]
