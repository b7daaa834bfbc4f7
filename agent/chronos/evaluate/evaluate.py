"""Evaluation after training: forecast the test windows with every model, compare, and export the best one."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.chronos.batching.held_out import HeldOutWindows
from agent.chronos.batching.split import Split
from agent.chronos.evaluate import acceptance, statistical
from agent.chronos.evaluate.forecast_table import examples, ids_of, number_or_none, write_forecasts
from agent.chronos.evaluate.metrics import Errors, by_horizon, errors, scores, series_mase, table, undefined
from agent.chronos.evaluate.predict import Forecaster, free_memory
from agent.chronos.evaluate.reference_models import ReferenceModel
from agent.chronos.evaluate.report import without_nan, write_report
from agent.chronos.evaluate.seasonal_naive import naive_forecasts
from agent.chronos.evaluate.significance import Comparison, compare, documents, verdict
from agent.chronos.evaluate.time_budget import UPLOAD_SECONDS
from agent.chronos.model.families import Family
from agent.data.panel import Floats
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import StopSignal
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.schema import TrainingConfig


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """The model to export: its name in reports, its family, and its forecasts of the test windows."""

    name: str
    family: str
    forecasts: Floats

    @property
    def title(self) -> str:
        """Its name in plots."""
        return self.family if self.name == "trained" else f"{self.family} ({self.name})"


@dataclass(frozen=True, slots=True)
class EvaluatedModels:
    """The errors of every model by name, and its scores by forecast step."""

    test: HeldOutWindows
    errors: dict[str, Errors] = field(default_factory=dict)
    by_horizon: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def add(self, name: str, forecasts: Floats) -> None:
        """Add a model's forecasts of the test windows."""
        self.errors[name] = errors(self.test, forecasts)
        self.by_horizon[name] = by_horizon(self.test, forecasts)

    def compare(self, ours: str = "trained") -> dict[str, Comparison]:
        """A model against each other one."""
        found, origins = self.errors[ours], self.test.origins
        return {name: compare(found, other, origins) for name, other in self.errors.items() if name != ours}


def evaluate(
    family: Family,
    references: Sequence[ReferenceModel],
    split: Split,
    config: TrainingConfig,
    workdir: Workdir,
    forecaster: Forecaster,
    fits: statistical.Fits,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Forecast the test windows with every model, compare them, and put the best one under `model/`.

    Forecast files and plots are those of the exported model. Returns the evaluation document, and the part of it that
    goes into the result.
    """
    panel, test = split.training.panel, split.test
    models = EvaluatedModels(test)
    found = forecast_models(family, references, split, forecaster)
    _, _, trained, chosen = next(found)
    naive = naive_forecasts(panel, test)
    acceptance.forecasts_finite(trained)
    acceptance.same_after_reload(*forecaster.forecast_reloaded(family, workdir.model, test))
    models.add("trained", trained)
    models.add("seasonal_naive", naive)
    exported, lowest = ExportedModel("trained", family.name, trained), _wql(split, chosen)
    selection = {} if split.selection is None else {"trained": lowest}
    for name, model, forecasts, chosen in found:
        models.add(name, forecasts)
        wql = _wql(split, chosen)
        # A trained model without a WQL has no claim to replace the reference.
        if split.selection is not None:
            selection[name] = wql
        if chosen is not None and (wql < lowest or math.isnan(lowest)):
            exported, lowest = ExportedModel(name, model.name, forecasts), wql
            shutil.rmtree(workdir.model)
            model.save(workdir.model)
        # The next one is loaded when this one has left the GPU's memory.
        del model
    comparisons = models.compare()
    document = {
        "exported": exported.name,
        "family": exported.family,
        "series": {"judged": len(test.series), "of": split.evaluated},
        "windows": len(test.cutoffs),
        "findings": [one["problem"] for one in panel.findings],
        "verdict": verdict(comparisons, len(test.cutoffs)),
        "models": table(models.errors),
        "selection": selection,
        "undefined": undefined(test),
        "trained_minus": documents(comparisons),
        "by_horizon": models.by_horizon,
        "baselines": fitted_baselines(fits, test, models.errors, forecaster.metrics, forecaster.stop),
    }
    write_forecasts(workdir.forecasts, panel, test, config.data, exported.forecasts, naive)
    write_report(workdir.evaluation, document, models.errors, ids_of(panel, test.series))
    mase = series_mase(models.errors[exported.name])
    keys = ("exported", "series", "verdict", "models", "selection", "undefined", "trained_minus", "baselines")
    return document, {
        "metrics": flat_scores(models.errors, exported.name),
        "evaluation": without_nan({name: document[name] for name in keys}),
        "examples": examples(panel, test, exported.title, exported.forecasts, naive, mase),
    }


def forecast_models(
    family: Family, references: Sequence[ReferenceModel], split: Split, forecaster: Forecaster
) -> Iterator[tuple[str, Family, Floats, Floats | None]]:
    """Each model by name, the trained one first, with its forecasts of the test windows and of those for selection.

    With several processes each of them goes through all models; only rank 0 gets the forecasts.
    """

    def both(model: Family) -> tuple[Floats, Floats | None]:
        test = forecaster.forecast(model, split.test)
        return test, None if split.selection is None else forecaster.forecast(model, split.selection)

    yield "trained", family, *both(family)
    for reference in references:
        model = reference.load(family, cached=True)
        yield reference.name, model, *both(model)
        del model
        free_memory()


def _wql(split: Split, forecasts: Floats | None) -> float:
    """Of forecasts of the windows for selection; NaN without any."""
    if split.selection is None or forecasts is None:
        return math.nan
    return scores(errors(split.selection, forecasts))["wql"]


def flat_scores(models: dict[str, Errors], exported: str) -> dict[str, float | None]:
    """The exported model's scores by name, those of the others with the model's name as a suffix."""
    flat = dict(scores(models[exported]))
    for name, found in models.items():
        flat |= {f"{score}_{name}": value for score, value in scores(found).items() if name != exported}
    return {name: number_or_none(value) for name, value in flat.items()}


def fitted_baselines(
    fits: statistical.Fits,
    test: HeldOutWindows,
    models: dict[str, Errors],
    metrics: Metrics,
    stop: StopSignal,
    ours: str = "trained",
) -> dict[str, Any] | None:
    """The statistical baselines as far as they are fitted in time; None if none are configured.

    After a SIGTERM those that are fitted count: the evaluation is complete without the others.
    """
    if not len(fits.sample):
        return None
    reported = -1

    def may_continue(done: int, total: int) -> bool:
        nonlocal reported
        if done > reported:
            metrics.event("evaluating", what="baselines", done=done, total=total)
            reported = done
        return not stop.asked

    evaluated = time.monotonic()
    until = min(fits.began + statistical.MAX_SECONDS, stop.ends_at - UPLOAD_SECONDS)
    done = fits.collect(until, may_continue)
    waited = {"seconds_after_evaluation": round(time.monotonic() - evaluated, 1)}
    return statistical.compare_baselines(fits, done, test, models, ours) | waited
