"""Comparison with base and champion, and which model is exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from chronos import BaseChronosPipeline

from agent.chronos.batching.held_out import QUANTILES, hold_out
from agent.chronos.evaluate.metrics import errors, scores
from agent.chronos.model import load
from agent.chronos.model.families import family_of
from agent.data.hashing import sha256_of
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import tiny_chronos
from tests.agent.chronos.runs import a_base, metrics_lines, panel_of, report, toy_workdir, train


def test_a_worse_model_is_not_exported_and_not_improved(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    first = tiny_chronos(steps=60, learning_rate=1e-2)
    train(workdir, first)
    good = workdir.model.rename(tmp_path / "good")
    worse = tiny_chronos(steps=3, learning_rate=0.3) | {"model": {"base": str(good)}}
    (tmp_path / "second").mkdir()
    second = toy_workdir(tmp_path / "second")
    result = train(second, worse)
    assert result["evaluation"]["exported"] == "base"
    assert result["evaluation"]["verdict"]["verdict"] == "not improved"
    selection = result["evaluation"]["selection"]
    assert selection.keys() == {"trained", "base"}
    assert selection["base"] < selection["trained"]
    # On windows of their own: these scores are not those of the test windows.
    assert selection["trained"] != result["metrics"]["wql_trained"]
    assert result["metrics"]["wql"] < result["metrics"]["wql_trained"]
    ours, theirs = (BaseChronosPipeline.from_pretrained(one).model.state_dict() for one in (second.model, good))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def a_good_model(tmp_path: Path, **training: Any) -> Path:
    """A saved model that is better than what `a_worse_model` trains."""
    workdir = toy_workdir(tmp_path)
    train(workdir, tiny_chronos(steps=60, learning_rate=1e-2, **training))
    (tmp_path / "second").mkdir()
    return workdir.model.rename(tmp_path / "good")


def a_worse_model(good: Path) -> dict[str, Any]:
    return tiny_chronos(steps=3, learning_rate=0.5) | {"model": {"base": str(good), "lora": {"rank": 2}}}


def test_when_the_base_is_exported_nothing_is_left_of_the_trained_model(tmp_path: Path) -> None:
    good = a_good_model(tmp_path)
    workdir = toy_workdir(tmp_path / "second")
    result = train(workdir, a_worse_model(good))
    assert result["evaluation"]["exported"] == "base"
    names = {path.name for path in workdir.model.iterdir()}
    assert names == {"MODEL_CARD.md", "config.json", "model.safetensors"}
    assert "the unmodified base" in (workdir.model / "MODEL_CARD.md").read_text()
    # Forecasts and plots are those of the exported model.
    family = family_of(load.load_pipeline(str(workdir.model), "cpu"), 24, 6)
    panel = panel_of(workdir, parse_config(a_worse_model(good), "test"))
    test = hold_out(panel, 6, 1, 6)
    expected = np.sort(family.forecast(panel, next(test.batches(0, 12)), QUANTILES), axis=-1)
    forecasts = pq.read_table(workdir.forecasts)
    assert np.allclose(forecasts["0.5"].to_numpy().reshape(12, 1, 6), expected[..., 4], rtol=1e-5)
    assert result["examples"][0]["model"] == "chronos-2 (base)"
    first = expected[[result["examples"][0]["item"] == name for name in panel.items.to_pylist()], 0, :, 4][0]
    assert result["examples"][0]["median"] == pytest.approx(first.tolist(), rel=1e-5)
    assert (
        "Exported: base. forecasts.parquet and the plots are from this model."
        in (workdir.evaluation / "report.md").read_text()
    )


def test_the_champion_is_compared_too(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    config = tiny_chronos(steps=3)
    champion = a_base(tmp_path, "chronos-bolt")
    config["evaluation"] = {"season_length": 6, "champion": champion, "export": "trained", "baselines": []}
    result = train(workdir, config)
    assert set(report(workdir)["models"]) == {"trained", "seasonal_naive", "champion"}
    assert set(result["evaluation"]["trained_minus"]) == {"seasonal_naive", "champion"}
    assert len(report(workdir)["by_horizon"]["champion"]) == 6
    assert "wql_champion" in pq.read_table(workdir.evaluation / "series.parquet").column_names
    text = (workdir.evaluation / "report.md").read_text()
    assert "- trained minus champion: MASE" in text
    assert "| forecast step | trained, MASE | trained, WQL | seasonal naive, MASE |" in text


def test_the_champion_is_exported_if_it_is_better(tmp_path: Path) -> None:
    good = a_good_model(tmp_path)
    workdir = toy_workdir(tmp_path / "second")
    config = tiny_chronos(steps=1)
    config["evaluation"] = {"season_length": 6, "champion": str(good), "baselines": []}
    result = train(workdir, config)
    assert result["evaluation"]["exported"] == "champion"
    assert f"the unmodified champion, `{good}`" in (workdir.model / "MODEL_CARD.md").read_text()
    ours, theirs = (BaseChronosPipeline.from_pretrained(one).model.state_dict() for one in (workdir.model, good))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("horizon", "problem"),
    [
        (6, r"evaluation\.champion: /nowhere cannot be loaded"),
        (10, r"evaluation\.champion: .*base cannot be compared with: prediction_length 10 is more than the 8 points"),
    ],
)
def test_an_unusable_champion_is_refused_before_training(tmp_path: Path, horizon: int, problem: str) -> None:
    workdir = toy_workdir(tmp_path)
    config = tiny_chronos(steps=3) | {"prediction_length": horizon}
    champion = "/nowhere" if horizon == 6 else a_base(tmp_path, "chronos-bolt")
    config["evaluation"] = {"season_length": 6, "champion": champion, "baselines": []}
    with pytest.raises(InvalidInput, match=problem):
        train(workdir, config)
    assert not any("step" in line for line in metrics_lines(workdir))


def test_a_champion_without_covariates_is_evaluated_without_them(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path, heat=lambda row: row % 7 / 7)
    config = tiny_chronos(steps=2) | {"data": {"path": "training-data/toy/", "past_covariates": "heat"}}
    config["evaluation"] = {"season_length": 6, "champion": a_base(tmp_path, "chronos-bolt"), "baselines": []}
    train(workdir, config)
    assert "champion" in report(workdir)["models"]


def test_the_base_is_evaluated_with_its_own_context(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    base = a_base(tmp_path, "chronos-2")
    config = tiny_chronos(steps=2) | {"model": {"base": base}, "context_length": 8}
    train(workdir, config)
    family = family_of(load.load_pipeline(base, "cpu"), 24, 6)
    panel = panel_of(workdir, parse_config(config, "test"))
    test = hold_out(panel, 6, 1, 6)
    forecasts = np.sort(family.forecast(panel, next(test.batches(0, 12)), QUANTILES), axis=-1)
    found = scores(errors(test, forecasts[None]))
    assert report(workdir)["models"]["base"]["wql"] == pytest.approx(found["wql"], rel=1e-5)


def test_only_safetensors_are_loaded_and_no_adapter(tmp_path: Path) -> None:
    """A pickle is code, and an adapter names the model that is loaded with it."""
    base = Path(a_base(tmp_path, "chronos-bolt"))
    (base / "model.safetensors").rename(tmp_path / "model.safetensors")
    torch.save({}, base / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"model\.base: .*base cannot be loaded: .*model\.safetensors"):
        load.load_pipeline(str(base), "cpu")
    (tmp_path / "model.safetensors").rename(base / "model.safetensors")
    (base / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    with pytest.raises(InvalidInput, match=r"base is an adapter of another model"):
        load.load_pipeline(str(base), "cpu")


def test_a_model_that_the_agent_has_downloaded_is_the_one_that_is_loaded(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    shutil.copytree(a_base(tmp_path, "chronos-bolt"), workdir.reference("amazon/chronos-bolt"))
    config: Any = tiny_chronos(steps=2) | {"model": {"base": "amazon/chronos-bolt"}}
    config["evaluation"] = {"season_length": 6, "champion": "amazon/chronos-bolt", "baselines": []}
    train(workdir, config)
    assert set(report(workdir)["models"]) == {"trained", "seasonal_naive", "base", "champion"}
    facts = json.loads(workdir.facts.read_text())
    assert facts["base"]["name"] == "amazon/chronos-bolt"
    assert facts["base"]["sha256"] == sha256_of(workdir.reference("amazon/chronos-bolt") / "model.safetensors")
