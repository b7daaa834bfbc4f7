"""The training loop: Hugging Face's trainer, made to go on after any interruption as if there had been none.

Batch k is a function of (seed, k, rank), and so are dropout's draws of step k, because every step seeds torch anew.
What a checkpoint has to hold are then weights, optimiser, schedule, scaler, and what it was made with, to be compared.
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

from agent.protocol.checkpoint_dir import folder_of, steps_in
from agent.protocol.metrics_log import BEGAN, Metrics
from agent.protocol.trainer import StopSignal
from agent.training.loop import distributed
from agent.training.loop.callbacks import MADE_WITH, KeepBest, Report, Saving, StepSeeds, trainable
from agent.training.loop.ema import Average
from agent.training.loop.hf_trainer import Replayed, StepIndexed, StepTrainer
from agent.training.loop.throughput import Gauges, tensorboard
from agent.training.model.families import Batch
from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.training_config.schema import Optimisation

_MAY_DIFFER = ("precision", "libraries")
_LOGGED_LOSSES = 250
_WARMED = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do: a model, its batches by number, and those that it is validated on.

    `batch(number, part, parts)` is one of so many parts of a batch, where the whole does not fit into the GPU's memory.
    Where several processes train together, batches and validation batches are this one's own.
    `label` is the argument of the model that makes it return a loss; `made_with` is what a checkpoint is compared by
    before it is gone on from; `windows` is how many a whole batch has. Training ends early when `time.monotonic()`
    reaches `stop_at`. TensorBoard's event files go into the folder `tensorboard`, if any.
    """

    model: torch.nn.Module
    batch: Callable[[int, int, int], Batch]
    validation: Callable[[], Iterator[Batch]] | None
    settings: Optimisation
    precision: str
    label: str
    made_with: Mapping[str, Any]
    windows: int
    stop_at: float = float("inf")
    tensorboard: Path | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """How it went: `steps` in all, `resumed_from` a step or None, `best_step` when validation chose the weights.

    `complete` is false when a signal ended it; `parts` is in how many each batch had to be taken.
    """

    steps: int
    complete: bool
    resumed_from: int | None
    best_step: int | None
    stopped_by: str
    parts: int


def fit(work: Work, folder: Path, metrics: Metrics, stop: StopSignal) -> Trained:
    """Train the model in place, from the newest checkpoint in the folder on if there is one.

    A batch that does not fit into the GPU's memory is taken in halves, quarters and so on from there.

    Raises:
        InvalidInput: the checkpoint was made with other data or settings; or not even one window fits into memory.
        LossNotFinite: the loss is not a number any more.
    """
    initial, parts = trainable(work.model), 1
    metrics.event(BEGAN, step=_step_of(newest_checkpoint(folder)))
    while True:
        try:
            return _fit(work, parts, folder, metrics, stop)
        except torch.OutOfMemoryError as error:
            if distributed.together():
                # The others are in the middle of the step, and would wait for this one's gradients.
                raise InvalidInput(
                    "training.batch_size", "a batch does not fit into the GPU's memory", _HALVE
                ) from error
            if parts >= work.windows:
                raise InvalidInput("model", "not even one window fits into the GPU's memory", _SMALLER) from error
        parts = min(2 * parts, work.windows)
        metrics.event("loading", what=f"batches in {parts} parts, for lack of memory")
        # The optimiser and the graph of the failed step are gone with their trainer; what was changed is put back.
        work.model.zero_grad(set_to_none=True)
        work.model.load_state_dict(initial, strict=False)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


_HALVE = "halve it and double training.gradient_accumulation: with several GPUs that is not done by itself"
_SMALLER = "shorten context_length, train a LoRA adapter, or launch an instance type with more memory"


def _fit(work: Work, parts: int, folder: Path, metrics: Metrics, stop: StopSignal) -> Trained:
    newest, settings = newest_checkpoint(folder), work.settings
    if newest is not None:
        for other in _compare(newest, work):
            metrics.event("loading", what=f"{newest.name} was made with other {other}: not the same bit for bit")
    start = _step_of(newest)
    accumulated = settings.gradient_accumulation * parts
    batches = StepIndexed(
        lambda number: work.batch(number // parts, number % parts, parts), settings.batch_size, start * accumulated
    )
    validation = None if work.validation is None else Replayed(work.validation, settings.batch_size)
    gauges = Gauges(work.windows * settings.gradient_accumulation * distributed.count())
    early = settings.early_stopping
    best = None if early is None else KeepBest(early.timeouts, folder, newest)
    average = None if settings.ema is None else Average(settings.ema, work.model, folder, newest)
    saving = Saving(folder, settings.checkpoint_minutes * 60, work.made_with)
    report = Report(metrics, gauges, stop, work.stop_at, saving, best)
    callbacks: list[TrainerCallback] = [one for one in (StepSeeds(settings.seed), average, best, report) if one]
    if work.tensorboard is not None:
        # Behind the report, which adds its gauges to what is logged.
        callbacks.append(tensorboard(work.tensorboard))
    arguments = _arguments(work, accumulated, folder)
    trainer = StepTrainer(
        model=work.model, args=arguments, train_dataset=batches, eval_dataset=validation, callbacks=callbacks
    )
    trainer.gauges, trainer.parts, trainer.average = gauges, parts, average
    trainer.pop_callback(PrinterCallback)
    # The loss of a micro-batch is a mean already; Chronos-T5 would otherwise divide it by the number of tokens.
    trainer.model_accepts_loss_kwargs = False
    if newest is not None and (start >= settings.steps or (best is not None and best.patience_over)):
        # All is trained. The library would train one step more, because its loop asks after a step.
        trainer.load_weights(newest)
    else:
        trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    steps = max(start, int(trainer.state.global_step))
    reason = "early stopping" if best is not None and best.patience_over else report.stopped_by
    if average is not None:
        average.restore(work.model)
    if best is not None:
        best.restore(work.model)
    return Trained(
        steps=steps,
        complete=reason != "signal",
        resumed_from=start if newest else None,
        best_step=best.step if best else None,
        stopped_by=reason,
        parts=parts,
    )


def _step_of(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)).global_step


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step, of those that are complete."""
    whole = [path for step in steps_in(folder) if ((path := folder_of(folder, step)) / MADE_WITH).exists()]
    return whole[-1] if whole else None


def _arguments(work: Work, accumulated: int, folder: Path) -> TrainingArguments:
    settings, precision, early = work.settings, work.precision, work.settings.early_stopping
    device = str(next(work.model.parameters()).device.type)
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=accumulated,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule if settings.warmup_steps == 0 else _WARMED[settings.schedule],
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        max_steps=settings.steps,
        seed=settings.seed,
        logging_steps=max(1, settings.steps // _LOGGED_LOSSES),
        logging_nan_inf_filter=False,
        # Optimiser, schedule and scaler too: a checkpoint without them is no place to go on from. Old ones are removed
        # by whoever uploads them, who alone knows which are still being read.
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_only_model=False,
        eval_strategy="no" if early is None else "steps",
        eval_steps=None if early is None else early.every_steps,
        label_names=[work.label],
        # Batches know their own number.
        ignore_data_skip=True,
        # A GPU shall not wait for its next batch.
        dataloader_num_workers=settings.workers if settings.workers is not None else 0 if device == "cpu" else 2,
        dataloader_pin_memory=device != "cpu",
        report_to="none",
        disable_tqdm=True,
        prediction_loss_only=True,
        use_cpu=device == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        tf32=True if precision == "bf16" and device != "cpu" else None,
        # Block attention leaves queries and keys of groups of one without a gradient.
        ddp_find_unused_parameters=True,
    )
    # One process, one GPU: torch's DataParallel, which transformers would choose by itself, is slower than that.
    if device != "cpu":
        arguments._n_gpu = 1  # noqa: SLF001 - the library's own fit does the same; there is no public way
    return arguments


def _compare(checkpoint: Path, work: Work) -> list[str]:
    """What else a checkpoint was made with, of what may differ: the next instance may have another GPU, another image.

    Other data or settings would be gone on from without an error, and lead elsewhere: InvalidInput.
    """
    found = json.loads((checkpoint / MADE_WITH).read_text())
    ours = json.loads(json.dumps(dict(work.made_with)))
    other = sorted(name for name in found.keys() | ours.keys() if found.get(name) != ours.get(name))
    if refused := [name for name in other if name not in _MAY_DIFFER]:
        problem = f"was made with other {', '.join(refused)}"
        raise InvalidInput(checkpoint.name, problem, "launch a new run, which starts from the beginning")
    if work.precision != "fp16":
        # The trainer would load the state of a scaler that it does not have.
        (checkpoint / "scaler.pt").unlink(missing_ok=True)
    return other
