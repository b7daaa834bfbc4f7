"""The training configuration: one YAML file, typed, every unknown key refused with a suggestion.

It is checked by the CLI before anything is launched and again by the agent, so it lives where both can see it.
"""

from __future__ import annotations

import difflib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from chronos_ec2.domain.errors import InvalidInput


def _yaml_number(value: Any) -> Any:
    """YAML 1.1 reads 2e-3, without a dot, as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_yaml_number)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(_Section):
    """Where the series are: long-format Parquet, one row per series and time."""

    path: str
    """Prefix or key below `cached-datasets/`, for instance `training-data/m3-monthly/`."""
    item_id: str = "item_id"
    timestamp: str = "timestamp"
    target: str = "target"

    @field_validator("path")
    @classmethod
    def _relative(cls, value: str) -> str:
        if not value or value.startswith("/") or ".." in PurePosixPath(value).parts or "://" in value:
            raise ValueError("must be a path below cached-datasets/, like training-data/m3-monthly/")
        return value


class FromScratch(_Section):
    """Shape of a new Chronos-2 model with random weights."""

    d_model: int = Field(64, ge=8)
    d_kv: int = Field(16, ge=4)
    d_ff: int = Field(256, ge=8)
    num_layers: int = Field(3, ge=1)
    num_heads: int = Field(4, ge=1)
    patch: int = Field(12, ge=1)
    dropout: Number = Field(0.0, ge=0, lt=1)


class Model(_Section):
    """The model to start from: `base` (hub id, `s3://` URI or local path) or `from_scratch`."""

    base: str | None = None
    from_scratch: FromScratch | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Model:
        if (self.base is None) == (self.from_scratch is None):
            raise ValueError("needs exactly one of base and from_scratch")
        return self


class Optimisation(_Section):
    """Steps and optimiser; defaults are those of `Chronos2Pipeline.fit`, where it has them."""

    steps: int = Field(1000, ge=1)
    batch_size: int = Field(256, ge=1)
    """Rows a step: every target and covariate is a row."""
    learning_rate: Number = Field(1e-6, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: Number = Field(0.0, ge=0)
    min_past: int | None = Field(None, ge=1)
    """Points of history that each training window has at least; `prediction_length` when absent."""
    seed: int = Field(0, ge=0, lt=2**31)
    checkpoint_steps: int = Field(500, ge=1)


class Evaluation(_Section):
    """The last `prediction_length` points of each series are held out and forecast once, after training."""

    season_length: int = Field(1, ge=1)
    """Observations a season, for MASE and the seasonal naive forecast."""


class Probe(_Section):
    """The stand-in trainer that tries an account for cents, with a scripted end."""

    ending: Literal["ok", "hang", "crash"] = "ok"
    steps: int = Field(20, ge=1)
    step_seconds: Number = Field(0.5, gt=0)


class TrainingConfig(_Section):
    """One training run."""

    trainer: Literal["chronos2", "probe"] = "chronos2"
    data: Data
    prediction_length: int = Field(ge=1)
    context_length: int = Field(2048, ge=1)
    model: Model = Field(default_factory=lambda: Model(base="amazon/chronos-2"))
    training: Annotated[Optimisation, Field(default_factory=Optimisation)]
    evaluation: Annotated[Evaluation, Field(default_factory=Evaluation)]
    probe: Annotated[Probe, Field(default_factory=Probe)]


def load_config(path: Path) -> TrainingConfig:
    """The configuration in a YAML file. Raises InvalidInput that names file and key."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidInput(str(path), "cannot be read", str(error.strerror)) from error
    return parse_yaml(raw, str(path))


def parse_yaml(raw: bytes, where: str) -> TrainingConfig:
    """The configuration in YAML text. Raises InvalidInput; `where` names the document."""
    try:
        document = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(where, "is not YAML: " + " ".join(str(error).split())) from error
    return parse_config(document, where)


def parse_config(document: Any, where: str) -> TrainingConfig:
    """The configuration in a document. Raises InvalidInput; `where` names the document."""
    if not isinstance(document, dict):
        raise InvalidInput(where, "must be a mapping of keys, see docs/configuration.md")
    try:
        return TrainingConfig.model_validate(document)
    except ValidationError as error:
        raise InvalidInput(where, "; ".join(_explain(problem) for problem in error.errors())) from error


def _explain(problem: Any) -> str:
    path = tuple(str(part) for part in problem["loc"])
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _keys_at(path[:-1]), n=1)
        return f"unknown key {name}" + (f", did you mean {near[0]}?" if near else "")
    if problem["type"] == "missing":
        return f"{name} is missing"
    return f"{name or 'configuration'}: {problem['msg'].removeprefix('Value error, ')}"


def _keys_at(path: tuple[str, ...]) -> list[str]:
    schema = TrainingConfig.model_json_schema()
    node: dict[str, Any] = schema
    for part in path:
        node = node.get("properties", {}).get(part, {})
        reference = next((option["$ref"] for option in (node, *node.get("anyOf", [])) if "$ref" in option), None)
        if reference:
            node = schema["$defs"][reference.rsplit("/", 1)[1]]
    return list(node.get("properties", {}))
