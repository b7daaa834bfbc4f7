"""A training run in the trainer's process, from top to bottom: load, train, save, evaluate."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from agent.chronos.batching.load import load_panel
from agent.chronos.batching.sampler import Sampler
from agent.chronos.batching.split import Split, sampling_weights
from agent.chronos.evaluate import acceptance, statistical
from agent.chronos.evaluate.evaluate import evaluate
from agent.chronos.evaluate.predict import Forecaster
from agent.chronos.evaluate.reference_models import reference_models
from agent.chronos.evaluate.report import how_to_forecast, write_model_card
from agent.chronos.evaluate.time_budget import evaluation_seconds
from agent.chronos.model.families import Batch, Family
from agent.chronos.model.load import add_lora, for_forecasts, initial_model, origin, save_lora
from agent.chronos.training import distributed
from agent.chronos.training.distributed import Process
from agent.chronos.training.engine import TrainingJob, fit
from agent.data.covariate_schema import write_covariates
from agent.data.frequency import frequency_of
from agent.data.panel import Panel
from agent.protocol.metrics_log import Metrics, interruptions
from agent.protocol.trainer import StopSignal, write_json
from agent.protocol.workdir import Workdir
from chronos_ec2.job_config.schema import TrainingConfig

_NOT_COMPARED: Any = {"probe": True, "training": {"workers", "processes", "report_to"}}
_LIBRARIES = ("torch", "chronos-forecasting", "transformers")


def run(workdir: Workdir, config: TrainingConfig, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Train, save, evaluate. Writes checkpoints, `model/`, `eval/` and `forecasts.parquet`; returns the result.

    Raises:
        InvalidInput: the data, the base or a reference model cannot be used, or an acceptance check fails.
        StoppedEarly: SIGTERM outside the training loop.
    """
    transformers_logging.disable_progress_bar()
    distributed.refuse_torchrun()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    process = Process(0, distributed.choose_world_size(config.training.processes, device))
    distributed.limit_threads(process.world_size)
    started = time.monotonic()
    metrics.event("loading", what="data", device=device)
    data_sha256, panel = load_panel(workdir, config, metrics)
    stop.check()
    metrics.event("loading", what="model", series=len(panel))
    family, split, job = prepare(config, panel, data_sha256, device, process, workdir)
    attention = family.choose_attention(panel, next(split.test.batches(0, len(panel))))
    metrics.event(
        "loading", what="training", attention=attention, precision=job.precision, processes=process.world_size
    )
    references = reference_models(config, workdir)
    reserved = evaluation_seconds(family, references, split, process.world_size)
    stop_at = stop.ends_at - reserved
    if config.training.minutes is not None:
        stop_at = min(stop_at, time.monotonic() + 60 * config.training.minutes)
    tensorboard = workdir.tensorboard if "tensorboard" in config.training.report_to else None
    job = replace(job, stop_at=stop_at, tensorboard=tensorboard)
    stop.check()
    facts = _facts(family, panel, config, attention, job.precision)
    write_json(workdir.facts, facts)
    loaded = time.monotonic()
    before = acceptance.sample_weights(family.model)
    # The workers read the panel and the base's weights, which are on disk by now.
    worker = [sys.executable, "-m", "agent.chronos.training.rank_worker", "--workdir", str(workdir.root)]
    options = ["--data", data_sha256, "--attention", attention]
    with (
        statistical.fitting(panel, split.test, config.evaluation) as fits,
        distributed.start_workers(process.world_size, [*worker, *options]),
    ):
        outcome = fit(job, workdir.checkpoints, metrics, stop)
        result: dict[str, Any] = {
            "stopped_early": not outcome.complete,
            "steps": outcome.steps,
            "best_step": outcome.best_step,
            "resumed_from": outcome.resumed_from,
            "interruptions": interruptions(workdir.metrics),
            "stopped_by": outcome.stopped_by,
            "parts": outcome.parts,
            "processes": process.world_size,
            **facts,
            "seconds": {"loading": round(loaded - started, 3), "training": round(time.monotonic() - loaded, 3)},
        }
        if result["stopped_early"]:
            return result
        acceptance.weights_changed(before, acceptance.sample_weights(family.model))
        trained = time.monotonic()
        _save_model(family, facts, workdir.model)
        forecaster = Forecaster(panel, metrics, stop, ranks=distributed.ranks())
        document, evaluation = evaluate(family, references, split, config, workdir, forecaster, fits)
    write_covariates(workdir.model, config.data, panel)
    use = how_to_forecast(f"run:{workdir.root.name}", config.data, config.prediction_length)
    write_model_card(workdir.model, document, facts, config.evaluation.champion, data_sha256, use)
    result |= evaluation
    result["seconds"]["evaluation"] = round(time.monotonic() - trained, 3)
    return result


def _facts(family: Family, panel: Panel, config: TrainingConfig, attention: str, precision: str) -> dict[str, Any]:
    """Facts known before the first step, for run.json."""
    weights = list(family.model.parameters())
    return {
        "family": family.name,
        "context_length": family.context,
        "attention": attention,
        "device": family.device,
        "precision": precision,
        "seeds": {"training": config.training.seed},
        "base": None if config.model.base is None else origin(config.model.base, family.base_model),
        "series": len(panel),
        "frequency": frequency_of(panel),
        "findings": list(panel.findings),
        "observations": int(sum(np.isfinite(row).sum() for row in panel.values[: panel.columns.targets])),
        "parameters": sum(weight.numel() for weight in weights),
        "parameters_trained": sum(weight.numel() for weight in weights if weight.requires_grad),
    }


def prepare(
    config: TrainingConfig, panel: Panel, data_sha256: str, device: str, process: Process, workdir: Workdir
) -> tuple[Family, Split, TrainingJob]:
    """The model to train, the split of the data, and the training job. Raises InvalidInput."""
    set_seed(config.training.seed)
    family = initial_model(config, device, workdir, cached=process.rank > 0)
    if config.model.lora is not None:
        add_lora(family, config.model.lora)
    family.freeze_unused(panel.columns)
    split = Split.of(panel, config)
    return family, split, _training_job(family, split, config, data_sha256, process)


def _training_job(
    family: Family, split: Split, config: TrainingConfig, data_sha256: str, process: Process
) -> TrainingJob:
    """The training job of one process: its own batches, and its share of the validation batches."""
    settings, panel = config.training, split.training.panel
    count = max(1, -(-settings.batch_size // family.rows(panel.columns)))
    sampler = Sampler(split.training, count, settings.sampling, settings.seed, sampling_weights(panel, config))

    def validation() -> Iterator[Batch]:
        assert split.stopping is not None
        for windows in islice(split.stopping.batches(0, count), process.rank, None, process.world_size):
            yield family.batch(panel, windows)

    return TrainingJob(
        model=family.model,
        batch=lambda number, part, parts: family.batch(panel, sampler.draw(number, process.rank).part(part, parts)),
        validation=validation if settings.early_stopping else None,
        settings=settings,
        precision=family.precision,
        windows=count,
        label=family.label,
        made_with={
            "data": data_sha256,
            "settings": config.model_dump(mode="json", exclude=_NOT_COMPARED),
            "precision": family.precision,
            "processes": process.world_size,
            "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        },
    )


def _save_model(family: Family, facts: Mapping[str, Any], folder: Path) -> None:
    """Save the trained model, which forecasts from now on."""
    save_lora(family, folder / "adapter", facts["base"])
    for_forecasts(family)
    acceptance.weights_finite(family.model)
    acceptance.evaluation_mode(family.model)
    family.save(folder)
