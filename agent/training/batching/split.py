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
    """Training, validation and test windows, in this order of time within each series.

    Of the `evaluated` series, `test` and `validation` have those that are long enough, with an observation in and
    before these windows.
    """

    training: TrainingWindows
    validation: HeldOutWindows | None
    test: HeldOutWindows
    evaluated: int

    @classmethod
    def of(cls, panel: Panel, config: TrainingConfig) -> Split:
        """The last windows are the test set; the one before is the validation set if anything is selected by it.

        Raises:
            InvalidInput: no training window is left, or no observation is held out.
        """
        horizon, season, windows = config.prediction_length, config.evaluation.season_length, config.evaluation.windows
        named = _named_series(panel, config.evaluation.series)
        evaluated = _long_enough(panel, named, min_series_length(config))
        test = hold_out(panel, horizon, windows, season, series=evaluated)
        ends, validation = panel.lengths.copy(), None
        ends[evaluated] = test.cutoffs[0]
        if _needs_validation(config):
            ends[evaluated] -= horizon
            validation = hold_out(panel, horizon, 1, season, before=windows, series=evaluated)
            validation = _with_observations(validation, f"the {horizon} points before the test windows")
        test = _with_observations(test, f"its last {windows * horizon} points")
        min_past = config.training.min_past or horizon
        training = TrainingWindows(panel, ends, config.context_length, horizon, min_past)
        _check_not_empty(training, sampling_weights(panel, config))
        return cls(training, validation, test, len(named))


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


def _named_series(panel: Panel, pattern: str) -> Indices:
    items = panel.items.to_pylist()
    positions = [position for position, item in enumerate(items) if fnmatchcase(item, pattern)]
    if not positions:
        problem = f"{pattern!r} matches no series; the names look like {items[0]!r}"
        raise InvalidInput("evaluation.series", problem, "use a pattern such as 'shop-*'")
    return np.array(positions)


def _long_enough(panel: Panel, series: Indices, min_length: int) -> Indices:
    """The series that can be evaluated; the others are only trained on."""
    found = series[panel.lengths[series] >= min_length]
    if not len(found):
        problem = f"none of the {len(series)} series to evaluate has the {min_length} points that it needs"
        raise InvalidInput("evaluation.series", problem, "lower prediction_length or evaluation.windows")
    return found


def _with_observations(windows: HeldOutWindows, where: str) -> HeldOutWindows:
    """The windows of the series that can be judged. Raises InvalidInput if there are none."""
    observed = windows.observed
    if observed.any():
        return windows.select(np.flatnonzero(observed))
    problem = f"none of the {len(observed)} series to evaluate has an observation in {where}, held out, and before them"
    remedy = "leave rows of the future, which have no target yet, out; or name other series in evaluation.series"
    raise InvalidInput("data.path", problem, remedy)


def _needs_validation(config: TrainingConfig) -> bool:
    """Whether the model to export, or the step to stop at, is selected on a validation window."""
    has_reference = config.model.base is not None or config.evaluation.champion is not None
    return (has_reference and config.evaluation.export == "better") or config.training.early_stopping is not None
