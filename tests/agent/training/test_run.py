"""A whole training run in one process: from Parquet to a judged model that the library loads."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from chronos import BaseChronosPipeline
from peft import PeftModel
from tensorboardX.proto import event_pb2

from agent.data.hashing import sha256_of
from agent.data.panel import Panel
from agent.protocol.metrics_log import Metrics, interruptions
from agent.protocol.trainer import StoppedEarly, StopSignal
from agent.protocol.workdir import Workdir
from agent.training.batching.sampler import Draw
from agent.training.evaluate import acceptance
from agent.training.evaluate import metrics as scoring
from agent.training.evaluate.seasonal_naive import QUANTILES
from agent.training.model import load
from agent.training.model.families import Family, family_of
from agent.training.run import load_panel, run
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.parse import parse_config
from chronos_ec2.training_config.schema import TrainingConfig
from tests.agent.builders import a_workdir, tiny_chronos, toy_series
from tests.agent.training.builders import FAMILIES, a_family
from tests.agent.training.loop.test_engine import only_rows


def ready(tmp_path: Path, **columns: Callable[[int], Any]) -> Workdir:
    """A box with toy series of 60 days, and further columns."""
    workdir, table = a_workdir(tmp_path), toy_series()
    for name, make in columns.items():
        table = table.append_column(name, [[make(row) for row in range(table.num_rows)]])
    pq.write_table(table, workdir.data / "toy.parquet")
    return workdir


def panel_of(workdir: Workdir, config: TrainingConfig) -> Panel:
    with closing(Metrics(workdir.metrics)) as metrics:
        return load_panel(workdir, config, metrics)[1]


def train(workdir: Workdir, config: dict[str, Any], stop: StopSignal | None = None) -> dict[str, Any]:
    metrics = Metrics(workdir.metrics)
    try:
        return run(workdir, parse_config(config, "test"), metrics, stop or StopSignal())
    finally:
        metrics.close()


def a_base(tmp_path: Path, family: str) -> str:
    chronos = a_family(family)
    chronos.save(tmp_path / "base")
    return str(tmp_path / "base")


def report(workdir: Workdir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workdir.evaluation / "report.json").read_text())
    return found


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_trained_judged_and_loaded_by_the_library(
    tmp_path: Path, family: str, lora: dict[str, Any] | None
) -> None:
    workdir = ready(tmp_path)
    base = a_base(tmp_path, family)
    config = tiny_chronos(steps=4, learning_rate=1e-2) | {
        "model": {"base": base, "lora": lora},
        "evaluation": {"season_length": 6, "windows": 2, "export": "trained"},
    }
    result = train(workdir, config)

    assert (result["family"], result["steps"], result["stopped_early"]) == (family, 4, False)
    facts = json.loads(workdir.facts.read_text())
    weights = sha256_of(tmp_path / "base" / "model.safetensors")
    assert facts["base"] == {"name": base, "revision": None, "sha256": weights}
    assert (facts["frequency"], facts["series"], facts["observations"]) == ("P1D", 12, 720)
    assert (result["parameters_trained"] < result["parameters"]) is (lora is not None)
    assert set(report(workdir)["models"]) == {"trained", "seasonal_naive", "base"}
    assert report(workdir)["verdict"]["against"] == "base"
    assert {name: len(ahead) for name, ahead in report(workdir)["by_horizon"].items()} == dict.fromkeys(
        ["trained", "seasonal_naive", "base"], 6
    )
    assert set(report(workdir)["trained_less"]) == {"seasonal_naive", "base"}
    assert result["examples"][0]["model"] == family
    card = (workdir.model / "MODEL_CARD.md").read_text()
    assert f"{family}: fine-tuned from `{base}`, SHA-256 `{weights}`, with chronos-ec2, to look back at 24" in card
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
    """And learns: the loss of the last steps is below that of the first; the library loads the result."""
    workdir = ready(tmp_path)
    shape = {"family": family, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    config = tiny_chronos(steps=40, learning_rate=1e-2) | {"model": {"from_scratch": shape}}
    result = train(workdir, config)
    assert (result["family"], result["base"], result["steps"]) == (family, None, 40)
    lines = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    loaded = BaseChronosPipeline.from_pretrained(workdir.model)
    quantiles, _ = loaded.predict_quantiles([torch.arange(24.0)], prediction_length=6)
    assert np.isfinite(np.asarray(quantiles[0])).all()


def test_event_files_have_the_numbers_of_metrics_when_they_are_wanted(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    train(workdir, tiny_chronos(steps=4, report_to="tensorboard"))
    (path,) = workdir.tensorboard.iterdir()
    read = list(scalars(path.read_bytes()))
    lines = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
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
    """Of an event file: records of a length, its checksum, an event, its checksum."""
    while raw:
        length = int.from_bytes(raw[:8], "little")
        event = event_pb2.Event.FromString(raw[12 : 12 + length])
        raw = raw[16 + length :]
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield value.tag, event.step, value.simple_value


def test_without_a_wish_there_are_no_event_files(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    train(workdir, tiny_chronos(steps=1))
    assert not workdir.tensorboard.exists()


def test_an_image_without_the_library_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: False)
    with pytest.raises(InvalidInput, match=r"training\.report_to: the image has no tensorboardX"):
        train(ready(tmp_path), tiny_chronos(steps=1, report_to=["tensorboard"]))


def test_covariates_and_several_targets_go_through(tmp_path: Path) -> None:
    workdir = ready(tmp_path, heat=lambda row: row % 7 / 7, holiday=lambda row: row % 5 == 0, other=lambda row: row % 9)
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


def test_a_forecast_with_the_model_needs_what_lies_beside_it(tmp_path: Path) -> None:
    """The lines of docs/training.md, on the data before what was held out, give the forecasts of the run."""
    kinds = ["rain", "sun", "fog"]
    workdir = ready(tmp_path, weather=lambda row: kinds[row % 3], holiday=lambda row: row % 5 == 0)
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
    assert np.allclose(found["0.5"], ours["0.5"], rtol=1e-4)


def test_a_family_that_takes_no_covariates_says_so(tmp_path: Path) -> None:
    workdir = ready(tmp_path, heat=lambda row: row % 7 / 7)
    data = {"path": "training-data/toy/", "past_covariates": "heat"}
    config = tiny_chronos() | {"model": {"base": a_base(tmp_path, "chronos-bolt")}, "data": data}
    with pytest.raises(InvalidInput, match="chronos-bolt takes no covariates"):
        train(workdir, config)


def test_a_model_that_got_worse_is_not_exported_and_not_improved(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    first = tiny_chronos(steps=60, learning_rate=1e-2)
    train(workdir, first)
    good = workdir.model.rename(tmp_path / "good")
    ruin = tiny_chronos(steps=3, learning_rate=0.3) | {"model": {"base": str(good)}}
    (tmp_path / "second").mkdir()
    second = ready(tmp_path / "second")
    result = train(second, ruin)
    assert result["evaluation"]["exported"] == "base"
    assert result["evaluation"]["verdict"]["verdict"] == "not improved"
    assert result["metrics"]["wql"] < result["metrics"]["wql_trained"]
    ours, theirs = (BaseChronosPipeline.from_pretrained(one).model.state_dict() for one in (second.model, good))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def a_good_model(tmp_path: Path, **training: Any) -> Path:
    """One that beats what is ruined by `ruin`."""
    workdir = ready(tmp_path)
    train(workdir, tiny_chronos(steps=60, learning_rate=1e-2, **training))
    (tmp_path / "second").mkdir()
    return workdir.model.rename(tmp_path / "good")


def ruin(good: Path) -> dict[str, Any]:
    return tiny_chronos(steps=3, learning_rate=0.5) | {"model": {"base": str(good), "lora": {"rank": 2}}}


def test_when_the_base_is_exported_nothing_is_left_of_the_other_one(tmp_path: Path) -> None:
    good = a_good_model(tmp_path)
    workdir = ready(tmp_path / "second")
    result = train(workdir, ruin(good))
    assert result["evaluation"]["exported"] == "base"
    names = {path.name for path in workdir.model.iterdir()}
    assert names == {"MODEL_CARD.md", "config.json", "model.safetensors"}
    assert "the base as it came" in (workdir.model / "MODEL_CARD.md").read_text()
    # What is forecast, drawn and told by points ahead is the model that is there.
    family = family_of(load.load(str(workdir.model), "cpu"), 24, 6)
    panel = panel_of(workdir, parse_config(ruin(good), "test"))
    test = scoring.hold_out(panel, 6, 1, 6)
    expected = family.forecast(panel, next(test.parts(0, 12)), QUANTILES)
    forecasts = pq.read_table(workdir.forecasts)
    assert np.allclose(forecasts["0.5"].to_numpy().reshape(12, 1, 6), expected[..., 4], rtol=1e-5)
    assert result["examples"][0]["model"] == "chronos-2 (base)"
    first = expected[[result["examples"][0]["item"] == name for name in panel.items.to_pylist()], 0, :, 4][0]
    assert result["examples"][0]["median"] == pytest.approx(first.tolist(), rel=1e-5)
    assert (
        "Exported: base, of which are forecasts.parquet and the plots too."
        in (workdir.evaluation / "report.md").read_text()
    )


def test_the_model_in_use_so_far_is_compared_too(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    config = tiny_chronos(steps=3)
    champion = a_base(tmp_path, "chronos-bolt")
    config["evaluation"] = {"season_length": 6, "champion": champion, "export": "trained"}
    result = train(workdir, config)
    assert set(report(workdir)["models"]) == {"trained", "seasonal_naive", "champion"}
    assert set(result["evaluation"]["trained_less"]) == {"seasonal_naive", "champion"}
    assert len(report(workdir)["by_horizon"]["champion"]) == 6
    assert "wql_champion" in pq.read_table(workdir.evaluation / "series.parquet").column_names
    text = (workdir.evaluation / "report.md").read_text()
    assert "- trained less champion: MASE" in text
    assert "| points ahead | trained, MASE | trained, WQL | seasonal naive, MASE |" in text


def test_the_champion_stays_when_it_is_better(tmp_path: Path) -> None:
    good = a_good_model(tmp_path)
    workdir = ready(tmp_path / "second")
    config = tiny_chronos(steps=1)
    config["evaluation"] = {"season_length": 6, "champion": str(good)}
    result = train(workdir, config)
    assert result["evaluation"]["exported"] == "champion"
    assert f"the champion as it came, `{good}`" in (workdir.model / "MODEL_CARD.md").read_text()
    ours, theirs = (BaseChronosPipeline.from_pretrained(one).model.state_dict() for one in (workdir.model, good))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("horizon", "problem"),
    [
        (6, r"evaluation\.champion: /nowhere cannot be loaded"),
        (10, r"evaluation\.champion: .*base cannot be compared with: prediction_length 10 is more than the 8 points"),
    ],
)
def test_what_is_wrong_with_the_champion_is_said_before_the_training(
    tmp_path: Path, horizon: int, problem: str
) -> None:
    workdir = ready(tmp_path)
    config = tiny_chronos(steps=3) | {"prediction_length": horizon}
    champion = "/nowhere" if horizon == 6 else a_base(tmp_path, "chronos-bolt")
    config["evaluation"] = {"season_length": 6, "champion": champion}
    with pytest.raises(InvalidInput, match=problem):
        train(workdir, config)
    assert not any("step" in json.loads(line) for line in workdir.metrics.read_text().splitlines())


def test_a_champion_that_takes_no_covariates_is_judged_without_them(tmp_path: Path) -> None:
    workdir = ready(tmp_path, heat=lambda row: row % 7 / 7)
    config = tiny_chronos(steps=2) | {"data": {"path": "training-data/toy/", "past_covariates": "heat"}}
    config["evaluation"] = {"season_length": 6, "champion": a_base(tmp_path, "chronos-bolt")}
    train(workdir, config)
    assert "champion" in report(workdir)["models"]


def test_the_base_shows_what_it_can_with_the_context_that_it_was_made_for(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    base = a_base(tmp_path, "chronos-2")
    config = tiny_chronos(steps=2) | {"model": {"base": base}, "context_length": 8}
    train(workdir, config)
    family = family_of(load.load(base, "cpu"), 24, 6)
    panel = panel_of(workdir, parse_config(config, "test"))
    test = scoring.hold_out(panel, 6, 1, 6)
    found = scoring.scores(scoring.errors(test, family.forecast(panel, next(test.parts(0, 12)), QUANTILES)[None]))
    assert report(workdir)["models"]["base"]["wql"] == pytest.approx(found["wql"], rel=1e-5)


def test_a_longer_context_than_the_bases_is_trained_on_and_remembered(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    config = tiny_chronos(steps=2) | {"model": {"base": a_base(tmp_path, "chronos-2")}, "context_length": 36}
    family = load.starting_family(parse_config(config, "test"), "cpu")
    panel = panel_of(workdir, parse_config(config, "test"))
    batch = family.batch(panel, Draw(np.arange(4), np.full(4, 40)))
    other = batch | {"context": batch["context"].clone()}
    other["context"][:, :12] += 9
    with torch.no_grad():
        losses = [float(family.model.eval()(**one).loss) for one in (batch, other)]
    assert losses[0] != losses[1]
    config["evaluation"] = {"season_length": 6, "export": "trained"}
    train(workdir, config)
    assert BaseChronosPipeline.from_pretrained(workdir.model).model_context_length == 36
    assert json.loads(workdir.facts.read_text())["context_length"] == 36


def test_the_model_is_widened_to_context_and_horizon_and_never_narrowed() -> None:
    model: Any = a_family("chronos-2").model
    for context, horizon in ((30, 13), (10, 2)):
        load.widen(model, context, horizon)
        settings = model.config.chronos_config
        assert (settings["context_length"], settings["max_output_patches"]) == (30, 3)
        assert settings["time_encoding_scale"] == 24


def test_families_that_do_not_look_further_back_say_how_far_they_do(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    config = tiny_chronos(steps=2) | {"model": {"base": a_base(tmp_path, "chronos-bolt")}, "context_length": 36}
    train(workdir, config)
    assert json.loads(workdir.facts.read_text())["context_length"] == 24


def test_half_precision_on_a_cpu_is_none_and_said_to_be_none(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    result = train(workdir, tiny_chronos(steps=2, precision="fp16"))
    assert result["precision"] == "fp32"
    assert json.loads(workdir.facts.read_text())["precision"] == "fp32"
    assert '"precision": "fp32"' in workdir.metrics.read_text()


@pytest.mark.parametrize("variable", ["RANK", "WORLD_SIZE"])
def test_a_launcher_of_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "2")
    with pytest.raises(InvalidInput, match=rf"training\.processes: {variable} is set, as torchrun does"):
        train(ready(tmp_path), tiny_chronos(steps=1))


def test_a_batch_larger_than_memory_is_no_reason_to_end_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for four rows: neither what is verified nor what is rehearsed before the training may want more."""
    workdir = ready(tmp_path)
    make = load.starting_family

    def on_a_small_gpu(*arguments: Any, **more: Any) -> Family:
        family = make(*arguments, **more)
        only_rows(family.model, 4)
        return family

    monkeypatch.setattr(load, "starting_family", on_a_small_gpu)
    result = train(workdir, tiny_chronos(steps=2, batch_size=16))
    assert (result["parts"], result["steps"], result["attention"]) == (4, 2, "block")


def test_nothing_that_is_held_out_is_trained_on(tmp_path: Path) -> None:
    """Other held-out points, the same weights: two windows, and one for validation."""
    weights = []
    for name, factor in (("one", 1.0), ("other", -50.0)):
        (tmp_path / name).mkdir()
        workdir, table = a_workdir(tmp_path / name), toy_series()
        values = table["target"].to_numpy().reshape(12, 60).copy()
        values[:, -12:] *= factor
        changed = table.set_column(2, "target", [values.reshape(-1)])
        pq.write_table(changed, workdir.data / "toy.parquet")
        config = tiny_chronos(steps=3)
        config["evaluation"] = {"season_length": 6, "windows": 2}
        config["training"]["early_stopping"] = {"every_steps": 1, "patience": 9}
        train(workdir, config)
        weights.append(BaseChronosPipeline.from_pretrained(workdir.model).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("export", "held_out"), [("better", True), ("trained", False)])
def test_the_window_that_something_is_chosen_by_is_not_trained_on(tmp_path: Path, export: str, held_out: bool) -> None:
    """With other points in it every step has the same loss; but where nothing is chosen, it is there to learn from."""
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
        lines = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) == 40
    assert (losses[0] == losses[1]) is held_out


def test_a_series_without_a_training_window_is_judged_all_the_same(tmp_path: Path) -> None:
    """17 points: six to forecast from, six held out, and five, which are less than a past and a horizon."""
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
        train(ready(tmp_path), config)
    (tmp_path / "weights").mkdir()
    workdir = ready(tmp_path / "weights")
    pq.write_table(toy_series().slice(43), workdir.data / "toy.parquet")
    heavy_but_short = tiny_chronos(min_past=8, weights={"item-00": 1, "*": 0})
    with pytest.raises(InvalidInput, match=r"no series has 14 points to train on .*; the longest has 11"):
        train(workdir, heavy_but_short)


def test_series_that_are_not_judged_are_trained_on_to_their_end(tmp_path: Path) -> None:
    """The last points of one kind make no difference to the weights, those of the other kind do."""
    weights = []
    for name, judged, others in (("one", 1.0, 1.0), ("held-out", 9.0, 1.0), ("learnt", 1.0, 9.0)):
        (tmp_path / name).mkdir()
        workdir, table = a_workdir(tmp_path / name), toy_series()
        values = table["target"].to_numpy().reshape(12, 60).copy()
        values[1, -6:] *= judged
        values[[0, *range(2, 12)], -6:] *= others
        pq.write_table(table.set_column(2, "target", [values.reshape(-1)]), workdir.data / "toy.parquet")
        config = tiny_chronos(steps=3)
        item = table["item_id"].unique()[1].as_py()
        config["evaluation"] = {"season_length": 6, "series": f"{item[:-1]}[{item[-1]}]"}
        result = train(workdir, config)
        assert pq.read_table(workdir.forecasts)["item_id"].unique().to_pylist() == [item]
        assert len(result["examples"]) == 1
        assert result["examples"][0]["item"] == item
        assert pq.read_table(workdir.evaluation / "series.parquet")["item_id"].to_pylist() == [item]
        assert result["evaluation"]["baselines"]["of"] == 1
        weights.append(BaseChronosPipeline.from_pretrained(workdir.model).model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_a_pattern_that_names_no_series_is_refused(tmp_path: Path) -> None:
    config = tiny_chronos() | {"evaluation": {"series": "shop-*"}}
    with pytest.raises(InvalidInput, match=r"evaluation.series: 'shop-\*' matches no series, which are named like"):
        train(ready(tmp_path), config)


def test_a_run_goes_on_where_a_signal_ended_it(tmp_path: Path) -> None:
    (tmp_path / "straight").mkdir()
    straight = ready(tmp_path / "straight")
    train(straight, tiny_chronos(steps=6))
    workdir, stop = ready(tmp_path), StopSignal()
    stop.asked = False

    class AsksAfterTwo(Metrics):
        def step(self, step: int, *arguments: Any, **more: Any) -> None:
            stop.asked = step >= 2
            super().step(step, *arguments, **more)

    metrics = AsksAfterTwo(workdir.metrics)
    first = run(workdir, parse_config(tiny_chronos(steps=6), "test"), metrics, stop)
    metrics.close()
    assert (first["stopped_early"], first["steps"]) == (True, 2)
    assert not workdir.model.exists()
    second = train(workdir, tiny_chronos(steps=6))
    assert (second["resumed_from"], second["steps"]) == (2, 6)
    assert (first["interruptions"], second["interruptions"]) == ([], [{"reached": 2, "resumed_from": 2}])
    ours, theirs = (BaseChronosPipeline.from_pretrained(one.model).model.state_dict() for one in (workdir, straight))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_interruptions_are_those_of_all_attempts(tmp_path: Path) -> None:
    """A first attempt, one that went on, one that found no checkpoint; the second was killed while it wrote."""
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(
        '{"event": "began", "step": 0}\n{"step": 7, "total_steps": 9}\n'
        '{"event": "attempt", "attempt": 2, "step": 5}\n{"event": "began", "step": 5}\n'
        '{"step": 6, "total_steps": 9}\n{"st'
    )
    with closing(Metrics(metrics)) as third:
        third.event("began", step=0)
    assert interruptions(metrics) == [{"reached": 7, "resumed_from": 5}, {"reached": 6, "resumed_from": 0}]


def test_a_run_whose_time_is_short_is_judged_all_the_same(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    result = train(workdir, tiny_chronos(steps=10_000), StopSignal(ends_at=time.monotonic() + 64))
    assert (result["stopped_by"], result["stopped_early"]) == ("time", False)
    assert 0 < result["steps"] < 10_000
    assert (workdir.model / "config.json").exists()


def test_a_run_of_some_minutes_is_judged_after_them(tmp_path: Path) -> None:
    result = train(ready(tmp_path), tiny_chronos(steps=100_000, minutes=0.02))
    assert (result["stopped_by"], result["stopped_early"]) == ("time", False)
    assert 0 < result["steps"] < 100_000


def test_a_signal_while_data_are_read_is_obeyed(tmp_path: Path) -> None:
    stop = StopSignal()
    stop.asked = True
    with pytest.raises(StoppedEarly):
        train(ready(tmp_path), tiny_chronos(), stop)


def test_data_are_read_once_on_a_box(tmp_path: Path) -> None:
    workdir = ready(tmp_path)
    train(workdir, tiny_chronos(steps=2))
    (panel,) = workdir.panels.iterdir()
    written = panel.stat().st_mtime_ns
    lines = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    assert [(line["done"], line["total"]) for line in lines if line.get("event") == "loading" and "done" in line] == [
        (720, 2160), (1440, 2160), (2160, 2160),
    ]  # fmt: skip
    train(workdir, tiny_chronos(steps=2))
    assert [one.stat().st_mtime_ns for one in workdir.panels.iterdir()] == [written]


def test_each_gate_fails_by_its_name() -> None:
    model = a_family("chronos-2").model
    before = acceptance.sample_of(model)
    with pytest.raises(InvalidInput, match="gate weights-changed"):
        acceptance.weights_changed(before, acceptance.sample_of(model))
    model.train()
    with pytest.raises(InvalidInput, match="gate evaluation-mode"):
        acceptance.evaluation_mode(model)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(InvalidInput, match="gate weights-finite"):
        acceptance.weights_finite(model)
    with pytest.raises(InvalidInput, match="gate forecasts-finite"):
        acceptance.forecasts_finite(np.array([1.0, np.nan], dtype=np.float32))
    with pytest.raises(InvalidInput, match=r"gate same-after-reload: .*by up to 1"):
        acceptance.same_after_reload(np.array([1.0]), np.array([2.0]))
