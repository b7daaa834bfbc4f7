"""What training.json may hold: the form that readers can rely on, as docs/training.schema.json says it.

`python -m agent.training_document` prints the schema.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chronos_ec2.domain.text import dump_json

SCHEMA_VERSION = 1
"""Grows with every change that a reader of the last one could stumble over; a field more is none."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Phase(_Part):
    """One phase of the run: how long it took, and the bytes that went to or came from S3 in it."""

    seconds: Seconds
    bytes: Count


class DataFile(_Part):
    """One file of the data set."""

    key: str
    bytes: Count
    sha256: Sha256


class Data(_Part):
    """The data set. `sha256` is that of the lines `sha256  key` of all files, in the order of their keys."""

    sha256: Sha256
    bytes: Count
    files: list[DataFile]


class Gpu(_Part):
    """One GPU as the driver describes it; memory in bytes, null for what it does not say."""

    name: str
    memory: Count
    uncorrected_errors: Count | None
    slowed_by: list[str]
    persistence: bool | None


class Hardware(_Part):
    """The box; memory in bytes."""

    machine: str
    cpus: Count | None
    memory: Count
    kernel: str
    gpus: list[Gpu]


class Check(_Part):
    """One check of the preflight; `elsewhere` says whether another instance could have been better."""

    name: str
    ok: bool
    value: str
    remedy: str
    elsewhere: bool


class Difference(_Part):
    """A score of the trained model less that of the other, and its 95 % interval."""

    difference: float | None
    interval: Annotated[list[float | None], Field(min_length=2, max_length=2)]


class Verdict(_Part):
    """Whether the trained model is better than the one it started from, or than seasonal naive, beyond doubt."""

    against: str
    verdict: Literal["improved", "not improved"]
    wql: Difference
    mase: Difference


class Evaluation(_Part):
    """How the models compare on the held-out points, and which of them is under models/."""

    exported: str
    verdict: Verdict
    models: dict[str, dict[str, float | None]]


class TrainingDocument(_Part):
    """The summary of one attempt of a run. What comes from the trainer's result is absent when it left none."""

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
    trainer: str | None
    model_uri: str | None
    resumed_from_step: Count | None
    metrics: dict[str, float | None]
    phases: dict[str, Phase]
    training_seconds: dict[str, Seconds]
    allow_cpu: bool
    data: Data | None
    hardware: Hardware
    versions: dict[str, str]
    preflight: list[Check]
    bundle_sha256: Sha256
    config: dict[str, Any]
    steps: Count | None = None
    device: str | None = None
    precision: str | None = None
    seeds: dict[str, int] | None = None
    series: Count | None = None
    observations: Count | None = None
    parameters: Count | None = None
    stopped_early: bool | None = None
    best_step: Count | None = None
    stopped_by: str | None = None
    parts: Annotated[int, Field(ge=1)] | None = None
    family: str | None = None
    attention: str | None = None
    parameters_trained: Count | None = None
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
