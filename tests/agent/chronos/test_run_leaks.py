"""Nothing that happens in a held-out window may be known before it, or chosen on it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from chronos import BaseChronosPipeline
from typing_extensions import override

from agent.chronos.batching.held_out import QUANTILES, hold_out
from agent.chronos.batching.sampler import WindowBatch, futures
from agent.chronos.batching.split import Split
from agent.chronos.evaluate import statistical
from agent.chronos.evaluate.evaluate import evaluate
from agent.chronos.evaluate.predict import Forecaster
from agent.chronos.evaluate.reference_models import ReferenceModel
from agent.chronos.model.families import Chronos2Family, Family
from agent.data.panel import Floats, Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.parse import parse_config
from tests.agent.builders import a_workdir, tiny_chronos, toy_series
from tests.agent.chronos.builders import CONTEXT, HORIZON, a_family, a_panel
from tests.agent.chronos.runs import report, train


def trained(tmp_path: Path, name: str, change: Any, **evaluation: Any) -> Workdir:
    """A run with two test windows and early stopping, with a past covariate `heat` and a known one, `promo`.

    `change` changes the values (12, 60) of target and heat.
    """
    (tmp_path / name).mkdir()
    workdir, table = a_workdir(tmp_path / name), toy_series()
    target = table["target"].to_numpy().reshape(12, 60).copy()
    random = np.random.default_rng(1)
    heat, promo = random.normal(size=(12, 60)), random.normal(size=(12, 60))
    change(target, heat)
    table = table.set_column(2, "target", [target.reshape(-1)])
    table = table.append_column("heat", [heat.reshape(-1)]).append_column("promo", [promo.reshape(-1)])
    pq.write_table(table, workdir.data / "toy.parquet")
    config = tiny_chronos(steps=4, early_stopping={"every_steps": 1, "patience": 9})
    config["data"] |= {"past_covariates": "heat", "known_covariates": "promo"}
    config["evaluation"] = {"season_length": 6, "windows": 2, "baselines": []} | evaluation
    train(workdir, config)
    return workdir


def quantiles(workdir: Workdir) -> Any:
    table = pq.read_table(workdir.forecasts)
    return np.stack([table[str(level)].to_numpy() for level in QUANTILES]).reshape(len(QUANTILES), 2, 12, 6)


def weights(workdir: Workdir) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = BaseChronosPipeline.from_pretrained(workdir.model).model.state_dict()
    return found


def test_points_and_past_covariates_of_the_test_windows_are_unknown_to_training_and_forecasts(tmp_path: Path) -> None:
    def last_window(target: Any, heat: Any) -> None:
        target[:, -6:] *= -9
        heat[:, -6:] += 50

    def both_windows(target: Any, heat: Any) -> None:
        target[:, -12:] *= -9
        heat[:, -12:] += 50

    def before(target: Any, heat: Any) -> None:
        heat[:, -18:-12] += 50

    one = trained(tmp_path, "one", lambda _target, _heat: None)
    last, both, earlier = (trained(tmp_path, change.__name__, change) for change in (last_window, both_windows, before))
    for other in (last, both):
        assert all(torch.equal(weights(one)[name], weights(other)[name]) for name in weights(one))
    assert np.array_equal(quantiles(one), quantiles(last))
    # The first window's points are history to the second.
    assert np.array_equal(quantiles(one)[:, 0], quantiles(both)[:, 0])
    assert not np.array_equal(quantiles(one)[:, 1], quantiles(both)[:, 1])
    # The covariate counts where it is known.
    assert not np.array_equal(quantiles(one)[:, 0], quantiles(earlier)[:, 0])
    naive = [pq.read_table(one.forecasts)["seasonal_naive"], pq.read_table(last.forecasts)["seasonal_naive"]]
    assert naive[0].equals(naive[1])


def test_baselines_are_fitted_to_the_points_before_each_window(tmp_path: Path) -> None:
    panel = a_panel(tmp_path)
    values = panel.values.copy()
    for end in panel.offsets[1:]:
        values[:, end - HORIZON : end] *= -9
    changed = replace(panel, values=values)
    histories = []
    for one in (panel, changed):
        test = hold_out(one, HORIZON, 2, 6)
        sample = np.arange(8)
        histories.append([task.histories for task in statistical._tasks(one, test, sample, ["auto_theta"])])
    for index, (ours, theirs) in enumerate(zip(*histories, strict=True)):
        for window, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert np.array_equal(one[0], other[0])
            assert np.array_equal(one[0], panel.series(index)[0, : panel.lengths[index] - HORIZON * (2 - window)])


class Rival(Chronos2Family):
    """Forecasts the truth, but for an error in the windows of some purpose."""

    def __init__(self, family: Family, wrong: Sequence[int]) -> None:
        super().__init__(family.pipeline, CONTEXT, HORIZON)
        self._wrong = wrong

    @override
    def forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        truth = futures(panel, windows, self.horizon)[:, : panel.columns.targets]
        left = panel.lengths[windows.series] - windows.cutoffs
        error = np.where(np.isin(left // HORIZON, self._wrong), 1e4, 0.0)
        found: Floats = np.repeat(truth[..., None] + error[:, None, None, None], len(quantiles), axis=-1).astype("f4")
        return found


class RivalReference(ReferenceModel):
    """Loads a Rival."""

    @override
    def load(self, trained: Family, cached: bool = False) -> Family:
        return Rival(trained, [int(one) for one in self.source.split()])


@pytest.mark.parametrize(
    ("wrong", "exported"),
    [
        # Windows are numbered from the end: two for the test, one for the selection, one for stopping.
        ("3 4", "trained"),
        ("1 2 4", "base"),
        ("1", "base"),
    ],
)
def test_the_model_to_export_is_chosen_on_the_selection_window_alone(tmp_path: Path, wrong: str, exported: str) -> None:
    panel, workdir = a_panel(tmp_path), a_workdir(tmp_path)
    config = parse_config(
        tiny_chronos(early_stopping={})
        | {"model": {"base": "./b"}, "evaluation": {"season_length": 6, "windows": 2, "baselines": []}},
        "test",
    )
    family = a_family("chronos-2", dropout=0.0)
    family.model.eval()
    family.save(workdir.model)
    split = Split.of(panel, config)
    with (
        closing(Metrics(workdir.metrics)) as metrics,
        statistical.fitting(panel, split.test, config.evaluation) as fits,
    ):
        forecaster = Forecaster(panel, metrics, StopSignal())
        references = [RivalReference("base", "model.base", "b", wrong)]
        document, _ = evaluate(family, references, split, config, workdir, forecaster, fits)
    assert document["exported"] == exported


def test_scores_of_a_report_with_seasons_and_windows_are_those_computed_by_hand(tmp_path: Path) -> None:
    """Seasonal naive's MASE with a season of 6 and two windows, each scaled by its own past."""
    workdir = trained(tmp_path, "one", lambda _target, _heat: None)
    target = np.float32(toy_series()["target"].to_numpy().reshape(12, 60)).astype(float)
    rows = []
    for cutoff in (48, 54):
        past, truth = target[:, :cutoff], target[:, cutoff : cutoff + 6]
        scale = np.abs(past[:, 6:] - past[:, :-6]).mean(axis=1)
        rows.append(np.abs(truth - past[:, -6:]).mean(axis=1) / scale)
    models = report(workdir)["models"]
    assert models["seasonal_naive"]["mase"] == pytest.approx(np.mean(rows), rel=1e-6)
    levels, table = np.array(QUANTILES), pq.read_table(workdir.forecasts)
    truth = table["target"].to_numpy().astype(float)
    errors = truth[:, None] - np.stack([table[str(level)].to_numpy() for level in QUANTILES], axis=1).astype(float)
    losses = 2 * np.maximum(levels * errors, (levels - 1) * errors).mean(axis=1)
    assert models["trained"]["wql"] == pytest.approx(losses.sum() / np.abs(truth).sum(), rel=1e-6)
    difference = report(workdir)["trained_minus"]["seasonal_naive"]["wql"]
    assert difference["difference"] == pytest.approx(models["trained"]["wql"] - models["seasonal_naive"]["wql"])
    assert difference["interval"][0] <= difference["difference"] <= difference["interval"][1]
