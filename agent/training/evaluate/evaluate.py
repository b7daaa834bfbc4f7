"""After training: forecasts of the held-out points by every model there is, and which of them is exported."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.data.panel import Floats, Panel
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from agent.training.batching.split import Split
from agent.training.evaluate import acceptance, statistical
from agent.training.evaluate import metrics as scoring
from agent.training.evaluate.forecast_table import examples, number_or_none, write_forecasts
from agent.training.evaluate.metrics import Errors, Held
from agent.training.evaluate.predict import Forecaster, release
from agent.training.evaluate.reference_models import reference_models
from agent.training.evaluate.report import plain, write_report
from agent.training.evaluate.time_budget import UPLOAD_SECONDS
from agent.training.model.families import Family
from chronos_ec2.training_config.schema import TrainingConfig


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model that is exported: its name, its family, and its forecasts of the held-out points."""

    name: str
    family: str
    forecasts: Floats


@dataclass(frozen=True, slots=True)
class Judged:
    """Every model's errors by name, and its scores by the points ahead."""

    held: Held
    errors: dict[str, Errors] = field(default_factory=dict)
    by_horizon: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def add(self, name: str, forecasts: Floats) -> None:
        """One model more."""
        self.errors[name] = scoring.errors(self.held, forecasts)
        self.by_horizon[name] = scoring.by_horizon(self.held, forecasts)

    @property
    def compared(self) -> dict[str, dict[str, Any]]:
        """The trained model against each other one."""
        ours = self.errors["trained"]
        return {name: scoring.compare(ours, theirs) for name, theirs in self.errors.items() if name != "trained"}


def judge(
    family: Family, split: Split, config: TrainingConfig, workdir: Workdir, metrics: Metrics, stop: StopSignal
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Forecast what was held out by every model there is, compare, and put the best one under `model/`.

    The files with forecasts, and the pictures, are of the model that is exported. Returns the whole evaluation, and
    what of it goes into the result.
    """
    panel, test = split.windows.panel, split.test
    forecaster, judged = Forecaster(panel, metrics, stop), Judged(test)
    ours, naive = forecaster.forecasts(family, test), scoring.naive_forecasts(panel, test)
    acceptance.forecasts_finite(ours)
    acceptance.same_after_reload(*forecaster.reloaded(family, workdir.model, test))
    judged.add("trained", ours)
    judged.add("seasonal_naive", naive)
    chosen = _choose(family, ours, split, config, workdir.model, forecaster, judged)
    compared = judged.compared
    document = {
        "exported": chosen.name,
        "family": chosen.family,
        "verdict": scoring.verdict(compared),
        "models": scoring.table(judged.errors),
        "trained_less": scoring.differences(compared),
        "by_horizon": judged.by_horizon,
        "baselines": _baselines(panel, config, test, judged.errors, metrics, stop),
    }
    write_report(workdir.evaluation, document, judged.errors, panel.items.take(test.series).to_pylist())
    write_forecasts(workdir.forecasts, panel, test, config.data.target, chosen.forecasts, naive)
    mase = scoring.series_mase(judged.errors[chosen.name])
    parts = ("exported", "verdict", "models", "trained_less", "baselines")
    return document, {
        "metrics": _flat(judged.errors, chosen.name),
        "evaluation": plain({name: document[name] for name in parts}),
        "examples": examples(panel, test, _label(chosen), chosen.forecasts, naive, mase),
    }


def _choose(
    family: Family,
    ours: Floats,
    split: Split,
    config: TrainingConfig,
    folder: Path,
    forecaster: Forecaster,
    judged: Judged,
) -> Chosen:
    """Meet every rival. One that is better on the validation window takes the trained model's place in the folder."""
    chosen, least = Chosen("trained", family.name, ours), math.nan
    references = reference_models(config)
    validation = split.validation if references and config.evaluation.export == "better" else None
    if validation is not None:
        least = forecaster.wql(family, validation)
    for reference in references:
        other = reference.load(family.device, family.horizon, fetched=True)
        theirs = forecaster.forecasts(other, split.test)
        judged.add(reference.name, theirs)
        if validation is not None:
            wql = forecaster.wql(other, validation)
            # Nothing speaks for a model without a number: what there was before it is kept.
            if wql < least or math.isnan(least):
                chosen, least = Chosen(reference.name, other.name, theirs), wql
                shutil.rmtree(folder)
                other.save(folder)
        del other
        release()
    return chosen


def _label(chosen: Chosen) -> str:
    """Under which name a picture has it."""
    return chosen.family if chosen.name == "trained" else f"{chosen.family} ({chosen.name})"


def _flat(found: dict[str, Errors], exported: str) -> dict[str, float | None]:
    """The exported model's scores under their own names, the others' with the model's name behind them."""
    flat = dict(scoring.scores(found[exported]))
    for name, errors in found.items():
        flat |= {f"{score}_{name}": value for score, value in scoring.scores(errors).items() if name != exported}
    return {name: number_or_none(value) for name, value in flat.items()}


def _baselines(
    panel: Panel, config: TrainingConfig, held: Held, found: dict[str, Errors], metrics: Metrics, stop: StopSignal
) -> dict[str, Any] | None:
    """What `statistical.beside` finds in the time that there is; None when none are wanted. Raises StoppedEarly."""
    until = min(time.monotonic() + statistical.LONGEST_SECONDS, stop.ends_at - UPLOAD_SECONDS)

    def go_on(done: int, total: int) -> bool:
        metrics.event("evaluating", what="baselines", done=done, total=total)
        stop.check()
        return time.monotonic() < until

    if not config.evaluation.baselines:
        return None
    return statistical.beside(panel, held, found, config.evaluation, go_on)
