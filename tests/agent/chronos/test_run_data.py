"""What a run trains on: covariates, context, and never the held-out points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from chronos import BaseChronosPipeline

from agent.chronos.batching.held_out import QUANTILES
from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.model import load
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import a_workdir, tiny_chronos, toy_series
from tests.agent.chronos.builders import a_family
from tests.agent.chronos.runs import a_base, metrics_lines, panel_of, toy_workdir, train


def test_covariates_and_several_targets_are_trained_on(tmp_path: Path) -> None:
    workdir = toy_workdir(
        tmp_path, heat=lambda row: row % 7 / 7, holiday=lambda row: row % 5 == 0, other=lambda row: row % 9
    )
    config = tiny_chronos(steps=3) | {
        "data": {
            "path": "training-data/toy/", "target": ["target", "other"], "past_covariates": "heat",
            "known_covariates": ["holiday"],
        }
    }  # fmt: skip
    result = train(workdir, config)
    assert result["attention"] == "block"
    forecasts = pq.read_table(workdir.forecasts)
    assert forecasts.num_rows == 12 * 2 * 6
    assert set(forecasts["target_name"].to_pylist()) == {"target", "other"}


def test_a_forecast_with_covariates_as_in_the_docs_equals_that_of_the_run(tmp_path: Path) -> None:
    """The code in docs/training.md, on the data before the test window."""
    kinds = ["rain", "sun", "fog"]
    workdir = toy_workdir(tmp_path, weather=lambda row: kinds[row % 3], holiday=lambda row: row % 5 == 0)
    config = tiny_chronos(steps=3)
    config["data"] |= {"past_covariates": "weather", "known_covariates": "holiday"}
    config["evaluation"] = {"season_length": 6, "baselines": []}
    train(workdir, config)
    frame = pq.read_table(workdir.data / "toy.parquet").to_pandas()
    last = frame.groupby("item_id").cumcount(ascending=False) < 6
    history, future = frame[~last], frame[last].drop(columns=["target", "weather"])

    columns = json.loads((workdir.model / "covariates.json").read_text())
    for name, codes in columns["categories"].items():
        for table in (history, future):
            if name in table:
                table[name] = table[name].map(codes)
    pipeline = BaseChronosPipeline.from_pretrained(workdir.model)
    found = pipeline.predict_df(
        history, future, target=columns["targets"], prediction_length=6, context_length=24, freq="D"
    )

    assert columns["past_covariates"] == ["weather"]
    assert columns["known_covariates"] == ["holiday"]
    assert columns["categories"] == {"weather": {"fog": 0, "rain": 1, "sun": 2}}
    ours = pq.read_table(workdir.forecasts).to_pandas()
    # The library's quantiles may cross.
    levels = [str(level) for level in QUANTILES]
    assert np.allclose(np.sort(found[levels], axis=1), ours[levels], rtol=1e-4)


def test_a_family_without_covariates_refuses_them(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path, heat=lambda row: row % 7 / 7)
    data = {"path": "training-data/toy/", "past_covariates": "heat"}
    config = tiny_chronos() | {"model": {"base": a_base(tmp_path, "chronos-bolt")}, "data": data}
    with pytest.raises(InvalidInput, match="chronos-bolt takes no covariates"):
        train(workdir, config)


def test_a_longer_context_than_the_bases_is_trained_and_saved(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    config = tiny_chronos(steps=2) | {"model": {"base": a_base(tmp_path, "chronos-2")}, "context_length": 36}
    family = load.initial_model(parse_config(config, "test"), "cpu", workdir)
    panel = panel_of(workdir, parse_config(config, "test"))
    batch = family.batch(panel, WindowBatch(np.arange(4), np.full(4, 40)))
    other = batch | {"context": batch["context"].clone()}
    other["context"][:, :12] += 9
    with torch.no_grad():
        losses = [float(family.model.eval()(**one).loss) for one in (batch, other)]
    assert losses[0] != losses[1]
    config["evaluation"] = {"season_length": 6, "export": "trained", "baselines": []}
    train(workdir, config)
    assert BaseChronosPipeline.from_pretrained(workdir.model).model_context_length == 36
    assert json.loads(workdir.facts.read_text())["context_length"] == 36


def test_context_and_horizon_are_extended_and_never_reduced() -> None:
    model: Any = a_family("chronos-2").model
    for context, horizon in ((30, 13), (10, 2)):
        load.extend_context(model, context, horizon)
        settings = model.config.chronos_config
        assert (settings["context_length"], settings["max_output_patches"]) == (30, 3)
        assert settings["time_encoding_scale"] == 24


def test_a_family_with_a_fixed_context_reports_it(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    config = tiny_chronos(steps=2) | {"model": {"base": a_base(tmp_path, "chronos-bolt")}, "context_length": 36}
    train(workdir, config)
    assert json.loads(workdir.facts.read_text())["context_length"] == 24


def test_held_out_points_do_not_affect_the_weights(tmp_path: Path) -> None:
    """Two test windows and one for validation: other points in them lead to the same weights."""
    weights = []
    for name, factor in (("one", 1.0), ("other", -50.0)):
        (tmp_path / name).mkdir()
        workdir, table = a_workdir(tmp_path / name), toy_series()
        values = table["target"].to_numpy().reshape(12, 60).copy()
        values[:, -12:] *= factor
        changed = table.set_column(2, "target", [values.reshape(-1)])
        pq.write_table(changed, workdir.data / "toy.parquet")
        config = tiny_chronos(steps=3)
        config["evaluation"] = {"season_length": 6, "windows": 2, "baselines": []}
        config["training"]["early_stopping"] = {"every_steps": 1, "patience": 9}
        train(workdir, config)
        weights.append(BaseChronosPipeline.from_pretrained(workdir.model).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("export", "held_out"), [("better", True), pytest.param("trained", False, marks=pytest.mark.thorough)]
)
def test_the_validation_window_is_not_trained_on(tmp_path: Path, export: str, held_out: bool) -> None:
    """Other points in it do not change the losses, unless nothing is selected and it is training data."""
    base = a_base(tmp_path, "chronos-2")
    losses = []
    for name, factor in (("one", 1.0), ("other", -50.0)):
        (tmp_path / name).mkdir()
        workdir, table = a_workdir(tmp_path / name), toy_series()
        values = table["target"].to_numpy().reshape(12, 60).copy()
        values[:, -18:-12] *= factor
        pq.write_table(table.set_column(2, "target", [values.reshape(-1)]), workdir.data / "toy.parquet")
        config = tiny_chronos(steps=40) | {"model": {"base": base}}
        config["evaluation"] = {"season_length": 6, "windows": 2, "export": export, "baselines": []}
        train(workdir, config)
        lines = metrics_lines(workdir)
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) == 40
    assert (losses[0] == losses[1]) is held_out


def test_a_series_without_a_training_window_is_evaluated(tmp_path: Path) -> None:
    """17 points: six to forecast from, six held out, and too few for a training window."""
    workdir, table = a_workdir(tmp_path), toy_series()
    pq.write_table(table.slice(43), workdir.data / "toy.parquet")
    config = tiny_chronos(steps=3, min_past=8)
    config["evaluation"] = {"season_length": 6, "baselines": []}
    train(workdir, config)
    forecasts = pq.read_table(workdir.forecasts)
    assert len(forecasts["item_id"].unique()) == 12


def test_data_without_any_training_window_are_refused(tmp_path: Path) -> None:
    config = tiny_chronos(min_past=49)
    with pytest.raises(InvalidInput, match=r"no series has 55 points to train on before .*; the longest has 54"):
        train(toy_workdir(tmp_path), config)
    (tmp_path / "weights").mkdir()
    workdir = toy_workdir(tmp_path / "weights")
    pq.write_table(toy_series().slice(43), workdir.data / "toy.parquet")
    heavy_but_short = tiny_chronos(min_past=8, weights={"item-00": 1, "*": 0})
    with pytest.raises(InvalidInput, match=r"no series has 14 points to train on .*; the longest has 11"):
        train(workdir, heavy_but_short)


def test_series_that_are_not_evaluated_are_trained_on_to_their_end(tmp_path: Path) -> None:
    """The last points of evaluated series do not affect the weights, those of the others do."""
    weights = []
    for name, evaluated, others in (("one", 1.0, 1.0), ("held-out", 9.0, 1.0), ("learnt", 1.0, 9.0)):
        (tmp_path / name).mkdir()
        workdir, table = a_workdir(tmp_path / name), toy_series()
        values = table["target"].to_numpy().reshape(12, 60).copy()
        values[1, -6:] *= evaluated
        values[[0, *range(2, 12)], -6:] *= others
        pq.write_table(table.set_column(2, "target", [values.reshape(-1)]), workdir.data / "toy.parquet")
        config = tiny_chronos(steps=3)
        item = table["item_id"].unique()[1].as_py()
        # A baseline is fitted once, in a process of its own.
        baselines = ["auto_theta"] if name == "one" else []
        config["evaluation"] = {"season_length": 6, "series": f"{item[:-1]}[{item[-1]}]", "baselines": baselines}
        result = train(workdir, config)
        assert pq.read_table(workdir.forecasts)["item_id"].unique().to_pylist() == [item]
        assert len(result["examples"]) == 1
        assert result["examples"][0]["item"] == item
        assert pq.read_table(workdir.evaluation / "series.parquet")["item_id"].to_pylist() == [item]
        if baselines:
            assert result["evaluation"]["baselines"]["of"] == 1
        weights.append(BaseChronosPipeline.from_pretrained(workdir.model).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_a_pattern_that_matches_no_series_is_refused(tmp_path: Path) -> None:
    config = tiny_chronos() | {"evaluation": {"series": "shop-*"}}
    with pytest.raises(InvalidInput, match=r"evaluation.series: 'shop-\*' matches no series; the names look like"):
        train(toy_workdir(tmp_path), config)
