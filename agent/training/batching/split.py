"""What is trained on, what is chosen by, what is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from agent.data.panel import Indices, Panel
from agent.training.batching.sampler import Weights, Windows
from agent.training.evaluate import metrics as scoring
from agent.training.evaluate.metrics import Held
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.schema import TrainingConfig


@dataclass(frozen=True, slots=True)
class Split:
    """What is trained on, what is chosen by, what is judged by: three pieces of each series, in this order of time."""

    windows: Windows
    validation: Held | None
    test: Held

    @classmethod
    def of(cls, panel: Panel, config: TrainingConfig) -> Split:
        """The last windows are for the test; the one before them for validation, when anything is chosen at all.

        Raises:
            InvalidInput: nothing is left to train on, or nothing is judged.
        """
        horizon, season = config.prediction_length, config.evaluation.season_length
        judged = _judged(panel, config.evaluation.series)
        test = scoring.hold_out(panel, horizon, config.evaluation.windows, season).of(judged)
        ends, validation = panel.lengths.copy(), None
        ends[judged] = test.cuts[0]
        if _chooses(config):
            ends[judged] -= horizon
            validation = scoring.hold_out(panel, horizon, 1, season, before=config.evaluation.windows).of(judged)
        past = config.training.min_past or horizon
        windows = Windows(panel, ends, config.context_length, horizon, past)
        _check_any(windows, weights_of(panel, config))
        return cls(windows, validation, test)


def weights_of(panel: Panel, config: TrainingConfig) -> Weights | None:
    """(S,) how often each series is drawn; None when all are drawn alike. Raises InvalidInput."""
    patterns = config.training.weights
    if not patterns:
        return None

    def weight(item: str) -> float:
        return next((weight for pattern, weight in patterns.items() if fnmatchcase(item, pattern)), 1.0)

    weights = np.array([weight(item) for item in panel.items.to_pylist()])
    if not weights.any():
        raise InvalidInput("training.weights", "leaves no series to train on: all weights are 0")
    return weights


def _check_any(windows: Windows, weights: Weights | None) -> None:
    """Refuse data that leave nothing to train on."""
    drawn = np.ones(len(windows.ends), dtype=bool) if weights is None else weights > 0
    if drawn[windows.usable].any():
        return
    need, longest = windows.min_past + windows.horizon, windows.ends[drawn].max()
    problem = f"no series has {need} points to train on before what is held out; the longest has {longest}"
    raise InvalidInput("data.path", problem, "lower training.min_past, prediction_length or evaluation.windows")


def _judged(panel: Panel, pattern: str) -> Indices:
    """The series whose names match."""
    places = [place for place, item in enumerate(panel.items.to_pylist()) if fnmatchcase(item, pattern)]
    if not places:
        problem = f"{pattern!r} matches no series, which are named like {panel.items[0].as_py()!r}"
        raise InvalidInput("evaluation.series", problem, "it is a pattern like 'shop-*'")
    return np.array(places)


def _chooses(config: TrainingConfig) -> bool:
    references = config.model.base is not None or config.evaluation.champion is not None
    return (references and config.evaluation.export == "better") or config.training.early_stopping is not None


def shortest(config: TrainingConfig) -> int:
    """Points that a series needs to be judged: a horizon to forecast from, and what is held out.

    One that has no training window besides is judged all the same: `Windows` passes it over.
    """
    held = config.evaluation.windows + (1 if _chooses(config) else 0)
    return (1 + held) * config.prediction_length
