"""A comparison of models, which trains none."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from agent.chronos.comparison.job import run
from agent.protocol.checkpoint_dir import steps_in
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from agent.results.schema import Comparison
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.jobs import EvaluateConfig
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import a_workdir, toy_series
from tests.agent.chronos.builders import a_family
from tests.agent.chronos.runs import metrics_lines, report, train

MODELS = {"amazon/chronos-2": "chronos-2", "amazon/chronos-bolt-base": "chronos-bolt"}


def compared(tmp_path: Path, **changes: Any) -> tuple[Workdir, dict[str, Any]]:
    workdir = a_workdir(tmp_path)
    pq.write_table(toy_series(), workdir.data / "toy.parquet")
    for given, family in MODELS.items():
        a_family(family).save(workdir.reference(given))
    return workdir, compare(workdir, **changes)


def compare(workdir: Workdir, **changes: Any) -> dict[str, Any]:
    document = {
        "job": "evaluate", "data": {"path": "x"}, "prediction_length": 6, "context_length": 24, "models": list(MODELS),
        "evaluation": {"season_length": 6, "windows": 2, "baselines": []},
    }  # fmt: skip
    config = parse_config(document | changes, "test")
    assert isinstance(config, EvaluateConfig)
    with closing(Metrics(workdir.metrics)) as metrics:
        return run(workdir, config, metrics, StopSignal())


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workdir, dict[str, Any]]:
    """A comparison at its end. Nobody may write into its folder."""
    return compared(tmp_path_factory.mktemp("comparison"))


RESULTS = ("metrics", "comparison", "examples")


def documents(workdir: Workdir) -> dict[str, bytes]:
    """What a comparison leaves, by name."""
    return {path.name: path.read_bytes() for path in (workdir.forecasts, *sorted(workdir.evaluation.iterdir()))}


def test_all_models_are_judged_on_the_same_windows(comparison: tuple[Workdir, dict[str, Any]]) -> None:
    workdir, result = comparison
    found = result["comparison"]
    assert set(found["models"]) == {*MODELS, "seasonal_naive"}
    assert (found["series"], found["windows"]) == ({"judged": 12, "of": 12}, 2)
    best = found["verdict"]["best"]
    assert found["models"][best]["wql"] == min(found["models"][name]["wql"] for name in MODELS)
    assert set(found["best_minus"]) == {*MODELS, "seasonal_naive"} - {best}
    assert all(len(steps) == 6 for steps in found["by_horizon"].values())
    Comparison.model_validate_json(json.dumps(found))
    series = pq.read_table(workdir.evaluation / "series.parquet")
    assert series.num_rows == 12
    assert {f"wql_{name}" for name in (*MODELS, "seasonal_naive")} < set(series.column_names)
    assert not workdir.model.exists()


def test_a_model_has_the_scores_that_it_has_as_the_base_of_a_training(tmp_path: Path) -> None:
    """The same windows, the same context, the same code."""
    given = "amazon/chronos-2"
    evaluation = {"season_length": 6, "windows": 2, "baselines": [], "export": "trained"}
    workdir, result = compared(tmp_path, models=[given])
    train(
        workdir,
        {
            "data": {"path": "x"}, "prediction_length": 6, "context_length": 24, "model": {"base": given},
            "training": {"steps": 2, "batch_size": 8}, "evaluation": evaluation,
        },
    )  # fmt: skip
    assert report(workdir)["models"]["base"] == result["comparison"]["models"][given]


def test_the_report_has_the_verdict_the_leaderboard_and_the_intervals(
    comparison: tuple[Workdir, dict[str, Any]],
) -> None:
    workdir, result = comparison
    text = (workdir.evaluation / "report.md").read_text()
    found = result["comparison"]
    assert text.splitlines()[2] == f"**{found['verdict']['sentence']}.**"
    assert f"- {found['verdict']['best']} minus seasonal naive: MASE" in text
    assert "| forecast step |" in text
    assert f"chronos-ec2 forecast --model {found['verdict']['best']}" in text


def test_progress_counts_the_windows_of_all_models(comparison: tuple[Workdir, dict[str, Any]]) -> None:
    workdir, _ = comparison
    steps = [line for line in metrics_lines(workdir) if "event" not in line]
    assert (steps[-1]["step"], steps[-1]["total_steps"]) == (48, 48)


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        compared(tmp_path, models=["amazon/chronos-2", "amazon/other"])


@pytest.mark.parametrize("order", [list(MODELS), list(MODELS)[::-1]], ids=["first is Chronos-2", "first is Bolt"])
def test_an_interrupted_comparison_goes_on_with_the_next_model_and_ends_as_without_it(
    tmp_path: Path, order: list[str]
) -> None:
    whole, expected = compared(tmp_path / "whole", models=order)
    workdir = a_workdir(tmp_path / "interrupted")
    pq.write_table(toy_series(), workdir.data / "toy.parquet")
    shutil.copytree(whole.reference(order[0]), workdir.reference(order[0]))
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        compare(workdir, models=order)
    # The next instance has the second model, and the first one's scores alone.
    shutil.rmtree(workdir.reference(order[0]))
    shutil.copytree(whole.reference(order[1]), workdir.reference(order[1]))

    found = compare(workdir, models=order)

    assert {name: found[name] for name in RESULTS} == {name: expected[name] for name in RESULTS}
    assert documents(workdir) == documents(whole)
    assert json.loads(workdir.facts.read_text()) == json.loads(whole.facts.read_text())
    began = [line["step"] for line in metrics_lines(workdir) if line.get("event") == "began"]
    assert began == [0, 24]


def test_each_model_is_a_checkpoint_of_its_windows(comparison: tuple[Workdir, dict[str, Any]]) -> None:
    workdir, _ = comparison
    assert [line["step"] for line in metrics_lines(workdir) if line.get("event") == "checkpoint"] == [24, 48]
    assert steps_in(workdir.checkpoints) == [24, 48]


@pytest.mark.parametrize("change", [{"context_length": 12}, {"models": list(MODELS)[::-1]}])
def test_the_scores_of_another_comparison_do_not_count(tmp_path: Path, change: dict[str, Any]) -> None:
    workdir, _ = compared(tmp_path / "one")
    found = compare(workdir, **change)
    _, expected = compared(tmp_path / "another", **change)
    assert {name: found[name] for name in RESULTS} == {name: expected[name] for name in RESULTS}
    began = [line["step"] for line in metrics_lines(workdir) if line.get("event") == "began"]
    assert began == [0, 0]
