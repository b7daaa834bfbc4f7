"""Schema of a training job (train.yaml). The CLI validates a configuration before a launch, the agent again."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.records.model_source import parse_reference
from chronos_ec2.job_config.data import Data, Section, one_or_more


def _yaml_number(value: Any) -> Any:
    """Accept 2e-3: without a dot, YAML 1.1 reads it as a string."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_yaml_number)]
Weight = Annotated[Number, Field(ge=0, allow_inf_nan=False)]


def _reference(value: str) -> str:
    try:
        parse_reference(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    return value


Reference = Annotated[str, AfterValidator(_reference)]
"""A hub id with or without @REVISION, an `s3://` URI, run:RUN_ID, or a folder, which begins with `/`, `./` or `~`."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class FromScratch(Section):
    """Shape of a new model with random weights."""

    family: Literal["chronos-2", "chronos-bolt", "chronos-t5"] = "chronos-2"
    d_model: int = Field(64, ge=8)
    d_kv: int = Field(16, ge=4)
    d_ff: int = Field(256, ge=8)
    num_layers: int = Field(3, ge=1)
    num_heads: int = Field(4, ge=1)
    patch: int | None = Field(None, ge=1)
    """Input and output patch length in points, 12 by default. Chronos-T5 has no patches: one token per point."""
    dropout: Number = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits_the_family(self) -> FromScratch:
        if self.family == "chronos-t5" and self.patch is not None:
            raise ValueError("chronos-t5 has no patches: leave patch out")
        if self.family == "chronos-2" and self.d_kv % 2:
            raise ValueError("chronos-2 uses rotary embeddings: d_kv must be even")
        return self


class Lora(Section):
    """Train a low-rank adapter instead of all weights. Defaults are those of `Chronos2Pipeline.fit`."""

    rank: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: Number = Field(0.0, ge=0, lt=1)


class Model(Section):
    """The initial model: `base` (the name of a model) or `from_scratch` (random weights)."""

    base: Reference | None = None
    from_scratch: FromScratch | None = None
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Model:
        if (self.base is None) == (self.from_scratch is None):
            raise ValueError("needs exactly one of base and from_scratch")
        if self.from_scratch is not None and self.lora is not None:
            raise ValueError("lora adapts a trained model, which from_scratch is not: leave one of them out")
        return self


class EarlyStopping(Section):
    """Stop after `patience` validations without a lower loss, and keep the best weights.

    The validation window is the `prediction_length` points before the test windows, or before the window on which the
    model to export is chosen.
    """

    every_steps: int = Field(100, ge=1)
    patience: int = Field(3, ge=1)


def _reports(value: Any) -> Any:
    names = one_or_more(value)
    if isinstance(names, list) and "mlflow" in names:
        raise ValueError("mlflow is not installed on the instance: import the run's metrics.jsonl where your server is")
    return names


Reports = Annotated[list[Literal["tensorboard"]], BeforeValidator(_reports)]


def _iso(value: Any) -> Any:
    """Accept a date without quotes, which YAML reads as one."""
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str):
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError("must be a time such as 2024-07-01 or 2024-07-01T12:00, or a number") from error
    return text


Cutoff = Annotated[str | int, BeforeValidator(_iso)]


class Training(Section):
    """Optimiser, schedule and batches. Defaults are those of `Chronos2Pipeline.fit` where it has them."""

    steps: int = Field(1000, ge=1)
    minutes: Number | None = Field(None, gt=0)
    """Ends the training of an attempt after this time, whatever its step; the model is then evaluated."""
    batch_size: int = Field(256, ge=1)
    """Rows per batch and process; every target and covariate of a series is a row."""
    gradient_accumulation: int = Field(1, ge=1)
    """Batches per step."""
    learning_rate: Number = Field(1e-6, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: Number = Field(0.0, ge=0)
    ema: Number | None = Field(None, gt=0, lt=1)
    """Decay per step of an exponential moving average of the weights, which replaces the last weights."""
    cutoff: Cutoff | None = None
    """No series is trained on points from this time on, such as 2024-07-01, whether it is evaluated or not. A number if
    times are numbers.
    """
    min_past: int | None = Field(None, ge=1)
    """Minimum points of history in a training window, `prediction_length` by default."""
    sampling: Literal["series", "length"] = "series"
    """`series`: every series equally often, as Chronos does; `length`: every window equally often."""
    weights: Annotated[dict[str, Weight], Field(default_factory=dict)]
    """Relative sampling weights by item pattern such as `shop-*`. The first match counts, 1 without a match."""
    precision: Precision = "auto"
    """`auto` chooses by the GPU's compute capability. Weights are always fp32."""
    processes: int | None = Field(None, ge=1)
    """Processes that train together, each with its own GPU and batches. One per GPU by default."""
    workers: int | None = Field(None, ge=0)
    """Data loader workers per process, by default 2 on a GPU and 0 on a CPU. They do not affect results."""
    seed: int = Field(0, ge=0, lt=2**31)
    checkpoint_steps: int = Field(500, ge=1)
    checkpoint_minutes: Number = Field(5.0, gt=0)
    """A checkpoint is written after whichever passes first."""
    early_stopping: EarlyStopping | None = None
    report_to: Annotated[Reports, Field(default_factory=list)]
    """`tensorboard`: event files with the numbers of metrics.jsonl."""


Baseline = Literal["auto_ets", "auto_theta"]


class Evaluation(Section):
    """Test windows: the last `windows` x `prediction_length` points of each series."""

    season_length: int = Field(1, ge=1)
    """Observations per season, for MASE and the seasonal naive forecast."""
    windows: int = Field(1, ge=1)
    """Rolling windows, `prediction_length` points apart; used neither for training nor for any choice."""
    series: str = "*"
    """Pattern of the items to evaluate, such as `shop-*`; the others are trained on to their end."""
    baselines: Annotated[list[Baseline], Field(default_factory=lambda: ["auto_ets", "auto_theta"])]
    """Statistical models, fitted to each series on the CPU."""
    baseline_series: int = Field(500, ge=1)
    """Maximum number of series they are fitted to: a random sample, on which all models are compared again."""


class TrainingEvaluation(Evaluation):
    """What a trained model is compared with, and which model is exported."""

    export: Literal["better", "trained"] = "better"
    """`better`: the trained model, base or champion, whichever has the lowest WQL on the window before the test.
    `trained`: always the trained model.
    """
    champion: Reference | None = None
    """The model in use so far, named like `model.base`: compared with, and exported if it is better."""


Ending = Literal["ok", "crash", "hang", "oom", "nan", "slow", "kill-agent", "freeze-agent", "keep-power"]


class Probe(Section):
    """The smoke test's trainer: learns nothing and ends as configured."""

    ending: Ending = "ok"
    steps: int = Field(20, ge=1)
    step_seconds: Number = Field(0.5, gt=0)
    checkpoint_steps: int = Field(10, ge=1)
    checkpoint_mb: int = Field(1, ge=1)
    """Size of each checkpoint; 1400 matches Chronos-2 with its optimiser."""


_BUILT_IN = ("chronos", "probe")
_CUSTOM_TRAINER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class TrainingConfig(Section):
    """Train a model, and compare it with others."""

    job: Literal["train"] = "train"
    trainer: str = "chronos"
    """`chronos`, `probe`, or a custom trainer as `module:Class`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to a custom trainer."""
    data: Data
    prediction_length: int = Field(ge=1)
    context_length: int = Field(2048, ge=1)
    model: Model = Field(default_factory=lambda: Model(base="amazon/chronos-2"))
    training: Annotated[Training, Field(default_factory=Training)]
    evaluation: Annotated[TrainingEvaluation, Field(default_factory=TrainingEvaluation)]
    probe: Annotated[Probe, Field(default_factory=Probe)]

    @property
    def custom_module(self) -> str | None:
        """The top-level module of a custom trainer; None for a built-in one."""
        return None if self.trainer in _BUILT_IN else re.split(r"[.:]", self.trainer)[0]

    @field_validator("trainer")
    @classmethod
    def _built_in_or_custom(cls, value: str) -> str:
        if value not in _BUILT_IN and not _CUSTOM_TRAINER.fullmatch(value):
            raise ValueError("must be chronos, probe, or your own class as module:Class")
        return value

    @model_validator(mode="after")
    def _options_need_a_custom_trainer(self) -> TrainingConfig:
        if self.options and self.custom_module is None:
            raise ValueError(f"options are for custom trainers: {self.trainer} has none")
        return self

    @model_validator(mode="after")
    def _only_a_probe_comes_to_harm(self) -> TrainingConfig:
        if self.probe.ending != "ok" and self.trainer != "probe":
            raise ValueError(f"probe.ending is for trainer probe, and this one is {self.trainer}")
        return self
