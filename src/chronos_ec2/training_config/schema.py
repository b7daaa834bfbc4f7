"""The training configuration: one YAML file, typed, every unknown key refused with a suggestion.

It is checked by the CLI before anything is launched and again by the agent, so it lives where both can see it.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from chronos_ec2.training_config.frequency import length_of


def _yaml_number(value: Any) -> Any:
    """YAML 1.1 reads 2e-3, without a dot, as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_yaml_number)]
Weight = Annotated[Number, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Columns = Annotated[list[str], BeforeValidator(_one_or_more)]


class Problems(_Section):
    """What becomes of data that are not as they should be; `refuse` names counts and examples and ends the run."""

    duplicates: Literal["refuse", "drop"] = "refuse"
    """A time that occurs twice in a series; `drop` keeps the last row."""
    gaps: Literal["refuse", "fill", "ignore"] = "refuse"
    """Times that are missing; `fill` puts missing observations there, `ignore` takes the rows as if they were adjacent.

    Only `ignore` takes times that fit no common step, and series of different steps.
    """
    short: Literal["refuse", "drop"] = "refuse"
    """Series with less than `prediction_length` points before those that are held out."""
    empty: Literal["refuse", "drop"] = "refuse"
    """Series whose targets are missing, or the same number, throughout."""
    infinite: Literal["refuse", "fill"] = "refuse"
    """Values without a bound; `fill` takes them as missing."""
    zones: Literal["refuse", "utc"] = "refuse"
    """Files whose times are in different zones; `utc` takes them as instants, those without a zone as UTC."""


class Data(_Section):
    """Where the series are: long-format Parquet, one row per series and time."""

    path: str
    """Prefix or key below `cached-datasets/`, for instance `training-data/m3-monthly/`."""
    item_id: str = "item_id"
    timestamp: str = "timestamp"
    target: Annotated[Columns, Field(default_factory=lambda: ["target"], min_length=1)]
    """One column, or several that are forecast together."""
    past_covariates: Annotated[Columns, Field(default_factory=list)]
    """Columns known up to now; numbers, or categories as text."""
    known_covariates: Annotated[Columns, Field(default_factory=list)]
    """Columns known for the points to forecast too, like holidays and prices."""
    frequency: str | None = None
    """The step that the data must have: an ISO 8601 duration like PT30M, or pandas' name like 30min, D, W or MS."""
    problems: Annotated[Problems, Field(default_factory=Problems)]

    @property
    def values(self) -> tuple[str, ...]:
        """The columns with values, in the order of Chronos-2: targets, past covariates, known covariates."""
        return (*self.target, *self.past_covariates, *self.known_covariates)

    @model_validator(mode="after")
    def _each_once(self) -> Data:
        columns = (self.item_id, self.timestamp, *self.values)
        if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
            raise ValueError(f"column {twice[0]!r} is named twice")
        return self

    @model_validator(mode="after")
    def _frequency_is_of_a_step(self) -> Data:
        if self.frequency is not None and self.problems.gaps == "ignore":
            raise ValueError("frequency is that of a common step, and with problems.gaps: ignore there need be none")
        return self

    @field_validator("frequency")
    @classmethod
    def _known_frequency(cls, value: str | None) -> str | None:
        if value is not None and length_of(value) is None:
            raise ValueError(
                "must be a duration like PT30M, P1D or P1M, or pandas' name of one, like 30min, D, W or MS"
            )
        return value

    @field_validator("path")
    @classmethod
    def _relative(cls, value: str) -> str:
        if not value or value.startswith("/") or ".." in PurePosixPath(value).parts or "://" in value:
            raise ValueError("must be a path below cached-datasets/, like training-data/m3-monthly/")
        return value


class FromScratch(_Section):
    """Shape of a new model with random weights."""

    family: Literal["chronos-2", "chronos-bolt", "chronos-t5"] = "chronos-2"
    d_model: int = Field(64, ge=8)
    d_kv: int = Field(16, ge=4)
    d_ff: int = Field(256, ge=8)
    num_layers: int = Field(3, ge=1)
    num_heads: int = Field(4, ge=1)
    patch: int | None = Field(None, ge=1)
    """Points that are read together, 12 when absent; Chronos-T5 reads them one by one."""
    dropout: Number = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits_the_family(self) -> FromScratch:
        if self.family == "chronos-t5" and self.patch is not None:
            raise ValueError("chronos-t5 reads points one by one: leave patch out")
        if self.family == "chronos-2" and self.d_kv % 2:
            raise ValueError("chronos-2 rotates numbers in pairs: d_kv must be even")
        return self


class Lora(_Section):
    """Train a low-rank adapter instead of all weights; defaults are those of `Chronos2Pipeline.fit`."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: Number = Field(0.0, ge=0, lt=1)


class Model(_Section):
    """The model to start from: `base` (hub id, `s3://` URI or local path) or `from_scratch`, a new one."""

    base: str | None = None
    from_scratch: FromScratch | None = None
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Model:
        if (self.base is None) == (self.from_scratch is None):
            raise ValueError("needs exactly one of base and from_scratch")
        if self.from_scratch is not None and self.lora is not None:
            raise ValueError("lora adapts a trained model, and from_scratch has none: leave one of them out")
        return self


class EarlyStopping(_Section):
    """Stop when the loss on the validation window has not fallen for `patience` looks, and keep the best weights.

    The validation window is the `prediction_length` points before those that are held out for the evaluation.
    """

    every_steps: int = Field(100, ge=1)
    timeouts: int = Field(3, ge=1)


def _reports(value: Any) -> Any:
    names = _one_or_more(value)
    if isinstance(names, list) and "mlflow" in names:
        raise ValueError("mlflow does not travel to the instance: import metrics.jsonl of the run where your server is")
    return names


Reports = Annotated[list[Literal["tensorboard"]], BeforeValidator(_reports)]


class Optimisation(_Section):
    """Steps and optimiser; defaults are those of `Chronos2Pipeline.fit`, where it has them."""

    steps: int = Field(1000, ge=1)
    minutes: Number | None = Field(None, gt=0)
    """Training of an attempt ends after so many minutes, however many steps were done, and what it made is judged."""
    batch_size: int = Field(256, ge=1)
    """Rows a batch: every target and covariate is a row. Each process has batches of its own, of this size."""
    gradient_accumulation: int = Field(1, ge=1)
    """Batches a step."""
    learning_rate: Number = Field(1e-6, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: Number = Field(0.0, ge=0)
    ema: Number | None = Field(None, gt=0, lt=1)
    """Take a moving average of the weights, of which each step leaves this share, instead of the last weights."""
    min_past: int | None = Field(None, ge=1)
    """Points of history that each training window has at least; `prediction_length` when absent."""
    sampling: Literal["series", "length"] = "series"
    """Every series as often as any other, as Chronos does, or every window as often as any other."""
    weights: Annotated[dict[str, Weight], Field(default_factory=dict)]
    """How much more or less often: by patterns of items like `shop-*`. The first that matches counts, else 1."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """By the GPU's compute capability; the weights are in fp32 always."""
    processes: int | None = Field(None, ge=1)
    """Processes that train together, each on a GPU of its own with batches of its own; one for each GPU when absent."""
    workers: int | None = Field(None, ge=0)
    """Processes that build the batches of each that trains; 2 when absent, on a CPU 0. Results do not depend on it."""
    seed: int = Field(0, ge=0, lt=2**31)
    checkpoint_steps: int = Field(500, ge=1)
    checkpoint_minutes: Number = Field(5.0, gt=0)
    """A checkpoint is written when either has passed since the last."""
    early_stopping: EarlyStopping | None = None
    report_to: Annotated[Reports, Field(default_factory=list)]
    """`tensorboard`: event files beside metrics.jsonl, with the same numbers."""


Baseline = Literal["auto_ets", "auto_theta"]


class Evaluation(_Section):
    """Forecasts of held-out points: `windows` times `prediction_length` points at the end of each series."""

    season_length: int = Field(1, ge=1)
    """Observations a season, for MASE and the seasonal naive forecast."""
    windows: int = Field(1, ge=1)
    """Rolling origins, `prediction_length` points apart. Nothing in them is trained on, nor chosen by."""
    series: str = "*"
    """Pattern of the items that are judged, like `shop-*`; the others are trained on to their end."""
    export: Literal["better", "trained"] = "better"
    """The model under `models/`: trained, base or champion, whichever has the lowest WQL on the validation window, or
    the trained one in any case.
    """
    champion: str | None = None
    """A model to be compared with, named as `model.base` is: the one that is in use so far."""
    baselines: Annotated[list[Baseline], Field(default_factory=lambda: ["auto_ets", "auto_theta"])]
    """Statistical models, fitted anew to each series on the CPU; none for an empty list."""
    baseline_series: int = Field(500, ge=1)
    """Series that they are fitted to, at most: a random sample, on which all models are compared once more."""


Ending = Literal["ok", "crash", "hang", "oom", "nan", "slow"]


class Probe(_Section):
    """The stand-in trainer that tries an account for cents, with a scripted end."""

    ending: Ending = "ok"
    steps: int = Field(20, ge=1)
    step_seconds: Number = Field(0.5, gt=0)
    checkpoint_steps: int = Field(10, ge=1)
    checkpoint_mb: int = Field(1, ge=1)
    """Size of each checkpoint; 1400 is that of Chronos-2 with its optimiser."""


_BUILT_IN = ("chronos", "probe")
_OWN_TRAINER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class TrainingConfig(_Section):
    """One training run."""

    trainer: str = "chronos"
    """`chronos`, `probe`, or a class of one's own as `module:Class`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Whatever a trainer of one's own wants to know."""
    data: Data
    prediction_length: int = Field(ge=1)
    context_length: int = Field(2048, ge=1)
    model: Model = Field(default_factory=lambda: Model(base="amazon/chronos-2"))
    training: Annotated[Optimisation, Field(default_factory=Optimisation)]
    evaluation: Annotated[Evaluation, Field(default_factory=Evaluation)]
    probe: Annotated[Probe, Field(default_factory=Probe)]

    @property
    def own_module(self) -> str | None:
        """The top-level module of a trainer of one's own, None for a trainer that is built in."""
        return None if self.trainer in _BUILT_IN else re.split(r"[.:]", self.trainer)[0]

    @field_validator("trainer")
    @classmethod
    def _known_or_own(cls, value: str) -> str:
        if value not in _BUILT_IN and not _OWN_TRAINER.fullmatch(value):
            raise ValueError("must be chronos, probe, or a class of your own as module:Class")
        return value

    @model_validator(mode="after")
    def _options_are_read(self) -> TrainingConfig:
        if self.options and self.own_module is None:
            raise ValueError(f"options are for a trainer of your own, and {self.trainer} reads none")
        return self
