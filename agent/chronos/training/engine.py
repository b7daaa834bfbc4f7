"""The training loop: Hugging Face's trainer, with resume that is exact bit for bit.

Batch k is a function of (seed, k, rank), and torch is seeded anew at every step, so no random state outlives a step. A
checkpoint holds weights, optimiser, schedule and scaler, and what it was made with, which is compared on resume.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, TrainerState

from agent.chronos.model.families import Batch
from agent.chronos.model.precision import tf32_with_bf16
from agent.chronos.training import distributed
from agent.chronos.training.callbacks import (
    MADE_WITH,
    BestWeights,
    CheckpointSettings,
    ProgressCallback,
    SeedEachStep,
    trainable_weights,
)
from agent.chronos.training.ema import ExponentialMovingAverage
from agent.chronos.training.hf_trainer import StepIndexedBatches, StepTrainer, ValidationBatches
from agent.chronos.training.throughput import Throughput, tensorboard
from agent.protocol.checkpoint_dir import folder_of, steps_in
from agent.protocol.metrics_log import BEGAN, Metrics
from agent.protocol.trainer import StopSignal
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.job_config.schema import Training

_MAY_DIFFER = ("precision", "libraries")
_LOGGED_LOSSES = 250
_WITH_WARMUP = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train: a model, its batches by number, and its validation batches.

    `batch(number, part, parts)` makes one of `parts` parts of a batch, for when a whole one does not fit into memory.
    With several processes, batches and validation batches are those of this process. `windows`: windows per batch.
    `label`: the model argument with the target values. `made_with` is stored in checkpoints and compared on resume.
    Training ends early when `time.monotonic()` reaches `stop_at`. `tensorboard`: the folder for event files, if any.
    """

    model: torch.nn.Module
    batch: Callable[[int, int, int], Batch]
    validation: Callable[[], Iterator[Batch]] | None
    settings: Training
    precision: str
    label: str
    made_with: Mapping[str, Any]
    windows: int
    stop_at: float = float("inf")
    tensorboard: Path | None = None


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """Total `steps`, the step `resumed_from` if any, and `best_step` if validation selected the weights.

    `complete` is false if a signal ended training; `parts` is the number of parts each batch was split into.
    """

    steps: int
    complete: bool
    resumed_from: int | None
    best_step: int | None
    stopped_by: str
    parts: int


def fit(
    job: TrainingJob, folder: Path, metrics: Metrics, stop: StopSignal, trainer_class: type[StepTrainer] = StepTrainer
) -> TrainingOutcome:
    """Train the model in place, resuming from the latest complete checkpoint in the folder.

    A batch that does not fit into the GPU's memory is split into halves, quarters and so on from then on.

    Raises:
        InvalidInput: the checkpoint was made with other data or settings; or a single window does not fit into memory.
        LossNotFinite: the loss is not finite.
    """
    initial, parts = trainable_weights(job.model), 1
    while True:
        metrics.event(BEGAN, step=_step_of(latest_checkpoint(folder)))
        try:
            return _fit(job, parts, folder, metrics, stop, trainer_class)
        except torch.OutOfMemoryError as error:
            if distributed.is_distributed():
                # The other processes are in the middle of the step, waiting for this one's gradients.
                raise InvalidInput(
                    "training.batch_size", "a batch does not fit into the GPU's memory", _HALVE
                ) from error
            if parts >= job.windows:
                raise InvalidInput("model", "a single window does not fit into the GPU's memory", _SMALLER) from error
        parts = min(2 * parts, job.windows)
        metrics.event("loading", what=f"out of memory: batches split into {parts} parts")
        # The failed trainer's optimiser and graph are gone; undo its changes to the weights too.
        job.model.zero_grad(set_to_none=True)
        job.model.load_state_dict(initial, strict=False)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


_HALVE = "halve it and double training.gradient_accumulation: batches are split automatically only on a single GPU"
_SMALLER = "shorten context_length, train a LoRA adapter, or launch an instance type with more memory"


def _fit(
    job: TrainingJob, parts: int, folder: Path, metrics: Metrics, stop: StopSignal, trainer_class: type[StepTrainer]
) -> TrainingOutcome:
    latest, settings = latest_checkpoint(folder), job.settings
    if latest is not None:
        for difference in _compare(latest, job):
            metrics.event("loading", what=f"{latest.name} was made with other {difference}: resume is not exact")
    start = _step_of(latest)
    accumulation = settings.gradient_accumulation * parts
    batches = StepIndexedBatches(
        lambda number: job.batch(number // parts, number % parts, parts), settings.batch_size, start * accumulation
    )
    validation = None if job.validation is None else ValidationBatches(job.validation, settings.batch_size)
    throughput = Throughput(job.windows * settings.gradient_accumulation * distributed.world_size())
    early = settings.early_stopping
    best = None if early is None else BestWeights(early.patience, folder, latest)
    ema = None if settings.ema is None else ExponentialMovingAverage(settings.ema, job.model, folder, latest)
    checkpoints = CheckpointSettings(folder, settings.checkpoint_minutes * 60, job.made_with)
    progress = ProgressCallback(metrics, throughput, stop, job.stop_at, checkpoints, best)
    callbacks: list[TrainerCallback] = [one for one in (SeedEachStep(settings.seed), ema, best, progress) if one]
    if job.tensorboard is not None:
        # After the progress callback, which adds the throughput to the logs.
        callbacks.append(tensorboard(job.tensorboard))
    arguments = _arguments(job, accumulation, folder)
    trainer = trainer_class(
        model=job.model, args=arguments, train_dataset=batches, eval_dataset=validation, callbacks=callbacks
    )
    trainer.throughput, trainer.parts, trainer.ema = throughput, parts, ema
    trainer.pop_callback(PrinterCallback)
    # The loss of a micro-batch is already a mean; transformers would divide Chronos-T5's by the number of tokens again.
    trainer.model_accepts_loss_kwargs = False
    if latest is not None and (start >= settings.steps or (best is not None and best.patience_exhausted)):
        # Training is complete. The library would train one more step, because it checks only after a step.
        trainer.load_weights(latest)
    else:
        try:
            with tf32_with_bf16(job.precision):
                trainer.train(resume_from_checkpoint=None if latest is None else str(latest))
        finally:
            # Accelerate replaces `forward` by one with autocast.
            trainer.accelerator.unwrap_model(job.model, keep_fp32_wrapper=False)
    steps = max(start, int(trainer.state.global_step))
    reason = "early stopping" if best is not None and best.patience_exhausted else progress.stopped_by
    if ema is not None:
        ema.copy_to(job.model)
    if best is not None:
        best.restore(job.model)
    return TrainingOutcome(
        steps=steps,
        complete=reason != "signal",
        resumed_from=start if latest else None,
        best_step=best.step if best else None,
        stopped_by=reason,
        parts=parts,
    )


def _step_of(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)).global_step


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint of the highest step."""
    complete = [path for step in steps_in(folder) if ((path := folder_of(folder, step)) / MADE_WITH).exists()]
    return complete[-1] if complete else None


def _arguments(job: TrainingJob, accumulation: int, folder: Path) -> TrainingArguments:
    settings, precision, early = job.settings, job.precision, job.settings.early_stopping
    device = str(next(job.model.parameters()).device.type)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule if settings.warmup_steps == 0 else _WITH_WARMUP[settings.schedule],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        max_steps=settings.steps,
        seed=settings.seed,
        logging_steps=max(1, settings.steps // _LOGGED_LOSSES),
        logging_nan_inf_filter=False,
        # With optimiser, schedule and scaler, without which training cannot resume. The uploader deletes old
        # checkpoints, because it alone knows which are still being read.
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_only_model=False,
        eval_strategy="no" if early is None else "steps",
        eval_steps=None if early is None else early.every_steps,
        label_names=[job.label],
        # Batches are indexed by step, so there is nothing to skip.
        ignore_data_skip=True,
        # So that a GPU does not wait for its next batch.
        dataloader_num_workers=settings.workers if settings.workers is not None else 0 if device == "cpu" else 2,
        dataloader_pin_memory=device != "cpu",
        report_to="none",
        disable_tqdm=True,
        prediction_loss_only=True,
        use_cpu=device == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        # None is unused: `Family.freeze_unused`.
        ddp_find_unused_parameters=False,
    )
    # One process, one GPU: otherwise transformers would use torch's DataParallel, which is slower.
    if device != "cpu":
        arguments._n_gpu = 1  # noqa: SLF001 - as in the library's own fit; there is no public way
    return arguments


def _compare(checkpoint: Path, job: TrainingJob) -> list[str]:
    """What differs from a checkpoint's `made_with` and may: another instance may have another GPU or library version.

    Raises:
        InvalidInput: data or settings differ. Training would resume without an error, and end elsewhere.
    """
    theirs = json.loads((checkpoint / MADE_WITH).read_text())
    ours = json.loads(json.dumps(dict(job.made_with)))
    differences = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if refused := [name for name in differences if name not in _MAY_DIFFER]:
        problem = f"was made with other {', '.join(refused)}"
        raise InvalidInput(checkpoint.name, problem, "launch a new run, which starts from the beginning")
    if job.precision != "fp16":
        # The library would load the state of a scaler that does not exist.
        (checkpoint / "scaler.pt").unlink(missing_ok=True)
    return differences
