"""What training.json may hold: the form that readers can rely on, as docs/training.schema.json says it.

What the run began with, its data, box, versions and configuration, is in run.json.

`python -m agent.results.upload.schema` prints the schema.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chronos_ec2.domain.parsing.codec import dump_json

SCHEMA_VERSION = 1
"""Grows with every change that a reader of the last one could stumble over; a field more is none."""

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Phase(_Part):
    """One phase of the run: how long it took, and the bytes that went to or came from S3 in it."""

    seconds: Seconds
    bytes: Count


class Difference(_Part):
    """A score of the trained model minus that of the other, and its 95 % interval."""

    difference: float | None
    interval: Annotated[list[float | None], Field(min_length=2, max_length=2)]


class Verdict(_Part):
    """Whether the trained model is better than the one it started from, or than seasonal naive, beyond doubt."""

    against: str
    verdict: Literal["improved", "not improved"]
    wql: Difference
    mase: Difference


class Differences(_Part):
    """The trained model against another one."""

    wql: Difference
    mase: Difference


class Baselines(_Part):
    """Every model on the `series` of `of` series that the statistical models were fitted to.

    `trained_minus` has the trained model's scores minus those of each; `fell_back` counts forecasts that are seasonal
    naive, because the series had gaps or was constant or too short.
    """

    series: Count
    of: Count
    seconds: Seconds
    models: dict[str, dict[str, float | None]]
    trained_minus: dict[str, Differences]
    fell_back: dict[str, Count]


class Interruption(_Part):
    """Training had come to step `reached`, and went on from step `resumed_from`, 0 when it began anew."""

    reached: Count
    resumed_from: Count


class Evaluation(_Part):
    """How the models compare on the held-out points, and which of them is under models/.

    `trained_minus` has the trained model's scores minus those of each other one.
    """

    exported: str
    verdict: Verdict
    models: dict[str, dict[str, float | None]]
    trained_minus: dict[str, Differences] = Field(default_factory=dict)
    baselines: Baselines | None = None


class TrainingDocument(_Part):
    """How one attempt of a run went. What comes from the trainer's result is absent when it left none.

    `retry_elsewhere`, of a failure alone, is whether the instance was at fault, so that another may do better.
    """

    schema_version: Literal[1]
    run_id: str
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


def problems(document: dict[str, Any]) -> list[str]:
    """What of a document is not as the schema says, one line each."""
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
