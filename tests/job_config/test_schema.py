"""What a training configuration may contain, and how errors in it are reported.

`python -m tests.job_config.test_schema` regenerates docs/training-config.schema.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.parse import load_config, parse_config, parse_yaml
from chronos_ec2.job_config.schema import TrainingConfig

SCHEMA = Path(__file__).parents[2] / "docs" / "training-config.schema.json"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.yaml"))


def a_config(**changes: Any) -> dict[str, Any]:
    return {"data": {"path": "training-data/x/"}, "prediction_length": 6} | changes


def schema() -> str:
    return json.dumps(TrainingConfig.model_json_schema(), indent=1) + "\n"


def test_the_schema_in_the_docs_is_up_to_date() -> None:
    assert SCHEMA.read_text() == schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_is_valid(path: Path) -> None:
    load_config(path)


def test_a_column_may_be_a_name_or_a_list() -> None:
    data = {"path": "x", "target": "sales", "known_covariates": ["price", "holiday"]}
    found = parse_config(a_config(data=data), "test").data
    assert found.values == ("sales", "price", "holiday")


def test_numbers_in_scientific_notation_need_no_dot() -> None:
    found = parse_yaml(b"{data: {path: x}, prediction_length: 6, training: {learning_rate: 2e-3}}", "test")
    assert found.training.learning_rate == 0.002


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"path": "x", "known_covariate": "p"}}, "unknown key data.known_covariate, did you mean known_cov"),
        (
            {"data": {"path": "x", "static": "region"}},
            "unknown key data.static: .* a constant row carries no information",
        ),
        (
            {"data": {"path": "x", "frequency": "monthly"}},
            "data.frequency: must be an ISO 8601 duration such as PT30M, .* or a pandas alias",
        ),
        (
            {"data": {"path": "x", "frequency": "D", "problems": {"gaps": "ignore"}}},
            "data: frequency needs a common step, problems.gaps: ignore does without",
        ),
        ({"learning_rate": 1e-3}, "unknown key learning_rate, did you mean training.learning_rate"),
        ({"gaps": "fill"}, "unknown key gaps, did you mean data.problems.gaps"),
        ({"training": {"lora": {}}}, "unknown key training.lora, did you mean model.lora"),
        ({"training": {"d_model": 64}}, "unknown key training.d_model, did you mean model.from_scratch.d_model"),
        ({"data": {"path": "x", "target": "a", "past_covariates": "a"}}, "column 'a' is named twice"),
        ({"data": {"path": "x", "target": []}}, "data.target"),
        ({"data": {"path": "x", "problems": {"gaps": "close"}}}, "data.problems.gaps"),
        ({"model": {"from_scratch": {}, "lora": {}}}, "lora adapts a trained model"),
        ({"model": {"base": "a", "from_scratch": {}}}, "exactly one of base and from_scratch"),
        ({"model": {"from_scratch": {"family": "chronos-t5", "patch": 4}}}, "chronos-t5 has no patches"),
        ({"model": {"from_scratch": {"d_kv": 7}}}, "d_kv must be even"),
        ({"model": {"from_scratch": {"family": "chronos"}}}, "model.from_scratch.family: .*'chronos-bolt'"),
        ({"training": {"early_stopping": {"patence": 3}}}, "did you mean patience"),
        ({"training": {"steps": 0}}, "training.steps"),
        ({"training": {"report_to": "mlflow"}}, "training.report_to: mlflow is not installed on the instance"),
        ({"training": {"report_to": ["tensorbord"]}}, "training.report_to.0: .*'tensorboard'"),
        ({"evaluation": {"windows": 0}}, "evaluation.windows"),
        ({"data": {"path": "../secrets"}}, "below cached-datasets/ENVIRONMENT/"),
        ({"trainer": "chronoss"}, "trainer: must be chronos, probe, or your own class as module:Class"),
        ({"trainer": "my-module:Mine"}, "trainer: must be"),
        ({"trainer": "mine.py"}, "trainer: must be"),
        ({"options": {"depth": 3}}, "options are for custom trainers: chronos has none"),
    ],
)
def test_an_error_names_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_config(a_config(**changes), "train.yaml")
    assert str(caught.value).startswith("train.yaml: ")
    assert "\n" not in str(caught.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_config(a_config(training={"steps": 0, "d_model": 64}, evaluation={"windows": 0}), "train.yaml")
    for name in ("training.steps: ", "unknown key training.d_model", "evaluation.windows: "):
        assert name in str(caught.value)


@pytest.mark.parametrize("family", ["chronos-2", "chronos-bolt", "chronos-t5"])
def test_a_stored_configuration_is_read_again(family: str) -> None:
    config = parse_config(a_config(model={"from_scratch": {"family": family}}), "test")
    assert parse_config(config.model_dump(mode="json"), "test") == config


@pytest.mark.parametrize(
    ("trainer", "module"), [("chronos", None), ("mine:Mine", "mine"), ("mine.models.mean:Mine", "mine")]
)
def test_a_custom_trainer_has_a_module(trainer: str, module: str | None) -> None:
    assert parse_config(a_config(trainer=trainer), "test").custom_module == module


@pytest.mark.parametrize("name", ["parquet_loader_config", "covariate_config.ec2", "incremental_training_config"])
def test_former_configuration_files_name_their_section(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text("{}")
    with pytest.raises(InvalidInput, match=r"is no longer a separate file \(put its content under "):
        load_config(path)


if __name__ == "__main__":
    SCHEMA.write_text(schema())
