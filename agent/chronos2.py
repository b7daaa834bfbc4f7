"""Train Chronos-2 and judge it on points that it has not seen. Reads from top to bottom; runs in the trainer's process.

`Chronos2Pipeline.fit` can neither report its progress, nor leave a checkpoint that training could go on from, nor stop
when told to; so the library's own trainer and data set are driven here, with the arguments that `fit` would give them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos import Chronos2Pipeline
from chronos.chronos2 import Chronos2Dataset, Chronos2Model
from chronos.chronos2.dataset import DatasetMode
from chronos.chronos2.trainer import Chronos2Trainer
from transformers import TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from agent.child import Metrics, StopSignal
from agent.evaluate import QUANTILES, Array, score, seasonal_naive, series_mase
from agent.forecasts import examples, number_or_none, write_forecasts
from agent.model import starting_model, widen
from agent.series import SeriesSet, load_series
from agent.workdir import Workdir
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config import TrainingConfig

_EVALUATION_ROWS = 256
_LOGGED_LOSSES = 250


def run(workdir: Workdir, config: TrainingConfig, metrics: Metrics, stop: StopSignal) -> dict[str, Any]:
    """Train, save, evaluate. Leaves `model/`, `forecasts.parquet` and checkpoints in the workdir; returns the result.

    Raises:
        InvalidInput: what the configuration names cannot be used.
        StoppedEarly: SIGTERM came outside the training loop.
    """
    # One core stays free. OpenMP's threads wait for each other by spinning, so that on two cores one other busy process
    # made training four times slower with two threads than with one.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.monotonic()
    metrics.event("loading", what="data", device=device)
    horizon = config.prediction_length
    series = load_series(sorted(workdir.data.rglob("*.parquet")), config.data, _shortest(config))
    histories = [values[:-horizon] for values in series.values]
    stop.check()
    metrics.event("loading", what="model", series=len(series))
    # Seeds numpy's global generator too, from which the data set draws its windows.
    set_seed(config.training.seed)
    model = starting_model(config, device)
    stop.check()
    loaded = time.monotonic()
    steps = train(model, histories, config, workdir.checkpoints, metrics, stop)
    result = {
        "stopped_early": steps < config.training.steps,
        "steps": steps,
        "device": device,
        "precision": _precision(device),
        "seeds": {"training": config.training.seed},
        "series": len(series),
        "observations": int(sum(np.isfinite(values).sum() for values in series.values)),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "seconds": {"loading": round(loaded - started, 3), "training": round(time.monotonic() - loaded, 3)},
    }
    if result["stopped_early"]:
        return result
    pipeline = _finish(model, config, workdir.model)
    evaluated = time.monotonic()
    quantiles = forecast(pipeline, histories, config, metrics, stop)
    result |= _evaluation(series, histories, quantiles, config, workdir.forecasts)
    result["seconds"]["evaluation"] = round(time.monotonic() - evaluated, 3)
    return result


def train(
    model: Chronos2Model,
    histories: Sequence[Array],
    config: TrainingConfig,
    checkpoints: Path,
    metrics: Metrics,
    stop: StopSignal,
) -> int:
    """Train the model in place; the number of steps taken, fewer than configured when SIGTERM came."""
    settings = config.training
    dataset = Chronos2Dataset(
        inputs=list(histories),
        context_length=config.context_length,
        prediction_length=config.prediction_length,
        batch_size=settings.batch_size,
        output_patch_size=model.chronos_config.output_patch_size,
        min_past=settings.min_past or config.prediction_length,
        mode=DatasetMode.TRAIN,
    )
    arguments = _arguments(config, checkpoints, str(model.device.type))
    trainer = Chronos2Trainer(model=model, args=arguments, train_dataset=dataset, callbacks=[_Report(metrics, stop)])
    trainer.pop_callback(PrinterCallback)
    trainer.train()
    return int(trainer.state.global_step)


def _arguments(config: TrainingConfig, checkpoints: Path, device: str) -> TrainingArguments:
    settings, precision = config.training, _precision(device)
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule if settings.warmup_steps == 0 else _WARMED[settings.schedule],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        max_steps=settings.steps,
        seed=settings.seed,
        logging_steps=max(1, settings.steps // _LOGGED_LOSSES),
        logging_nan_inf_filter=False,
        # Optimiser, schedule and generators too: a checkpoint without them is no place to go on from. Old ones are
        # removed by whoever uploads them, who alone knows which are still being read.
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_only_model=False,
        report_to="none",
        disable_tqdm=True,
        prediction_loss_only=True,
        use_cpu=device == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        tf32=True if precision == "bf16" else None,
    )
    # One process, one GPU: torch's DataParallel, which transformers would choose by itself, is slower than that.
    if device != "cpu":
        arguments._n_gpu = 1  # noqa: SLF001 - the library's own fit does the same; there is no public way
    return arguments


_WARMED = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def _precision(device: str) -> str:
    """By compute capability: `is_bf16_supported` says yes on a T4, which only emulates it."""
    if device == "cpu":
        return "fp32"
    major, _ = torch.cuda.get_device_capability()
    return "bf16" if major >= 8 else "fp16" if major == 7 else "fp32"


class _Report(TrainerCallback):
    """Tells of steps and checkpoints, and obeys SIGTERM after the step in which it came."""

    def __init__(self, metrics: Metrics, stop: StopSignal) -> None:
        self._metrics = metrics
        self._stop = stop

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """One step more."""
        self._metrics.step(state.global_step, state.max_steps)
        if self._stop.asked:
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """A loss, averaged over the steps since the last one."""
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" in logs:
            loss, lr = float(logs["loss"]), float(logs.get("learning_rate", 0.0))
            self._metrics.step(state.global_step, state.max_steps, loss, lr)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """A checkpoint, complete on disk."""
        self._metrics.event("checkpoint", step=state.global_step)


def _finish(model: Chronos2Model, config: TrainingConfig, folder: Path) -> Chronos2Pipeline:
    """The trained model, saved. The trainer leaves it in train mode, in which dropout falsifies forecasts."""
    widen(model, config.context_length, config.prediction_length)
    model.eval()
    pipeline = Chronos2Pipeline(model)
    pipeline.save_pretrained(folder)
    return pipeline


def forecast(
    pipeline: Chronos2Pipeline,
    histories: Sequence[Array],
    config: TrainingConfig,
    metrics: Metrics,
    stop: StopSignal,
) -> Array:
    """(n, h, q) quantiles of the points after each history. Raises StoppedEarly."""
    batches = -(-len(histories) // _EVALUATION_ROWS)
    done = 0

    def after_batch() -> None:
        nonlocal done
        done += 1
        metrics.event("evaluating", done=done, total=batches)
        stop.check()

    forecasts, _ = pipeline.predict_quantiles(
        list(histories),
        prediction_length=config.prediction_length,
        quantile_levels=list(QUANTILES),
        context_length=min(config.context_length, pipeline.model_context_length),
        batch_size=_EVALUATION_ROWS,
        after_batch=after_batch,
    )
    return torch.cat(forecasts).numpy()


def _evaluation(
    series: SeriesSet, histories: Sequence[Array], quantiles: Array, config: TrainingConfig, path: Path
) -> dict[str, Any]:
    """Metrics and examples for the result; writes every forecast to a file."""
    if not np.isfinite(quantiles).all():
        raise InvalidInput("training", "the trained model's forecasts are not finite", "lower training.learning_rate")
    horizon, season = config.prediction_length, config.evaluation.season_length
    truth = np.stack([values[-horizon:] for values in series.values])
    naive = np.stack([seasonal_naive(history, horizon, season) for history in histories])
    ours, theirs = score(truth, quantiles, histories, season), score(truth, naive, histories, season)
    errors = series_mase(truth, quantiles[..., QUANTILES.index(0.5)], histories, season)
    write_forecasts(path, series, quantiles, naive)
    metrics = asdict(ours) | {f"{name}_seasonal_naive": value for name, value in asdict(theirs).items()}
    return {
        "metrics": {name: number_or_none(value) for name, value in metrics.items()},
        "examples": examples(series, quantiles, naive, errors),
    }


def _shortest(config: TrainingConfig) -> int:
    """Points that a series needs: a past and a horizon to train on, and a horizon to hold out."""
    return (config.training.min_past or config.prediction_length) + 2 * config.prediction_length
