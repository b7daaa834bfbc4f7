"""What a run does: `train`, `forecast` or `evaluate`. Each has a schema of its own, and all are one configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from chronos_ec2.job_config.data import Data, Section, one_or_more
from chronos_ec2.job_config.schema import Evaluation, Number, Precision, Reference, TrainingConfig

BASE_MODEL = "amazon/chronos-2"
Level = Annotated[Number, Field(gt=0, lt=1)]


def _ascending(levels: list[float]) -> list[float]:
    if len(set(levels)) < len(levels):
        raise ValueError("a level is named twice")
    return sorted(levels)


def _different(models: list[str]) -> list[str]:
    if repeated := next((name for name in models if models.count(name) > 1), None):
        raise ValueError(f"{repeated} is named twice")
    return models


class Output(Section):
    """The files of a forecast."""

    format: Literal["parquet", "csv"] = "parquet"
    series_per_part: int = Field(10_000, ge=1)
    """Series in a file. A file that is uploaded is a checkpoint: an interrupted run goes on with the next one."""


class Shard(Section):
    """A part of the series: those whose name, by a stable hash, falls to it."""

    index: int = Field(ge=0)
    of: int = Field(ge=2)

    @model_validator(mode="after")
    def _one_of_them(self) -> Shard:
        if self.index >= self.of:
            raise ValueError(f"index must be less than of, which is {self.of}")
        return self


class ForecastConfig(Section):
    """Forecast the points after the end of each series."""

    job: Literal["forecast"]
    data: Data
    prediction_length: int = Field(ge=1)
    """Points to forecast."""
    context_length: int = Field(2048, ge=1)
    """Points of history that a forecast looks at."""
    model: Reference = BASE_MODEL
    future: bool = False
    """Whether the run has a second data set with `data.known_covariates` of the points to forecast (`--future`)."""
    quantile_levels: Annotated[
        list[Level], Field(default_factory=lambda: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], min_length=1),
        AfterValidator(_ascending),
    ]  # fmt: skip
    """A column of the output for each."""
    batch_size: int | None = Field(None, ge=1)
    """Rows per batch; every target and covariate of a series is a row. Chosen by the GPU's memory by default."""
    precision: Precision = "auto"
    cross_learning: bool = False
    """Let the series of a batch learn from each other (Chronos-2). Forecasts then depend on the batch."""
    output: Annotated[Output, Field(default_factory=Output)]
    series: str = "*"
    """Pattern of the items to forecast, such as `shop-*`."""
    shard: Shard | None = None
    """Forecast one of several parts of the series; `--shards` makes a run for each."""

    @model_validator(mode="after")
    def _shards_are_independent(self) -> ForecastConfig:
        if self.shard and self.cross_learning:
            raise ValueError("cross_learning makes forecasts depend on each other, so they cannot be made in shards")
        return self

    @model_validator(mode="after")
    def _future_has_columns(self) -> ForecastConfig:
        if self.future and not self.data.known_covariates:
            raise ValueError("future needs the columns that are known ahead: name them in data.known_covariates")
        return self


class EvaluateConfig(Section):
    """Compare models on the same held-out windows, without training."""

    job: Literal["evaluate"]
    data: Data
    prediction_length: int = Field(ge=1)
    """Points to forecast."""
    context_length: int = Field(2048, ge=1)
    """Points of history that a forecast looks at."""
    models: Annotated[list[Reference], BeforeValidator(one_or_more), Field(min_length=1), AfterValidator(_different)]
    """The models to compare."""
    evaluation: Annotated[Evaluation, Field(default_factory=Evaluation)]
    batch_size: int | None = Field(None, ge=1)
    """Rows per batch; every target and covariate of a series is a row. Chosen by the GPU's memory by default."""
    precision: Precision = "auto"


JobConfig = TrainingConfig | ForecastConfig | EvaluateConfig
JOBS: dict[str, type[JobConfig]] = {"train": TrainingConfig, "forecast": ForecastConfig, "evaluate": EvaluateConfig}


def model_references(config: JobConfig) -> dict[str, str]:
    """The names of the models that a run loads, by their keys in the configuration.

    A custom trainer loads those that are named; the default of `model.base` is for the built-in one.
    """
    match config:
        case ForecastConfig():
            return {"model": config.model}
        case EvaluateConfig():
            return {f"models.{index}": name for index, name in enumerate(config.models)}
        case TrainingConfig():
            builtin = config.trainer == "chronos"
            base = config.model.base if builtin or "model" in config.model_fields_set else None
            found = {"model.base": base, "evaluation.champion": config.evaluation.champion}
            return {} if config.trainer == "probe" else {key: name for key, name in found.items() if name is not None}
