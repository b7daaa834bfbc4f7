"""Runs in half precision: every model is judged in one precision, and the saved model forecasts like that in memory."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from agent.chronos.batching.held_out import hold_out
from agent.chronos.evaluate import acceptance
from agent.chronos.evaluate.predict import Forecaster
from agent.chronos.model.families import Batch
from agent.chronos.model.load import for_forecasts
from agent.chronos.training.hf_trainer import StepTrainer
from agent.data.panel import Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from tests.agent.builders import a_workdir, tiny_chronos, toy_series
from tests.agent.chronos.builders import FAMILIES, HORIZON, a_family, a_panel
from tests.agent.chronos.runs import a_base, report, train
from tests.agent.chronos.training.jobs import Fp16OnTheCpu, a_job
from tests.agent.chronos.training.jobs import train as fit_job
from tests.combinations import combinations

SCRATCH = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
NEGLIGIBLE = 1e-10
"""A learning rate that changes weights near zero alone, and no forecast."""


def without_level(tmp_path: Path) -> Workdir:
    """Series around zero: no level hides how their forecasts are rounded."""
    workdir, table = a_workdir(tmp_path), toy_series()
    target = 35 * (np.asarray(table["target"]) - 10)
    pq.write_table(table.set_column(2, "target", pa.array(target)), workdir.data / "toy.parquet")
    return workdir


@pytest.mark.parametrize(
    ("family", "model"),
    combinations(
        product(FAMILIES, ("full", "lora", "scratch")),
        quick={("chronos-bolt", "lora"), ("chronos-2", "scratch")},
    ),
)
def test_all_models_of_a_bf16_run_are_judged_in_bf16(tmp_path: Path, family: str, model: str) -> None:
    """Trained with a negligible learning rate, so trained model and base would differ by their precision alone."""
    workdir, base = without_level(tmp_path), a_base(tmp_path, family)
    models: dict[str, Any] = {
        "full": {"base": base, "lora": None},
        "lora": {"base": base, "lora": {"rank": 2, "alpha": 4}},
        "scratch": {"from_scratch": SCRATCH | {"family": family}},
    }
    config = tiny_chronos(steps=2, learning_rate=NEGLIGIBLE, precision="bf16") | {
        "model": models[model],
        "evaluation": {"season_length": 6, "windows": 2, "baselines": [], "champion": base},
    }
    result = train(workdir, config)
    assert result["precision"] == "bf16"
    scores = report(workdir)["models"]
    assert scores.keys() == {"trained", "seasonal_naive", "champion"} | ({"base"} if model != "scratch" else set())
    if model != "scratch":
        assert scores["base"] == scores["champion"]
        assert scores["trained"]["wql"] == pytest.approx(scores["base"]["wql"], rel=1e-6)


@pytest.mark.parametrize(
    ("family", "weights", "precision"),
    combinations(
        product(FAMILIES, ("full", "lora"), ("bf16", "fp16")),
        quick={
            ("chronos-t5", "lora", "fp16"), ("chronos-bolt", "full", "fp16"), ("chronos-bolt", "lora", "bf16"),
            ("chronos-2", "full", "bf16"), ("chronos-2", "lora", "fp16"), ("chronos-t5", "full", "bf16"),
        },
    ),
)  # fmt: skip
def test_training_in_half_precision_leaves_no_trace_in_the_model(
    panel: Panel, tmp_path: Path, family: str, weights: str, precision: str
) -> None:
    """Its forecasts, in fp32 and in half precision, are those of the saved model."""
    lora, trainer = weights == "lora", {"bf16": StepTrainer, "fp16": Fp16OnTheCpu}[precision]
    chronos = a_family(family)
    job = a_job(panel, family, lora=lora, precision="fp32" if precision == "fp16" else precision)
    chronos.replace_model(job.model)
    fit_job(job, tmp_path / "run", trainer_class=trainer)
    for_forecasts(chronos)
    chronos.save(tmp_path / "model")
    test = hold_out(panel, HORIZON, 1, 6)
    with closing(Metrics(tmp_path / "metrics.jsonl")) as metrics:
        forecaster = Forecaster(panel, metrics, StopSignal())
        found = {}
        for chronos.precision in ("fp32", precision):
            in_memory, reloaded = forecaster.forecast_reloaded(chronos, tmp_path / "model", test)
            acceptance.same_after_reload(in_memory, reloaded)
            if not lora:
                assert np.array_equal(in_memory, reloaded)
            found[chronos.precision] = in_memory
    # The few tokens of Chronos-T5 may be sampled alike.
    assert family == "chronos-t5" or not np.array_equal(found["fp32"], found[precision])


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Panel:
    made = a_panel(tmp_path_factory.mktemp("panel"))
    return replace(made, values=made.values - made.values.mean())


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize(("precision", "within"), [("bf16", "tf32"), ("fp32", "none")])
def test_tf32_is_allowed_for_the_fit_alone(
    panel: Panel, tmp_path: Path, precision: str, within: str, failing: bool
) -> None:
    job, found = a_job(panel, "chronos-2", precision=precision), set()

    def batch(number: int, part: int, parts: int) -> Batch:
        found.add(torch.backends.cuda.matmul.fp32_precision)
        if failing and number == 1:
            raise KeyError
        return job.batch(number, part, parts)

    with pytest.raises(KeyError) if failing else nullcontext():
        fit_job(replace(job, batch=batch), tmp_path)
    assert found == {within}
    assert torch.backends.cuda.matmul.fp32_precision == "none"
