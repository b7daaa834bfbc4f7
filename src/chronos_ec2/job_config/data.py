"""The part of a training configuration that describes the data set."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from chronos_ec2.job_config.frequency import length_of

LARGEST = 2**31 - 1
"""No number of a configuration is larger, but times that are numbers."""


class Section(BaseModel):
    """A part of a configuration: unknown keys are refused, values are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, int | float) and value > LARGEST and info.field_name != "cutoff":
            raise ValueError(f"must be at most {LARGEST}")
        return value


def one_or_more(value: Any) -> Any:
    """A list, also of a single text."""
    return [value] if isinstance(value, str) else value


_OUTPUT_COLUMN = re.compile(r"target|target_name|predictions|seasonal_naive|0?\.\d+|(mase|wql)_.+")

Columns = Annotated[list[str], BeforeValidator(one_or_more)]


class Problems(Section):
    """What to do about bad data. `refuse` ends the run and reports counts and examples."""

    duplicates: Literal["refuse", "drop"] = "refuse"
    """Times that occur twice in a series; `drop` keeps the last row."""
    gaps: Literal["fill", "refuse", "ignore"] = "fill"
    """Missing times; `fill` inserts missing observations, `ignore` treats rows as adjacent.

    Only `ignore` accepts times without a common step, and series with different steps.
    """
    short: Literal["train", "refuse", "drop"] = "train"
    """Series with fewer than `prediction_length` points before the held-out ones; `train` trains on them if they have
    a training window, and does not evaluate them."""
    empty: Literal["refuse", "drop"] = "refuse"
    """Series whose targets are all missing or all the same number."""
    infinite: Literal["refuse", "fill"] = "refuse"
    """Infinite values; `fill` treats them as missing."""
    zones: Literal["refuse", "utc"] = "refuse"
    """Files with times in different zones; `utc` treats times as instants, those without a zone as UTC."""


class Data(Section):
    """The data set: long-format Parquet, one row per series and time."""

    path: str
    """Prefix or key below `cached-datasets/ENVIRONMENT/`, such as `training-data/m3-monthly/`."""
    item_id: Annotated[Columns, Field(default_factory=lambda: ["item_id"], min_length=1)]
    """The column that names the series, or several, such as store and product; folders named NAME=VALUE are columns."""
    timestamp: str = "timestamp"
    target: Annotated[Columns, Field(default_factory=lambda: ["target"], min_length=1)]
    """One column, or several that are forecast together."""
    past_covariates: Annotated[Columns, Field(default_factory=list)]
    """Columns known only up to the forecast; numbers, or categories as text."""
    known_covariates: Annotated[Columns, Field(default_factory=list)]
    """Columns also known for the forecast points, such as holidays and prices."""
    frequency: str | None = None
    """The step the data must have: an ISO 8601 duration such as PT30M, or a pandas alias such as 30min, D, W or MS."""
    problems: Annotated[Problems, Field(default_factory=Problems)]

    @property
    def values(self) -> tuple[str, ...]:
        """Value columns in Chronos-2's row order: targets, past covariates, known covariates."""
        return (*self.target, *self.past_covariates, *self.known_covariates)

    @model_validator(mode="after")
    def _no_duplicate_columns(self) -> Data:
        columns = (*self.item_id, self.timestamp, *self.values)
        if duplicates := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
            raise ValueError(f"column {duplicates[0]!r} is named twice")
        return self

    @model_validator(mode="after")
    def _no_column_of_the_outputs(self) -> Data:
        """Items and times keep their names in forecasts and scores, beside columns of those."""
        for name in (*self.item_id, self.timestamp):
            if _OUTPUT_COLUMN.fullmatch(name):
                raise ValueError(f"column {name!r} has the name of a column of the forecasts or scores: rename it")
        return self

    @model_validator(mode="after")
    def _frequency_needs_a_common_step(self) -> Data:
        if self.frequency is not None and self.problems.gaps == "ignore":
            raise ValueError("frequency needs a common step, problems.gaps: ignore does without: leave one of them out")
        return self

    @field_validator("frequency")
    @classmethod
    def _known_frequency(cls, value: str | None) -> str | None:
        if value is not None and length_of(value) is None:
            raise ValueError(
                "must be an ISO 8601 duration such as PT30M, P1D or P1M, or a pandas alias such as 30min, D, W or MS"
            )
        return value

    @field_validator("path")
    @classmethod
    def _relative(cls, value: str) -> str:
        if not value or value.startswith("/") or ".." in PurePosixPath(value).parts or "://" in value:
            raise ValueError("must be a path below cached-datasets/ENVIRONMENT/, such as training-data/m3-monthly/")
        return value
