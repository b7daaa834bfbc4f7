"""Runs on data of which something cannot be judged: refused before training, left out and counted, or undefined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.protocol.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from tests.agent.builders import a_workdir, tiny_chronos, toy_series
from tests.agent.chronos.runs import a_base, report, train


def workdir_with(tmp_path: Path, change: Any) -> Workdir:
    """Toy series of which `change` changes the values (12, 60)."""
    workdir, table = a_workdir(tmp_path), toy_series()
    values = table["target"].to_numpy().reshape(12, 60).copy()
    change(values)
    column = pa.array(values.reshape(-1), mask=np.isnan(values.reshape(-1)))
    pq.write_table(table.set_column(2, "target", column), workdir.data / "toy.parquet")
    return workdir


def test_rows_of_the_future_without_a_target_are_not_judged(tmp_path: Path) -> None:
    """They are left out, and the last points that are observed are the test window."""

    def change(values: Any) -> None:
        values[:, -6:] = np.nan

    workdir = workdir_with(tmp_path, change)
    train(workdir, tiny_chronos(steps=2))
    days = toy_series()["timestamp"].to_pylist()[48:54]
    assert pq.read_table(workdir.forecasts)["timestamp"].to_pylist() == days * 12


def test_a_validation_window_without_an_observation_is_refused_before_training(tmp_path: Path) -> None:
    def change(values: Any) -> None:
        values[:, -12:-6] = np.nan

    workdir = workdir_with(tmp_path, change)
    config = tiny_chronos(steps=2) | {"model": {"base": a_base(tmp_path, "chronos-2")}}
    with pytest.raises(InvalidInput, match="in the 6 points for selection"):
        train(workdir, config)


def test_series_that_cannot_be_judged_are_left_out_and_counted(tmp_path: Path) -> None:
    def change(values: Any) -> None:
        # A new product: nothing is observed before the test window.
        values[5, :-6] = np.nan

    workdir = workdir_with(tmp_path, change)
    result = train(workdir, tiny_chronos(steps=2))
    assert result["evaluation"]["series"] == {"judged": 11, "of": 12}
    assert result["evaluation"]["verdict"]["series"] == 11
    names = set(pq.read_table(workdir.forecasts)["item_id"].to_pylist())
    assert names == {f"item-{index:02d}" for index in range(12)} - {"item-05"}
    text = (workdir.evaluation / "report.md").read_text()
    assert "Judged on 11 series, 1 window each. Left out: 1 series, too short or without observations" in text


def test_undefined_figures_say_so_and_why_and_never_nan(tmp_path: Path) -> None:
    def change(values: Any) -> None:
        values[:, -6:] = 0

    workdir = workdir_with(tmp_path, change)
    config = tiny_chronos(steps=2)
    config["evaluation"] = {"season_length": 60, "baselines": []}
    result = train(workdir, config)
    for path in (workdir.evaluation / "report.md", workdir.model / "MODEL_CARD.md"):
        text = path.read_text()
        assert "nan" not in text
        assert "**Undefined** against seasonal naive: WQL undefined (sign-flip test, 0 series)." in text
        assert "- WQL is undefined: every held-out observation is 0" in text
        assert "- MASE is undefined: every history has no two observations 60 points apart" in text
    assert report(workdir)["models"]["trained"]["mase"] is None
    assert report(workdir)["verdict"]["verdict"] == "undefined"
    assert set(result["evaluation"]["undefined"]) == {"mase", "sql", "wql"}
    json.dumps(result, allow_nan=False)
    errors = pq.read_table(workdir.evaluation / "series.parquet")
    assert errors["mase_trained"].null_count == errors["wql_trained"].null_count == 12
