"""Train a Chronos model and judge it on points that it has not seen. The trainer's process, from top to bottom."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos.chronos2 import Chronos2Model
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from agent.child import Metrics, StopSignal, write_json
from agent.hashing import sha256_of
from agent.training import baselines, block_attention, gates, judgement, models, ranks
from agent.training.engine import Work, fit
from agent.training.families import Batch, Family, family_of
from agent.training.forecasts import examples, number_or_none, write_forecasts
from agent.training.judgement import Errors, Held
from agent.training.naive import QUANTILES, Array
from agent.training.panel import Floats, Indices, Panel, open_panel
from agent.training.parquet import read_panel
from agent.training.ranks import Place
from agent.training.report import plain, write_model_card, write_report
from agent.training.spacing import frequency_of
from agent.training.windows import Sampler, Windows
from agent.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config import TrainingConfig

BLOCK = "block"
"""Group attention in blocks; the library's own is `stock`."""
_FORECAST_ROWS = 256
_RELOADED_SERIES = 16
_CAUTION = 1.5
_UPLOAD_SECONDS = 60.0
_NOT_COMPARED: Any = {"probe": True, "training": {"workers", "processes", "report_to"}}
_LIBRARIES = ("torch", "chronos-forecasting", "transformers")


def run(workdir: Workdir, config: TrainingConfig, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Train, judge, save. Leaves `model/`, `eval/`, `forecasts.parquet` and checkpoints; returns the result.

    Raises:
        InvalidInput: what the configuration names cannot be used, or the trained model fails a gate.
        StoppedEarly: SIGTERM came outside the training loop.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = Place(0, ranks.how_many(config.training.processes, device))
    ranks.share_cores(place.count)
    started = time.monotonic()
    metrics.event("loading", what="data", device=device)
    data_sha256, panel = load_panel(workdir, config)
    stop.check()
    metrics.event("loading", what="model", series=len(panel))
    family, split, work = ready(config, panel, data_sha256, device, place)
    attention = _speed_up(family, work)
    metrics.event("loading", what="training", attention=attention, processes=place.count)
    reserve = _time_to_judge(family, split, config, stop)
    tensorboard = workdir.tensorboard if "tensorboard" in config.training.report_to else None
    work = replace(work, stop_at=stop.ends_at - reserve, tensorboard=tensorboard)
    stop.check()
    facts = _facts(family, panel, config, attention, work.precision)
    write_json(workdir.facts, facts)
    loaded = time.monotonic()
    before = gates.sample_of(family.model)
    # They read what lies on the disk by now: the panel, and the base's weights.
    peer = [sys.executable, "-m", "agent.training.peer", "--workdir", str(workdir.root), "--data", data_sha256]
    with ranks.leading(place.count, [*peer, "--attention", attention]):
        trained = fit(work, workdir.checkpoints, metrics, stop)
    result: dict[str, Any] = {
        "stopped_early": not trained.complete,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "resumed_from": trained.resumed_from,
        "stopped_by": trained.stopped_by,
        "parts": trained.parts,
        "processes": place.count,
        **facts,
        "seconds": {"loading": round(loaded - started, 3), "training": round(time.monotonic() - loaded, 3)},
    }
    if result["stopped_early"]:
        return result
    gates.weights_changed(before, gates.sample_of(family.model))
    evaluated = time.monotonic()
    _finish(family, config, workdir.model)
    document, judged = _judge(family, split, config, workdir, metrics, stop)
    write_model_card(workdir.model, config.model.base or "", family.name, document, data_sha256)
    result |= judged
    result["seconds"]["evaluation"] = round(time.monotonic() - evaluated, 3)
    return result


def _facts(family: Family, panel: Panel, config: TrainingConfig, attention: str, precision: str) -> dict[str, Any]:
    """What is known before the first step, for run.json."""
    weights = list(family.model.parameters())
    return {
        "family": family.name,
        "attention": attention,
        "device": family.device,
        "precision": precision,
        "seeds": {"training": config.training.seed},
        "base": None if config.model.base is None else models.origin(config.model.base, family.base_model),
        "series": len(panel),
        "frequency": frequency_of(panel),
        "observations": int(sum(np.isfinite(row).sum() for row in panel.values[: panel.columns.targets])),
        "parameters": sum(weight.numel() for weight in weights),
        "parameters_trained": sum(weight.numel() for weight in weights if weight.requires_grad),
    }


def ready(
    config: TrainingConfig, panel: Panel, data_sha256: str, device: str, place: Place
) -> tuple[Family, Split, Work]:
    """The model to train, what it is trained on, and the work of the training loop. Raises InvalidInput."""
    set_seed(config.training.seed)
    family = models.starting_family(config, device, fetched=place.rank > 0)
    if config.model.lora is not None:
        models.adapt(family, config.model.lora)
    split = Split.of(panel, config)
    return family, split, prepare(family, split, config, device, data_sha256, place)


def load_panel(workdir: Workdir, config: TrainingConfig) -> tuple[str, Panel]:
    """The hash of the data set, and the data set; opened when it was read on this box before."""
    files = sorted(workdir.data.rglob("*.parquet"))
    settings = {"data": config.data.model_dump(), "shortest": shortest(config)}
    hashes = [sha256_of(path) for path in files]
    data = hashlib.sha256(json.dumps([settings, hashes], sort_keys=True).encode()).hexdigest()
    folder = panel_folder(workdir, data)
    try:
        return data, open_panel(folder)
    except FileNotFoundError:
        return data, read_panel(files, config.data, shortest(config), folder)


def panel_folder(workdir: Workdir, data_sha256: str) -> Path:
    """Where the data set of this hash is kept as memory maps."""
    return workdir.panels / data_sha256[:16]


@dataclass(frozen=True, slots=True)
class Split:
    """What is trained on, what is chosen by, what is judged by: three pieces of each series, in this order of time."""

    windows: Windows
    validation: Held | None
    test: Held

    @classmethod
    def of(cls, panel: Panel, config: TrainingConfig) -> Split:
        """The last windows are for the test; the one before them for validation, when anything is chosen at all."""
        horizon, season = config.prediction_length, config.evaluation.season_length
        judged = _judged(panel, config.evaluation.series)
        test = judgement.hold_out(panel, horizon, config.evaluation.windows, season).of(judged)
        ends, validation = panel.lengths.copy(), None
        ends[judged] = test.cuts[0]
        if _chooses(config):
            ends[judged] -= horizon
            validation = judgement.hold_out(panel, horizon, 1, season, before=config.evaluation.windows).of(judged)
        past = config.training.min_past or horizon
        return cls(Windows(panel, ends, config.context_length, horizon, past), validation, test)


def _judged(panel: Panel, pattern: str) -> Indices:
    """The series whose names match."""
    places = [place for place, item in enumerate(panel.items.to_pylist()) if fnmatchcase(item, pattern)]
    if not places:
        problem = f"{pattern!r} matches no series, which are named like {panel.items[0].as_py()!r}"
        raise InvalidInput("evaluation.series", problem, "it is a pattern like 'shop-*'")
    return np.array(places)


def _chooses(config: TrainingConfig) -> bool:
    exports = config.model.base is not None and config.evaluation.export == "better"
    return exports or config.training.early_stopping is not None


def shortest(config: TrainingConfig) -> int:
    """Points that a series needs: a past and a horizon to train on, and what is held out."""
    held = config.evaluation.windows + (1 if _chooses(config) else 0)
    return (config.training.min_past or config.prediction_length) + (1 + held) * config.prediction_length


def prepare(family: Family, split: Split, config: TrainingConfig, device: str, data_sha256: str, place: Place) -> Work:
    """The work of the training loop. Batches are functions of seed, number and rank; validation's are dealt out."""
    settings, panel = config.training, split.windows.panel
    count = max(1, -(-settings.batch_size // family.rows(panel.columns)))
    sampler = Sampler(split.windows, count, settings.sampling, settings.seed)
    precision = _precision(device) if settings.precision == "auto" else settings.precision

    def validation() -> Iterator[Batch]:
        assert split.validation is not None
        for part in islice(split.validation.parts(0, count), place.rank, None, place.count):
            yield family.batch(panel, part)

    return Work(
        model=family.model,
        batch=lambda number, part, parts: family.batch(panel, sampler.draw(number, place.rank).part(part, parts)),
        validation=validation if settings.early_stopping else None,
        settings=settings,
        precision=precision,
        windows=count,
        label=family.label,
        made_with={
            "data": data_sha256,
            "settings": config.model_dump(mode="json", exclude=_NOT_COMPARED),
            "precision": precision,
            "processes": place.count,
            "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        },
    )


def _precision(device: str) -> str:
    """By compute capability: `is_bf16_supported` says yes on a T4, which only emulates it."""
    if device == "cpu":
        return "fp32"
    major, _ = torch.cuda.get_device_capability()
    return "bf16" if major >= 8 else "fp16" if major == 7 else "fp32"


def _speed_up(family: Family, work: Work) -> str:
    """Group attention in blocks, if it gives what the library gives for the first batch; which one is used."""
    model = family.base_model
    if not isinstance(model, Chronos2Model):
        return "stock"
    batch = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in work.batch(0, 0, 1).items()
    }
    if block_attention.agrees(model, batch):
        return BLOCK
    block_attention.uninstall(model)
    return "stock"


def _time_to_judge(family: Family, split: Split, config: TrainingConfig, stop: StopSignal) -> float:
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


def _finish(family: Family, config: TrainingConfig, folder: Path) -> None:
    """The trained model, saved. The trainer leaves it in train mode, in which dropout falsifies forecasts."""
    models.merge(family, folder / "adapter")
    model = family.model
    if isinstance(model, Chronos2Model):
        models.widen(model, config.context_length, config.prediction_length)
    model.eval()
    gates.weights_finite(model)
    gates.evaluation_mode(model)
    family.save(folder)


def _judge(
    family: Family, split: Split, config: TrainingConfig, workdir: Workdir, metrics: Metrics, stop: StopSignal
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Forecast what was held out by every model there is, compare, and put the better one under `model/`.

    The whole evaluation, and what of it goes into the result.
    """
    panel, test = split.windows.panel, split.test
    evaluation = Evaluation(panel, metrics, stop)
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
class Evaluation:
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
