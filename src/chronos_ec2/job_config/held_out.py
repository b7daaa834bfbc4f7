"""How many points a configuration holds out of each series, and what for."""

from __future__ import annotations

from typing import Literal

from chronos_ec2.job_config.jobs import EvaluateConfig, ForecastConfig, JobConfig
from chronos_ec2.job_config.schema import TrainingConfig

Choice = Literal["selection", "stopping"]


def choices(config: TrainingConfig) -> list[Choice]:
    """What is chosen on windows of its own, from the last window before the test set backwards."""
    has_reference = config.model.base is not None or config.evaluation.champion is not None
    found: list[Choice] = ["selection"] if has_reference and config.evaluation.export == "better" else []
    if config.training.early_stopping is not None:
        found.append("stopping")
    return found


def min_series_length(config: JobConfig) -> int:
    """Points a series needs to be evaluated: its held-out windows, and one horizon of history to forecast from.

    To be forecast it needs one.

    A series with these but without a training window is evaluated and not trained on; a shorter one is only trained on.
    """
    match config:
        case ForecastConfig():
            return 1
        case EvaluateConfig():
            chosen = 0
        case TrainingConfig():
            chosen = len(choices(config))
    return (1 + config.evaluation.windows + chosen) * config.prediction_length
