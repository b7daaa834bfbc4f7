"""Sweeps: which configurations a file stands for, and what no sweep can compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.sweep import load_sweep

BASE: dict[str, Any] = {"data": {"path": "training-data/sales/"}, "prediction_length": 6}
RATES = {"training.learning_rate": [1e-5, 1e-4], "training.steps": [100, 200, 300]}


def written(path: Path, values: Any = RATES, base: Any = BASE, **more: Any) -> Path:
    (path / "train.yaml").write_text(yaml.safe_dump(base))
    grid = path / "grid.yaml"
    grid.write_text(yaml.safe_dump({"base": "train.yaml", "values": values} | more))
    return grid


def test_each_combination_is_a_configuration(tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path))
    assert len(sweep.changes) == 6
    assert len({tuple(one.items()) for one in sweep.changes}) == 6
    assert sweep.changes[1] == {"training.learning_rate": 1e-5, "training.steps": 200}
    config = sweep.config(sweep.changes[1])
    assert (config.training.learning_rate, config.training.steps) == (1e-5, 200)
    assert sweep.config({}).training.steps == 1000


def test_some_are_drawn_at_random_each_once_and_the_same_for_a_seed(tmp_path: Path) -> None:
    values = {"training.learning_rate": [number * 1e-6 for number in range(1, 1001)], "training.seed": [*range(1000)]}
    drawn = load_sweep(written(tmp_path, values, random=20)).changes
    assert len({tuple(one.items()) for one in drawn}) == 20
    assert load_sweep(written(tmp_path, values, random=20)).changes == drawn
    assert load_sweep(written(tmp_path, values, random=20, seed=1)).changes != drawn


def test_the_base_may_be_in_the_file_and_a_section_be_new(tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path, {"model.lora.rank": [4, 8]}, BASE | {"model": {"base": "amazon/chronos-2"}}))
    assert [sweep.config(one).model.lora and sweep.config(one).model.lora.rank for one in sweep.changes] == [4, 8]
    grid = tmp_path / "whole.yaml"
    grid.write_text(yaml.safe_dump({"base": BASE, "values": RATES}))
    assert len(load_sweep(grid).changes) == 6


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"values": {}}, "values"),
        ({"values": {"training.steps": []}}, "values.training.steps"),
        ({"values": {"training.stepz": [1, 2]}}, "stepz"),
        ({"values": {"training.steps": [0, 1]}}, "training.steps: 0"),
        ({"values": {"training.steps": [1]}}, "1 combinations"),
        ({"values": {"training.steps": [*range(1, 102)]}}, "101 combinations"),
        ({"random": 7}, "random: at most 6"),
        ({"colour": 1}, "colour"),
        *(({"values": {key: [1, 2]}}, f"{key} cannot be varied") for key in
          ("data.path", "data", "prediction_length", "evaluation.windows", "evaluation.champion", "trainer", "job")),
        ({"values": {"model": [{"from_scratch": {}}, {"base": "amazon/chronos-2"}]}}, "no windows before the test"),
        ({"values": {"model.base": ["amazon/chronos-2", "nothing of the kind"]}}, "model.base"),
        ({"base": BASE | {"model": {"from_scratch": {}}}}, "no windows before the test"),
        ({"base": BASE | {"evaluation": {"export": "trained"}}}, "no windows before the test"),
        ({"base": BASE | {"trainer": "probe"}}, "trainer probe"),
        ({"base": BASE | {"job": "forecast"}}, "is of job forecast"),
        ({"base": "none.yaml"}, "cannot be read"),
    ],
)  # fmt: skip
def test_what_no_sweep_can_be_is_refused(tmp_path: Path, document: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        load_sweep(
            written(tmp_path, **{"values": RATES} | document) if "base" not in document else _whole(tmp_path, document)
        )


def _whole(path: Path, document: dict[str, Any]) -> Path:
    grid = path / "grid.yaml"
    grid.write_text(yaml.safe_dump({"values": RATES} | document))
    return grid


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("data.path", "other series or windows"),
        ("prediction_length", "a shorter horizon has better scores and is no better"),
        ("evaluation.windows", "other windows"),
        ("job", "job: evaluate compares models without training"),
    ],
)
def test_a_refusal_says_why_the_scores_could_not_be_compared(tmp_path: Path, key: str, why: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_sweep(written(tmp_path, {key: [1, 2]}))
    assert why in (refused.value.hint or "")


def test_models_of_several_origins_are_compared(tmp_path: Path) -> None:
    names = ["amazon/chronos-bolt-tiny", "amazon/chronos-bolt-small"]
    sweep = load_sweep(written(tmp_path, {"model.base": names, "training.steps": [100, 200]}))
    assert [sweep.config(one).model.base for one in sweep.changes] == [names[0]] * 2 + [names[1]] * 2


def test_shapes_of_new_models_are_compared_if_there_is_a_champion_to_beat(tmp_path: Path) -> None:
    base = BASE | {"model": {"from_scratch": {}}, "evaluation": {"champion": "amazon/chronos-2"}}
    sweep = load_sweep(written(tmp_path, {"model.from_scratch.d_model": [32, 64]}, base))
    assert len(sweep.changes) == 2
