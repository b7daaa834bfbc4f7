"""Train a Chronos model and judge it on points that it has not seen. The trainer's process, from top to bottom."""

from __future__ import annotations

import hashlib
import json
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
from chronos.chronos2 import Chronos2Model
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from agent.data.covariate_schema import write_covariates
from agent.data.frequency import frequency_of
from agent.data.hashing import sha256_of
from agent.data.ingest import read_panel
from agent.data.panel import Panel, open_panel
from agent.protocol.metrics_log import Metrics, interruptions
from agent.protocol.trainer import StopSignal, write_json
from agent.protocol.workdir import Workdir
from agent.training.batching.sampler import Sampler
from agent.training.batching.split import Split, shortest, weights_of
from agent.training.evaluate import acceptance, evaluate
from agent.training.evaluate.report import write_model_card
from agent.training.evaluate.time_budget import evaluation_seconds
from agent.training.loop import distributed
from agent.training.loop.distributed import Place
from agent.training.loop.engine import Work, fit
from agent.training.model import block_attention, load
from agent.training.model.families import Batch, Family
from chronos_ec2.training_config.schema import TrainingConfig

BLOCK = "block"
"""Group attention in blocks; the library's own is `stock`."""
_NOT_COMPARED: Any = {"probe": True, "training": {"workers", "processes", "report_to"}}
_VERIFIED_WINDOWS = 4
_LIBRARIES = ("torch", "chronos-forecasting", "transformers")


def run(workdir: Workdir, config: TrainingConfig, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Train, judge, save. Leaves `model/`, `eval/`, `forecasts.parquet` and checkpoints; returns the result.

    Raises:
        InvalidInput: what the configuration names cannot be used, or the trained model fails a gate.
        StoppedEarly: SIGTERM came outside the training loop.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    distributed.refuse_launcher()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = Place(0, distributed.how_many(config.training.processes, device))
    distributed.share_cores(place.count)
    started = time.monotonic()
    metrics.event("loading", what="data", device=device)
    data_sha256, panel = load_panel(workdir, config, metrics)
    stop.check()
    metrics.event("loading", what="model", series=len(panel))
    family, split, work = ready(config, panel, data_sha256, device, place)
    attention = _speed_up(family, work)
    metrics.event("loading", what="training", attention=attention, precision=work.precision, processes=place.count)
    reserve = evaluation_seconds(family, split, config, stop)
    tensorboard = workdir.tensorboard if "tensorboard" in config.training.report_to else None
    stop_at = stop.ends_at - reserve
    if config.training.minutes is not None:
        stop_at = min(stop_at, time.monotonic() + 60 * config.training.minutes)
    work = replace(work, stop_at=stop_at, tensorboard=tensorboard)
    stop.check()
    facts = _facts(family, panel, config, attention, work.precision)
    write_json(workdir.facts, facts)
    loaded = time.monotonic()
    before = acceptance.sample_of(family.model)
    # They read what lies on the disk by now: the panel, and the base's weights.
    peer = [sys.executable, "-m", "agent.training.rank_worker", "--workdir", str(workdir.root), "--data", data_sha256]
    with distributed.leading(place.count, [*peer, "--attention", attention]):
        trained = fit(work, workdir.checkpoints, metrics, stop)
    result: dict[str, Any] = {
        "stopped_early": not trained.complete,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "resumed_from": trained.resumed_from,
        "interruptions": interruptions(workdir.metrics),
        "stopped_by": trained.stopped_by,
        "parts": trained.parts,
        "processes": place.count,
        **facts,
        "seconds": {"loading": round(loaded - started, 3), "training": round(time.monotonic() - loaded, 3)},
    }
    if result["stopped_early"]:
        return result
    acceptance.weights_changed(before, acceptance.sample_of(family.model))
    evaluated = time.monotonic()
    _finish(family, facts, workdir.model)
    document, judged = evaluate.judge(family, split, config, workdir, metrics, stop)
    write_covariates(workdir.model, config.data, panel)
    write_model_card(workdir.model, document, facts, config.evaluation.champion, data_sha256)
    result |= judged
    result["seconds"]["evaluation"] = round(time.monotonic() - evaluated, 3)
    return result


def _facts(family: Family, panel: Panel, config: TrainingConfig, attention: str, precision: str) -> dict[str, Any]:
    """What is known before the first step, for run.json."""
    weights = list(family.model.parameters())
    return {
        "family": family.name,
        "context_length": family.context,
        "attention": attention,
        "device": family.device,
        "precision": precision,
        "seeds": {"training": config.training.seed},
        "base": None if config.model.base is None else load.origin(config.model.base, family.base_model),
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
    family = load.starting_family(config, device, fetched=place.rank > 0)
    if config.model.lora is not None:
        load.adapt(family, config.model.lora)
    split = Split.of(panel, config)
    return family, split, prepare(family, split, config, device, data_sha256, place)


def load_panel(workdir: Workdir, config: TrainingConfig, metrics: Metrics) -> tuple[str, Panel]:
    """The hash of the data set, and the data set; opened when it was read on this box before.

    Much takes long: each file that is hashed, and each chunk that is read, is a sign of work.
    """

    def read(done: int, total: int) -> None:
        metrics.event("loading", what="data", done=done, total=total)

    files = sorted(workdir.data.rglob("*.parquet"))
    settings = {"data": config.data.model_dump(), "shortest": shortest(config)}
    hashes = []
    for path in files:
        hashes.append(sha256_of(path))
        metrics.event("loading", what=f"data: {len(hashes)} of {len(files)} files hashed")
    data = hashlib.sha256(json.dumps([settings, hashes], sort_keys=True).encode()).hexdigest()
    folder = panel_folder(workdir, data)
    try:
        return data, open_panel(folder)
    except FileNotFoundError:
        return data, read_panel(files, config.data, shortest(config), folder, read)


def panel_folder(workdir: Workdir, data_sha256: str) -> Path:
    """Where the data set of this hash is kept as memory maps."""
    return workdir.panels / data_sha256[:16]


def prepare(family: Family, split: Split, config: TrainingConfig, device: str, data_sha256: str, place: Place) -> Work:
    """The work of the training loop. Batches are functions of seed, number and rank; validation's are dealt out."""
    settings, panel = config.training, split.windows.panel
    count = max(1, -(-settings.batch_size // family.rows(panel.columns)))
    sampler = Sampler(split.windows, count, settings.sampling, settings.seed, weights_of(panel, config))
    precision = _precision(settings.precision, device)

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


def _precision(asked: str, device: str) -> str:
    """By compute capability: `is_bf16_supported` says yes on a T4, which only emulates it.

    On a CPU fp16 is left out by the library, without a word.
    """
    if device == "cpu":
        return "bf16" if asked == "bf16" else "fp32"
    if asked != "auto":
        return asked
    major, _ = torch.cuda.get_device_capability()
    return "bf16" if major >= 8 else "fp16" if major == 7 else "fp32"


def _speed_up(family: Family, work: Work) -> str:
    """Group attention in blocks, if it gives what the library gives for a few windows; which one is used.

    The whole batch may be more than fits into memory, of which nothing is known yet.
    """
    model = family.base_model
    if not isinstance(model, Chronos2Model):
        return "stock"
    batch = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in work.batch(0, 0, -(-work.windows // _VERIFIED_WINDOWS)).items()
    }
    if block_attention.agrees(model, batch, work.precision):
        return BLOCK
    block_attention.uninstall(model)
    return "stock"


def _finish(family: Family, facts: Mapping[str, Any], folder: Path) -> None:
    """The trained model, saved. The trainer leaves it in train mode, in which dropout falsifies forecasts."""
    load.merge(family, folder / "adapter", facts["base"])
    model = family.model
    model.eval()
    acceptance.weights_finite(model)
    acceptance.evaluation_mode(model)
    family.save(folder)
