"""A whole training run: from Parquet to an evaluated model that the library loads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from chronos import BaseChronosPipeline
from chronos.chronos2 import Chronos2Model
from peft import PeftModel
from tensorboardX.proto import event_pb2

from agent.chronos.batching.load import load_panel
from agent.chronos.evaluate import acceptance
from agent.data.hashing import sha256_of
from agent.protocol.metrics_log import Metrics
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import tiny_chronos, toy_series
from tests.agent.chronos.builders import FAMILIES, a_family
from tests.agent.chronos.runs import a_base, metrics_lines, report, toy_workdir, train
from tests.combinations import combinations


@pytest.mark.parametrize(
    ("family", "weights"),
    combinations(
        product(FAMILIES, ("full", "lora")),
        quick={("chronos-2", "full"), ("chronos-bolt", "full"), ("chronos-t5", "lora")},
    ),
)
def test_every_family_is_trained_evaluated_and_loaded_by_the_library(tmp_path: Path, family: str, weights: str) -> None:
    lora = {"rank": 2, "alpha": 4} if weights == "lora" else None
    workdir = toy_workdir(tmp_path)
    base = a_base(tmp_path, family)
    config = tiny_chronos(steps=4, learning_rate=1e-2) | {
        "model": {"base": base, "lora": lora},
        "evaluation": {"season_length": 6, "windows": 2, "export": "trained", "baseline_series": 3},
    }
    with_baselines = family == "chronos-2" and lora is None
    if not with_baselines:
        config["evaluation"]["baselines"] = []
    result = train(workdir, config)

    assert (result["family"], result["steps"], result["stopped_early"]) == (family, 4, False)
    facts = json.loads(workdir.facts.read_text())
    sha256 = sha256_of(tmp_path / "base" / "model.safetensors")
    assert facts["base"] == {"name": base, "revision": None, "sha256": sha256}
    assert (facts["frequency"], facts["series"], facts["observations"]) == ("P1D", 12, 720)
    # A series without covariates is a group of its own in Chronos-2, which needs no queries and keys.
    assert (result["parameters_trained"] < result["parameters"]) is (lora is not None or family == "chronos-2")
    assert set(report(workdir)["models"]) == {"trained", "seasonal_naive", "base"}
    assert report(workdir)["verdict"]["against"] == "base"
    assert {name: len(ahead) for name, ahead in report(workdir)["by_horizon"].items()} == dict.fromkeys(
        ["trained", "seasonal_naive", "base"], 6
    )
    assert set(report(workdir)["trained_minus"]) == {"seasonal_naive", "base"}
    assert result["examples"][0]["model"] == family
    card = (workdir.model / "MODEL_CARD.md").read_text()
    assert f"{family}: fine-tuned from `{base}`, SHA-256 `{sha256}`, with chronos-ec2, context length 24." in card
    if with_baselines:
        assert set(report(workdir)["baselines"]["models"]) == {*report(workdir)["models"], "auto_ets", "auto_theta"}
        assert "| AutoTheta |" in (workdir.evaluation / "report.md").read_text()
    loaded = BaseChronosPipeline.from_pretrained(workdir.model)
    quantiles, _ = loaded.predict_quantiles([torch.arange(24.0)], prediction_length=6)
    assert np.isfinite(np.asarray(quantiles[0])).all()
    forecasts = pq.read_table(workdir.forecasts)
    assert forecasts.num_rows == 12 * 2 * 6
    assert forecasts["timestamp"].to_pylist()[-1] == toy_series()["timestamp"].to_pylist()[-1]
    assert (workdir.model / "MODEL_CARD.md").exists()
    if lora is not None:
        adapter = workdir.model / "adapter"
        assert (adapter / "adapter_model.safetensors").exists()
        again = PeftModel.from_pretrained(a_family(family).model, adapter)
        assert any("lora" in name for name, _ in again.named_parameters())
        assert json.loads((adapter / "base.json").read_text()) == facts["base"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_trained_from_scratch(tmp_path: Path, family: str) -> None:
    """The loss falls, and the library loads the result."""
    workdir = toy_workdir(tmp_path)
    shape = {"family": family, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    config = tiny_chronos(steps=40, learning_rate=1e-2) | {"model": {"from_scratch": shape}}
    result = train(workdir, config)
    assert (result["family"], result["base"], result["steps"]) == (family, None, 40)
    lines = metrics_lines(workdir)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    loaded = BaseChronosPipeline.from_pretrained(workdir.model)
    quantiles, _ = loaded.predict_quantiles([torch.arange(24.0)], prediction_length=6)
    assert np.isfinite(np.asarray(quantiles[0])).all()


def test_tensorboard_event_files_have_the_numbers_of_metrics(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    train(workdir, tiny_chronos(steps=4, report_to="tensorboard"))
    (path,) = workdir.tensorboard.iterdir()
    read = list(scalars(path.read_bytes()))
    lines = metrics_lines(workdir)
    steps = {line["step"]: line for line in lines if "loss" in line}
    for tag, name in {
        "train/loss": "loss",
        "train/grad_norm": "grad_norm",
        "train/data_wait_ms": "data_wait_ms",
    }.items():
        found = {step: value for one, step, value in read if one == tag}
        assert found == {step: pytest.approx(line[name], rel=1e-5) for step, line in steps.items() if name in line}
        assert len(found) >= 3


def scalars(raw: bytes) -> Iterator[tuple[str, int, float]]:
    """The scalars of an event file: records of length, checksum, event, checksum."""
    while raw:
        length = int.from_bytes(raw[:8], "little")
        event = event_pb2.Event.FromString(raw[12 : 12 + length])
        raw = raw[16 + length :]
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield value.tag, event.step, value.simple_value


def test_without_report_to_there_are_no_event_files(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    train(workdir, tiny_chronos(steps=1))
    assert not workdir.tensorboard.exists()


def test_an_image_without_tensorboardx_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: False)
    with pytest.raises(InvalidInput, match=r"training\.report_to: the image has no tensorboardX"):
        train(toy_workdir(tmp_path), tiny_chronos(steps=1, report_to=["tensorboard"]))


def test_fp16_on_a_cpu_becomes_fp32_and_is_reported(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    result = train(workdir, tiny_chronos(steps=2, precision="fp16"))
    assert result["precision"] == "fp32"
    assert json.loads(workdir.facts.read_text())["precision"] == "fp32"
    assert '"precision": "fp32"' in workdir.metrics.read_text()


@pytest.mark.parametrize("variable", ["RANK", "WORLD_SIZE"])
def test_torchrun_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "2")
    with pytest.raises(InvalidInput, match=rf"training\.processes: {variable} is set, as torchrun does"):
        train(toy_workdir(tmp_path), tiny_chronos(steps=1))


def test_a_batch_larger_than_memory_is_split_also_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for four rows suffices for verifying block attention and for the dry run of the evaluation."""
    forward = Chronos2Model.forward

    def forward_four_rows(model: Chronos2Model, **inputs: Any) -> Any:
        if len(inputs["context"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(model, **inputs)

    monkeypatch.setattr(Chronos2Model, "forward", forward_four_rows)
    result = train(toy_workdir(tmp_path), tiny_chronos(steps=2, batch_size=16))
    assert (result["parts"], result["steps"], result["attention"]) == (4, 2, "block")


def test_data_are_read_once_per_instance(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    train(workdir, tiny_chronos(steps=2))
    (panel,) = workdir.panels.iterdir()
    written = panel.stat().st_mtime_ns
    lines = metrics_lines(workdir)
    assert [(line["done"], line["total"]) for line in lines if line.get("event") == "loading" and "done" in line] == [
        (720, 2160), (1440, 2160), (2160, 2160),
    ]  # fmt: skip
    train(workdir, tiny_chronos(steps=2))
    assert [one.stat().st_mtime_ns for one in workdir.panels.iterdir()] == [written]


def test_a_file_that_the_download_has_hashed_is_not_hashed_again(tmp_path: Path) -> None:
    workdir = toy_workdir(tmp_path)
    (path,) = workdir.data.glob("*.parquet")
    config = parse_config(tiny_chronos(), "test")
    with closing(Metrics(workdir.metrics)) as metrics:
        ours, _ = load_panel(workdir, config, metrics)
        workdir.data_hashes.write_text(json.dumps({str(path): sha256_of(path)}))
        assert load_panel(workdir, config, metrics)[0] == ours
        workdir.data_hashes.write_text(json.dumps({str(path): "0" * 64}))
        assert load_panel(workdir, config, metrics)[0] != ours


def test_each_acceptance_check_fails_by_its_name() -> None:
    model = a_family("chronos-2").model
    before = acceptance.sample_weights(model)
    with pytest.raises(InvalidInput, match="acceptance check weights-changed"):
        acceptance.weights_changed(before, acceptance.sample_weights(model))
    model.train()
    with pytest.raises(InvalidInput, match="acceptance check evaluation-mode"):
        acceptance.evaluation_mode(model)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(InvalidInput, match="acceptance check weights-finite"):
        acceptance.weights_finite(model)
    with pytest.raises(InvalidInput, match="acceptance check forecasts-finite"):
        acceptance.forecasts_finite(np.array([1.0, np.nan], dtype=np.float32))


def test_a_reloaded_model_may_differ_by_a_share_of_each_series_own_spread() -> None:
    """Not of its level, nor of another series: 99 instead of 1 does not pass beside a series at a million."""
    forecasts = np.stack([np.linspace(0, 2, 54), np.linspace(1e6, 1e6 + 50, 54)]).reshape(2, 1, 6, 9)
    acceptance.same_after_reload(forecasts, forecasts + 1e-6)
    wrong = forecasts.copy()
    wrong[0, 0, 3, 4] += 98
    with pytest.raises(InvalidInput, match=r"acceptance check same-after-reload: .*by up to 98"):
        acceptance.same_after_reload(forecasts, wrong)
    shifted = forecasts.copy()
    shifted[1] += 10
    with pytest.raises(InvalidInput, match="acceptance check same-after-reload"):
        acceptance.same_after_reload(forecasts, shifted)
