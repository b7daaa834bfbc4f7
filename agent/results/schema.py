"""The schema of training.json, published as docs/training.schema.json.

The inputs of the run (data, hardware, versions, configuration) are in run.json. `python -m agent.results.schema` prints
the schema.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chronos_ec2.domain.parsing.codec import dump_json

SCHEMA_VERSION = 1
"""Incremented by incompatible changes. An additional field is compatible."""

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Phase(_Part):
    """The duration of a phase, and the bytes moved to or from S3 in it."""

    seconds: Seconds
    bytes: Count


class Difference(_Part):
    """The score of the trained model minus that of the other model, with its 95 % confidence interval."""

    difference: float | None
    interval: Annotated[list[float | None], Field(min_length=2, max_length=2)]


class Verdict(_Part):
    """Whether the trained model is significantly better than its base model, or without one than seasonal naive.

    `by` is the score that decides, null if neither is defined. `note` says if `series`, which count, prove little.
    """

    against: str
    verdict: Literal["improved", "not improved", "undefined"]
    by: Literal["wql", "mase"] | None
    test: str
    series: Count
    note: str | None
    wql: Difference
    mase: Difference


class Differences(_Part):
    """The trained model compared with another one."""

    wql: Difference
    mase: Difference


class Baselines(_Part):
    """All models on the `series` out of `of` series that each statistical model was fitted to.

    `seconds`: how long fitting took, from before training on; `seconds_after_evaluation`: how long it was waited for.
    `tried`: how many series there was time for. `not_fitted` counts those to which a model could not be fitted; one
    that could be fitted to none is not in `models`. `undefined`: the scores without a value, and why. `trained_minus`
    is the score of the trained model minus that of each other model; in a comparison `best_minus`, of the best one.
    """

    series: Count
    tried: Count
    of: Count
    seconds: Seconds
    seconds_after_evaluation: Seconds
    models: dict[str, dict[str, float | None]]
    undefined: dict[str, str]
    trained_minus: dict[str, Differences] | None = None
    best_minus: dict[str, Differences] | None = None
    not_fitted: dict[str, Count]


class JudgedSeries(_Part):
    """How many `of` the series to evaluate have an observation in the test windows and before them."""

    judged: Count
    of: Count


class Interruption(_Part):
    """Training had reached step `reached`, and resumed from step `resumed_from`, which is 0 if it started over."""

    reached: Count
    resumed_from: Count


class Evaluation(_Part):
    """How the models compare on the held-out points, and which of them was `exported` to models/.

    `undefined`: the scores without a value, and why. `trained_minus` is the score of the trained model minus that of
    each other model. `selection`: the WQL by which the model to export was chosen, on the windows before the test.
    """

    exported: str
    series: JudgedSeries
    verdict: Verdict
    models: dict[str, dict[str, float | None]]
    selection: dict[str, float | None] = Field(default_factory=dict)
    undefined: dict[str, str] = Field(default_factory=dict)
    trained_minus: dict[str, Differences] = Field(default_factory=dict)
    baselines: Baselines | None = None


class ComparisonVerdict(_Part):
    """The `best` model `by` a score, both null if none is defined, and what that means for the first one."""

    best: str | None
    by: Literal["wql", "mase"] | None
    sentence: str


class Comparison(_Part):
    """How the models of an evaluate job compare on the held-out points, from the best on.

    `undefined`: the scores without a value, and why. `best_minus` is the score of the best model minus that of each
    other model.
    """

    models: dict[str, dict[str, float | None]]
    verdict: ComparisonVerdict
    series: JudgedSeries
    windows: Annotated[int, Field(ge=1)]
    undefined: dict[str, str]
    best_minus: dict[str, Differences]
    by_horizon: dict[str, list[dict[str, float | None]]]
    baselines: Baselines | None


class Forecast(_Part):
    """What a forecast job has written: rows of `items` series, between two times, in parts.

    There is none if no series falls to the run's shard. `left_out`: series without any number, which have no forecast.
    `rows_without_numbers`: rows of targets without an observation in the model's context, beside others that have some.
    `quantiles_cross`: the rows in which a quantile is below one of a lower level.
    """

    rows: Count
    items: Count
    left_out: Count
    first_timestamp: str | None
    last_timestamp: str | None
    rows_without_numbers: Count
    quantiles_cross: Count
    parts: Count
    format: Literal["parquet", "csv"]
    model: str
    family: str
    context_length: Annotated[int, Field(ge=1)]
    precision: str
    attention: str | None
    cross_learning: bool
    frequency: str | None
    findings: list[str]


class TrainingDocument(_Part):
    """How one attempt of a run went. Fields from the trainer's result are absent if it left none.

    `retry_elsewhere` is set for failures only: whether the instance was at fault, so that another one may work.
    """

    schema_version: Literal[1]
    run_id: str
    job: Literal["train", "forecast", "evaluate"]
    environment: str
    lane: str
    attempt: Annotated[int, Field(ge=1)]
    instance_id: str | None
    instance_type: str
    outcome: Literal["succeeded", "failed", "killed"]
    cause: str
    message: str
    retry_elsewhere: bool | None = None
    trainer: str | None
    model_uri: str | None
    resumed_from_step: Count | None
    metrics: dict[str, float | None]
    phases: dict[str, Phase]
    training_seconds: dict[str, Seconds]
    steps: Count | None = None
    stopped_early: bool | None = None
    best_step: Count | None = None
    stopped_by: str | None = None
    parts: Annotated[int, Field(ge=1)] | None = None
    processes: Annotated[int, Field(ge=1)] | None = None
    interruptions: list[Interruption] = Field(default_factory=list)
    evaluation: Evaluation | None = None
    forecast: Forecast | None = None
    comparison: Comparison | None = None


def problems(document: dict[str, Any]) -> list[str]:
    """The violations of the schema, one line each."""
    try:
        TrainingDocument.model_validate_json(dump_json(document))
    except ValidationError as error:
        return [f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}" for found in error.errors()]
    return []


def schema() -> dict[str, Any]:
    """The JSON schema."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | TrainingDocument.model_json_schema()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
