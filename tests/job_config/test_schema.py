"""What a configuration may contain, and how errors in it are reported.

`python -m tests.job_config.test_schema` regenerates docs/job-config.schema.json.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
from pydantic import Field, TypeAdapter

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.held_out import min_series_length
from chronos_ec2.job_config.jobs import EvaluateConfig, ForecastConfig, JobConfig, model_references
from chronos_ec2.job_config.parse import load_config, parse_config, parse_training, parse_yaml

SCHEMA = Path(__file__).parents[2] / "docs" / "job-config.schema.json"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.yaml"))


def a_config(**changes: Any) -> dict[str, Any]:
    return {"data": {"path": "training-data/x/"}, "prediction_length": 6} | changes


def schema() -> str:
    document = TypeAdapter(Annotated[JobConfig, Field(discriminator="job")]).json_schema()
    return json.dumps(document, indent=1) + "\n"


def test_the_schema_in_the_docs_is_up_to_date() -> None:
    assert SCHEMA.read_text() == schema()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"prediction_length": 10**20}, "prediction_length"),
        ({"context_length": 2**31}, "context_length"),
        ({"training": {"steps": 10**12}}, "training.steps"),
        ({"training": {"minutes": 1e300}}, "training.minutes"),
        ({"evaluation": {"windows": 10**10}}, "evaluation.windows"),
        ({"model": {"from_scratch": {"d_model": 10**15}}}, "model.from_scratch.d_model"),
        ({"job": "forecast", "output": {"series_per_part": 10**18}}, "output.series_per_part"),
        ({"job": "evaluate", "models": "a/b", "batch_size": 10**18}, "batch_size"),
    ],
)
def test_no_number_is_larger_than_a_machine_counts(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput, match=f"{where}.*must be at most 2147483647"):
        parse_config(a_config(**changes), "train.yaml")


def test_a_time_that_is_a_number_may_be_large() -> None:
    parse_config(a_config(training={"cutoff": 1_700_000_000_000}), "train.yaml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_is_valid(path: Path) -> None:
    load_config(path)


def test_a_column_may_be_a_name_or_a_list() -> None:
    data = {"path": "x", "target": "sales", "known_covariates": ["price", "holiday"]}
    found = parse_config(a_config(data=data), "test").data
    assert found.values == ("sales", "price", "holiday")


BOMBS = {
    "sequences": b"a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n",
    "mappings": b"a: &a {p: 1, q: 1, r: 1, s: 1, t: 1, u: 1, v: 1, w: 1, x: 1, y: 1}\n",
    "merged": b"a: &a {p: 1}\n",
}


def test_a_file_without_an_end_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^/dev/zero: is not a regular file"):
        load_config(Path("/dev/zero"))
    largest = tmp_path / "train.yaml"
    largest.write_bytes(b"#" * (1 + (1 << 20)))
    with pytest.raises(InvalidInput, match=r"is larger than 1 MiB \(name a configuration"):
        load_config(largest)
    largest.write_text("{data: {path: a/}, prediction_length: 7}\n".ljust(1 << 20, "#"))
    assert load_config(largest).prediction_length == 7


@pytest.mark.parametrize("kind", [*BOMBS, "itself"])
def test_a_few_lines_that_stand_for_billions_of_values_are_refused(kind: str) -> None:
    names = "abcdefghij"
    raw = BOMBS.get(kind, b"a: &a [*a, *a]\n")
    for one, other in pairwise(names) if kind != "itself" else ():
        many = b", ".join([b"*" + one.encode()] * 10)
        raw += b"%s: &%s %s\n" % (
            other.encode(), other.encode(), b"{<<: [%s]}" % many if kind == "merged" else b"[%s]" % many,
        )  # fmt: skip
    with pytest.raises(InvalidInput, match="has more than 100,000 values, its aliases replaced"):
        parse_yaml(raw, "test")


@pytest.mark.parametrize("depth", [100, 400, 1_000, 60_000])
@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b"{a: ", b"}"), (b"- ", b"")])
def test_a_document_of_any_depth_is_an_error_of_its_writer(depth: int, opens: bytes, closes: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^test"):
        parse_yaml(b"data: {path: x}\nprediction_length: 6\nmodel:\n  " + opens * depth + b"x" + closes * depth, "test")


@pytest.mark.parametrize("where", ["prediction_length: 7", "training: {steps: 1, steps: 2}", "a: [{b: 1, b: 2}]"])
def test_a_key_that_is_there_twice_is_refused(where: str) -> None:
    with pytest.raises(InvalidInput, match=r"has key \w+ twice in one mapping \(leave out one of them\)"):
        parse_yaml(f"data: {{path: x}}\nprediction_length: 6\n{where}\n".encode(), "test")


def test_an_alias_is_allowed() -> None:
    found = parse_yaml(b"{data: {path: x}, prediction_length: &six 6, training: {steps: *six}}", "test")
    assert found == parse_yaml(b"{data: {path: x}, prediction_length: 6, training: {steps: 6}}", "test")


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
        ({"data": {"path": "x", "target": "a", "item_id": "target"}}, "column 'target' has the name of a column of"),
        ({"data": {"path": "x", "item_id": ["shop", "0.5"]}}, "column '0.5' has the name of a column of the forecasts"),
        (
            {"data": {"path": "x", "item_id": "predictions"}},
            "column 'predictions' has the name of a column of the fore",
        ),
        ({"data": {"path": "x", "timestamp": "seasonal_naive"}}, "column 'seasonal_naive' has the name of a column"),
        ({"data": {"path": "x", "target": []}}, "data.target"),
        ({"data": {"path": "x", "problems": {"gaps": "close"}}}, "data.problems.gaps"),
        ({"model": {"from_scratch": {}, "lora": {}}}, "lora adapts a trained model"),
        ({"model": {"base": "a/b", "from_scratch": {}}}, "exactly one of base and from_scratch"),
        ({"model": {"from_scratch": {"family": "chronos-t5", "patch": 4}}}, "chronos-t5 has no patches"),
        ({"model": {"from_scratch": {"d_kv": 7}}}, "d_kv must be even"),
        ({"model": {"from_scratch": {"family": "chronos"}}}, "model.from_scratch.family: .*'chronos-bolt'"),
        ({"training": {"early_stopping": {"patence": 3}}}, "did you mean patience"),
        (
            {"model": {"base": "chronos-2"}},
            r"model.base: chronos-2: does not name a model \(write a hub id such as amazon/",
        ),
        (
            {"evaluation": {"champion": "run:newest"}},
            "evaluation.champion: run:newest: run: must be followed by a",
        ),
        ({"quantile_levels": [0.5]}, "unknown key quantile_levels, which is for job: forecast"),
        ({"models": ["a/b"]}, "unknown key models, which is for job: evaluate"),
        ({"job": "predict"}, "job: must be train, forecast or evaluate, not 'predict'"),
        ({"job": ["train"]}, "job: must be train, forecast or evaluate"),
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


FORECAST, EVALUATE = {"job": "forecast"}, {"job": "evaluate", "models": ["amazon/chronos-2", "./model"]}


@pytest.mark.parametrize(
    ("job", "changes", "message"),
    [
        (FORECAST, {"training": {}}, "unknown key training, which is for job: train"),
        (FORECAST, {"output": {"fromat": "csv"}}, "unknown key output.fromat, did you mean format"),
        (FORECAST, {"format": "csv"}, "unknown key format, did you mean output.format"),
        (FORECAST, {"quantile_levels": []}, "quantile_levels: "),
        (FORECAST, {"quantile_levels": [0.5, 1]}, "quantile_levels.1: .*less than 1"),
        (FORECAST, {"quantile_levels": [0.5, 0.5]}, "quantile_levels: a level is named twice"),
        (FORECAST, {"future": True}, "configuration: future needs the columns that are known ahead"),
        (FORECAST, {"model": "s3://"}, "model: s3://: is not a model in S3"),
        (EVALUATE, {"models": []}, "models: "),
        (EVALUATE, {"models": ["a/b", "a/b"]}, "models: a/b is named twice"),
        (EVALUATE, {"evaluation": {"champion": "a/b"}}, "unknown key evaluation.champion"),
        ({"job": "evaluate"}, {}, "models is missing"),
    ],
)
def test_an_error_in_another_job_names_its_key(job: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_config(a_config(**job | changes), "job.yaml")


@pytest.mark.parametrize("job", [FORECAST, EVALUATE, {}], ids=lambda job: job.get("job", "train"))
def test_each_job_is_read_again_as_it_is_stored_and_fits_the_schema_for_editors(job: dict[str, Any]) -> None:
    config = parse_config(a_config(**job), "test")
    assert config.job == job.get("job", "train")
    assert parse_config(config.model_dump(mode="json"), "test") == config
    jsonschema.validate(a_config(**job), json.loads(schema()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(a_config(**job, steps=3), json.loads(schema()))


def test_quantile_levels_are_in_order() -> None:
    config = parse_config(a_config(job="forecast", quantile_levels=[0.9, 0.1, 0.5]), "test")
    assert isinstance(config, ForecastConfig)
    assert config.quantile_levels == [0.1, 0.5, 0.9]


def test_one_model_needs_no_list() -> None:
    config = parse_config(a_config(job="evaluate", models="amazon/chronos-2"), "test")
    assert isinstance(config, EvaluateConfig)
    assert config.models == ["amazon/chronos-2"]


def test_a_trainer_takes_no_other_job() -> None:
    with pytest.raises(InvalidInput, match="test: is of job forecast, not train"):
        parse_training(a_config(job="forecast"), "test")


@pytest.mark.parametrize(
    ("config", "length"),
    [({"job": "forecast"}, 1), (EVALUATE | {"evaluation": {"windows": 3}}, 24), ({"evaluation": {"windows": 3}}, 30)],
)
def test_a_series_needs_what_the_job_holds_out_and_a_history(config: dict[str, Any], length: int) -> None:
    assert min_series_length(parse_config(a_config(**config), "test")) == length


@pytest.mark.parametrize(
    ("config", "references"),
    [
        ({}, {"model.base": "amazon/chronos-2"}),
        ({"model": {"from_scratch": {}}, "evaluation": {"champion": "./m"}}, {"evaluation.champion": "./m"}),
        ({"trainer": "probe"}, {}),
        ({"trainer": "mine:Mine"}, {}),
        ({"trainer": "mine:Mine", "model": {"base": "a/b"}}, {"model.base": "a/b"}),
        (FORECAST, {"model": "amazon/chronos-2"}),
        (EVALUATE, {"models.0": "amazon/chronos-2", "models.1": "./model"}),
    ],
)
def test_a_configuration_knows_the_models_that_its_run_loads(
    config: dict[str, Any], references: dict[str, str]
) -> None:
    assert model_references(parse_config(a_config(**config), "test")) == references


if __name__ == "__main__":
    SCHEMA.write_text(schema())
