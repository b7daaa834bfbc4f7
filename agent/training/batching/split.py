"""The split of a panel by time into training, validation and test windows."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from agent.data.panel import Indices, Panel
from agent.training.batching.held_out import HeldOutWindows, hold_out
from agent.training.batching.sampler import TrainingWindows, Weights
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.schema import TrainingConfig


@dataclass(frozen=True, slots=True)
class Split:
    """Training, validation and test windows, in this order of time within each series."""

    training: TrainingWindows
    validation: HeldOutWindows | None
    test: HeldOutWindows

    @classmethod
    def of(cls, panel: Panel, config: TrainingConfig) -> Split:
        """The last windows are the test set; the one before is the validation set if anything is selected by it.

        Raises:
            InvalidInput: no training window is left, or no series is evaluated.
        """
        horizon, season = config.prediction_length, config.evaluation.season_length
        evaluated = _evaluated_series(panel, config.evaluation.series, min_series_length(config))
        test = hold_out(panel, horizon, config.evaluation.windows, season).select(evaluated)
        ends, validation = panel.lengths.copy(), None
        ends[evaluated] = test.cutoffs[0]
        if _needs_validation(config):
            ends[evaluated] -= horizon
            validation = hold_out(panel, horizon, 1, season, before=config.evaluation.windows).select(evaluated)
        min_past = config.training.min_past or horizon
        windows = TrainingWindows(panel, ends, config.context_length, horizon, min_past)
        _check_not_empty(windows, sampling_weights(panel, config))
        return cls(windows, validation, test)


def sampling_weights(panel: Panel, config: TrainingConfig) -> Weights | None:
    """(S,) relative sampling weights; None if all are equal. Raises InvalidInput if all are zero."""
    patterns = config.training.weights
    if not patterns:
        return None

    def weight(item: str) -> float:
        return next((weight for pattern, weight in patterns.items() if fnmatchcase(item, pattern)), 1.0)

    weights = np.array([weight(item) for item in panel.items.to_pylist()])
    if not weights.any():
        raise InvalidInput("training.weights", "leaves no series to train on: all weights are 0")
    return weights


def min_series_length(config: TrainingConfig) -> int:
    """Points a series needs to be evaluated: its held-out windows, and one horizon of history to forecast from.

    A series with these but without a training window is evaluated and not trained on; a shorter one is only trained on.
    """
    held_out = config.evaluation.windows + (1 if _needs_validation(config) else 0)
    return (1 + held_out) * config.prediction_length


def _check_not_empty(windows: TrainingWindows, weights: Weights | None) -> None:
    sampled = np.ones(len(windows.ends), dtype=bool) if weights is None else weights > 0
    if sampled[windows.usable].any():
        return
    needed, longest = windows.min_past + windows.horizon, windows.ends[sampled].max()
    problem = f"no series has {needed} points to train on before the held-out points; the longest has {longest}"
    raise InvalidInput("data.path", problem, "lower training.min_past, prediction_length or evaluation.windows")


def _evaluated_series(panel: Panel, pattern: str, min_length: int) -> Indices:
    """The series of the pattern that are long enough to be evaluated; the others are only trained on."""
    items = panel.items.to_pylist()
    named = np.array([fnmatchcase(item, pattern) for item in items])
    if not named.any():
        problem = f"{pattern!r} matches no series; the names look like {items[0]!r}"
        raise InvalidInput("evaluation.series", problem, "use a pattern such as 'shop-*'")
    found = np.flatnonzero(named & (panel.lengths >= min_length))
    if not len(found):
        problem = f"none of the {int(named.sum())} series of {pattern!r} has the {min_length} points that it needs"
        raise InvalidInput("evaluation.series", problem, "lower prediction_length or evaluation.windows")
    return found


def _needs_validation(config: TrainingConfig) -> bool:
    """Whether the model to export, or the step to stop at, is selected on a validation window."""
    has_reference = config.model.base is not None or config.evaluation.champion is not None
    return (has_reference and config.evaluation.export == "better") or config.training.early_stopping is not None
