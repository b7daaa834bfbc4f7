"""After training: forecasts of the held-out points by every model there is, and which of them is exported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.child import Metrics, StopSignal
from agent.training import baselines, gates, judgement, models
from agent.training.families import Family, family_of
from agent.training.forecasts import examples, number_or_none, write_forecasts
from agent.training.judgement import Errors, Held
from agent.training.naive import QUANTILES, Array
from agent.training.panel import Floats, Panel
from agent.training.report import plain, write_report
from agent.training.split import Split
from agent.workdir import Workdir
from chronos_ec2.training_config import TrainingConfig

_FORECAST_ROWS = 256
_RELOADED_SERIES = 16
_CAUTION = 1.5
_UPLOAD_SECONDS = 60.0


def judge(
    family: Family, split: Split, config: TrainingConfig, workdir: Workdir, metrics: Metrics, stop: StopSignal
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Forecast what was held out by every model there is, compare, and put the better one under `model/`.

    The whole evaluation, and what of it goes into the result.
    """
    panel, test = split.windows.panel, split.test
    evaluation = _Evaluation(panel, metrics, stop)
    ours = evaluation.forecasts(family, test)
    gates.forecasts_finite(ours)
    gates.same_after_reload(*evaluation.reloaded(family, workdir.model, test))
    naive = judgement.naive_forecasts(panel, test)
    found = {"trained": judgement.errors(test, ours), "seasonal_naive": judgement.errors(test, naive)}
    exported = "trained"
    for name, base in _rivals(config):
        rival = family_of(models.load(base, family.device), family.context, family.horizon)
        found[name] = judgement.errors(test, evaluation.forecasts(rival, test))
        if name == "base" and split.validation is not None and config.evaluation.export == "better":
            trained, other = (evaluation.wql(one, split.validation) for one in (family, rival))
            if not trained <= other:
                exported = name
                rival.save(workdir.model)
    verdict = judgement.verdict(found)
    document = {
        "exported": exported,
        "verdict": verdict,
        "models": judgement.table(found),
        "by_horizon": judgement.by_horizon(test, ours),
        "baselines": evaluation.baselines(config, test, found),
    }
    write_report(workdir.evaluation, document, found, panel.items.take(test.series).to_pylist())
    write_forecasts(workdir.forecasts, panel, test, config.data.target, ours, naive)
    return document, {
        "metrics": _flat(found, exported),
        "evaluation": plain({name: document[name] for name in ("exported", "verdict", "models", "baselines")}),
        "examples": examples(panel, test, ours, naive, judgement.series_mase(found["trained"])),
    }


def _rivals(config: TrainingConfig) -> Iterator[tuple[str, str]]:
    """The models that the trained one is compared with."""
    if config.model.base is not None:
        yield "base", config.model.base
    if config.evaluation.champion is not None:
        yield "champion", config.evaluation.champion


def _flat(found: dict[str, Errors], exported: str) -> dict[str, float | None]:
    """The exported model's scores under their own names, the others' with the model's name behind them."""
    flat = dict(judgement.scores(found[exported]))
    for name, errors in found.items():
        flat |= {f"{score}_{name}": value for score, value in judgement.scores(errors).items() if name != exported}
    return {name: number_or_none(value) for name, value in flat.items()}


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """Forecasts of held-out points, a batch at a time, each of which is a sign of work."""

    panel: Panel
    metrics: Metrics
    stop: StopSignal

    def forecasts(self, family: Family, held: Held) -> Floats:
        """(k, n, V, h, q). Raises StoppedEarly."""
        # Chronos-T5 draws its forecasts.
        torch.manual_seed(0)
        count = _parts(self.panel)
        total = len(held.cuts) * -(-len(held.series) // count)
        done, windows = 0, []
        for window in range(len(held.cuts)):
            found = []
            for part in held.parts(window, count):
                found.append(family.forecast(self.panel, part, QUANTILES))
                done += 1
                self.metrics.event("evaluating", done=done, total=total)
                self.stop.check()
            windows.append(np.concatenate(found))
        return np.stack(windows)

    def wql(self, family: Family, held: Held) -> float:
        """The weighted quantile loss of a model."""
        return judgement.scores(judgement.errors(held, self.forecasts(family, held)))["wql"]

    def baselines(self, config: TrainingConfig, held: Held, found: dict[str, Errors]) -> dict[str, Any] | None:
        """What `baselines.beside` finds in the time that there is; None when none are wanted. Raises StoppedEarly."""
        until = min(time.monotonic() + baselines.LONGEST_SECONDS, self.stop.ends_at - _UPLOAD_SECONDS)

        def go_on(done: int, total: int) -> bool:
            self.metrics.event("evaluating", what="baselines", done=done, total=total)
            self.stop.check()
            return time.monotonic() < until

        if not config.evaluation.baselines:
            return None
        return baselines.beside(self.panel, held, found, config.evaluation, go_on)

    def reloaded(self, family: Family, folder: Path, held: Held) -> tuple[Array, Array]:
        """The first forecasts by the model in memory and by the one on disk."""
        part = next(held.parts(0, _RELOADED_SERIES))
        both = []
        for one in (family, family_of(models.load(str(folder), family.device), family.context, family.horizon)):
            torch.manual_seed(0)
            both.append(one.forecast(self.panel, part, QUANTILES))
        return both[0], both[1]


def seconds_to_judge(family: Family, split: Split, config: TrainingConfig, stop: StopSignal) -> float:
    """Seconds to keep for forecasts by every model and for bringing the results to S3, by the time of a first batch."""
    test, panel = split.test, split.windows.panel
    began = time.monotonic()
    family.forecast(panel, next(test.parts(0, _parts(panel))), QUANTILES)
    batches = len(test.cuts) * -(-len(test.series) // _parts(panel)) + 1
    forecasts = (time.monotonic() - began) * batches * (1 + len(list(_rivals(config))))
    left = stop.ends_at - time.monotonic()
    fits = baselines.seconds_to_keep(panel, test, config.evaluation, left)
    return _CAUTION * (forecasts + fits) + _UPLOAD_SECONDS


def _parts(panel: Panel) -> int:
    """How many series are forecast at a time."""
    return max(1, _FORECAST_ROWS // panel.columns.all)
