"""The split of a panel by time into training, stopping, selection and test windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agent.chronos.batching.held_out import HeldOutWindows, hold_out
from agent.chronos.batching.sampler import TrainingWindows, Weights
from agent.data.panel import Indices, Panel
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.held_out import choices, min_series_length
from chronos_ec2.job_config.jobs import EvaluateConfig
from chronos_ec2.job_config.schema import TrainingConfig


@dataclass(frozen=True, slots=True)
class Split:
    """Windows for training, early stopping, the choice of the model to export, and the test, in this order of time.

    Weights chosen on a window look better there than they are, so the choice among models is made on another one. Of
    the `evaluated` series, held-out windows have those that are long enough, with an observation in and before them.
    """

    training: TrainingWindows
    stopping: HeldOutWindows | None
    selection: HeldOutWindows | None
    test: HeldOutWindows
    evaluated: int

    @classmethod
    def of(cls, panel: Panel, config: TrainingConfig) -> Split:
        """The last windows are the test set, before which are one for the selection and one for stopping if needed.

        Raises:
            InvalidInput: no training window is left, or no observation is held out.
        """
        horizon, season, windows = config.prediction_length, config.evaluation.season_length, config.evaluation.windows
        named, test = held_out_for_test(panel, config)
        evaluated = test.series
        ends = panel.lengths.copy()
        ends[evaluated] = test.cutoffs[0]
        chosen: dict[str, HeldOutWindows | None] = {"stopping": None, "selection": None}
        for before, purpose in enumerate(choices(config), windows):
            held_out = hold_out(panel, horizon, 1, season, before=before, series=evaluated)
            ends[evaluated] = held_out.cutoffs[0]
            chosen[purpose] = with_observations(held_out, f"the {horizon} points for {purpose}")
        test = with_observations(test, f"its last {windows * horizon} points")
        if config.training.cutoff is not None:
            ends = np.minimum(ends, _points_before(panel, config.training.cutoff))
        min_past = config.training.min_past or horizon
        training = TrainingWindows(panel, ends, config.context_length, horizon, min_past)
        _check_not_empty(training, sampling_weights(panel, config))
        return cls(training, chosen["stopping"], chosen["selection"], test, len(named))


def held_out_for_test(panel: Panel, config: TrainingConfig | EvaluateConfig) -> tuple[Indices, HeldOutWindows]:
    """The series to evaluate, and the test windows of those that are long enough. Raises InvalidInput if none is."""
    named = _named_series(panel, config.evaluation.series)
    evaluated = _long_enough(panel, named, min_series_length(config))
    settings = config.evaluation
    return named, hold_out(panel, config.prediction_length, settings.windows, settings.season_length, series=evaluated)


def matching(panel: Panel, pattern: str) -> Indices:
    """The series whose names match a pattern, in order."""
    if pattern == "*":
        return np.arange(len(panel))
    items = panel.items.to_pylist()
    return np.array([position for position, item in enumerate(items) if fnmatchcase(item, pattern)], dtype=np.int64)


def sampling_weights(panel: Panel, config: TrainingConfig) -> Weights | None:
    """(S,) relative sampling weights; None if all are equal. Raises InvalidInput if all are zero."""
    patterns = config.training.weights
    if not patterns:
        return None

    def weight(item: str) -> float:
        return next((weight for pattern, weight in patterns.items() if fnmatchcase(item, pattern)), 1.0)

    weights = np.array([weight(item) for item in panel.items.to_pylist()])
    if not weights.any():
        problem = "leaves no series to train on: all weights are 0"
        raise InvalidInput("training.weights", problem, "give some series a weight above 0")
    return weights


def _check_not_empty(windows: TrainingWindows, weights: Weights | None) -> None:
    sampled = np.ones(len(windows.ends), dtype=bool) if weights is None else weights > 0
    if sampled[windows.usable].any():
        return
    needed, longest = windows.min_past + windows.horizon, windows.ends[sampled].max()
    problem = f"no series has {needed} points to train on before the held-out points; the longest has {longest}"
    raise InvalidInput("data.path", problem, "lower training.min_past, prediction_length or evaluation.windows")


def _named_series(panel: Panel, pattern: str) -> Indices:
    positions = matching(panel, pattern)
    if not len(positions):
        problem = f"{pattern!r} matches no series; the names look like {panel.items[0].as_py()!r}"
        raise InvalidInput("evaluation.series", problem, "use a pattern such as 'shop-*'")
    return positions


def _long_enough(panel: Panel, series: Indices, min_length: int) -> Indices:
    """The series that can be evaluated; the others are only trained on."""
    found = series[panel.lengths[series] >= min_length]
    if not len(found):
        problem = f"none of the {len(series)} series to evaluate has the {min_length} points that it needs"
        raise InvalidInput("evaluation.series", problem, "lower prediction_length or evaluation.windows")
    return found


def with_observations(windows: HeldOutWindows, where: str) -> HeldOutWindows:
    """The windows of the series that can be judged. Raises InvalidInput if there are none."""
    observed = windows.observed
    if observed.any():
        return windows.select(np.flatnonzero(observed))
    problem = f"none of the {len(observed)} series to evaluate has an observation in {where}, held out, and before them"
    remedy = "leave rows of the future, which have no target yet, out; or name other series in evaluation.series"
    raise InvalidInput("data.path", problem, remedy)


def _points_before(panel: Panel, cutoff: str | int) -> Indices:
    """(S,) points of each series before a time. Raises InvalidInput for one that the data's times do not have."""
    before: Indices = np.add.reduceat((panel.ticks < _tick(panel, cutoff)).astype(np.int64), panel.offsets[:-1])
    return before


def _tick(panel: Panel, cutoff: str | int) -> int:
    kind = panel.time_type
    if isinstance(cutoff, int) is not pa.types.is_integer(kind):
        raise InvalidInput("training.cutoff", f"{cutoff} is no time of the data", f"their times are {kind}")
    if isinstance(cutoff, int):
        return cutoff
    time = datetime.fromisoformat(cutoff)
    if time.tzinfo is not None and kind.tz is None:
        raise InvalidInput("training.cutoff", f"{cutoff} has a zone", "the data's times have none: leave it out")
    instant = pa.array([time], pa.timestamp("us", None if time.tzinfo is None else "UTC"))
    if time.tzinfo is None and kind.tz is not None:
        instant = pc.assume_timezone(instant, kind.tz)
    return int(instant.cast(kind, safe=False).cast(pa.int64())[0].as_py())
