"""The library's Hugging Face trainer with step-indexed batches, split batches, and validation of the EMA."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from chronos.chronos2.trainer import Chronos2Trainer
from torch.utils.data import IterableDataset, get_worker_info

from agent.chronos.model.families import Batch
from agent.chronos.training import distributed
from agent.chronos.training.ema import ExponentialMovingAverage
from agent.chronos.training.throughput import Throughput


class StepIndexedBatches(IterableDataset[Batch]):
    """Batches from number `start` on. Each depends on its number alone, not on the worker that makes it."""

    def __init__(self, make: Callable[[int], Batch], batch_size: int, start: int) -> None:
        self.batch_size = batch_size
        self._make = make
        self._start = start

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        number = self._start + offset
        while True:
            yield self._make(number)
            number += stride


class ValidationBatches(IterableDataset[Batch]):
    """The validation batches, the same on every iteration."""

    def __init__(self, make: Callable[[], Iterator[Batch]], batch_size: int) -> None:
        self.batch_size = batch_size
        self._make = make

    def __iter__(self) -> Iterator[Batch]:
        return self._make()


_IGNORED = -100
"""The label of a missing token, torch's `ignore_index`."""
_WEIGHT = "weight"
"""A key of a batch part next to the model's arguments: the weight of its loss, 1 for a part of average size."""


class StepTrainer(Chronos2Trainer):  # type: ignore[misc]
    """Chronos2Trainer for data sets that yield whole batches, without random state in its checkpoints.

    `parts`: parts that each batch is split into. `ema`: validated instead of the weights, if given.
    """

    throughput: Throughput
    parts: int
    control: Any
    ema: ExponentialMovingAverage | None

    def get_batch_samples(self, *arguments: Any) -> Any:
        """The next step's batches, timed; parts of a batch get their weight in it."""
        with self.throughput.data_wait():
            batches, count = super().get_batch_samples(*arguments)
        if self.parts > 1:
            for first in range(0, len(batches), self.parts):
                self._weigh(batches[first : first + self.parts])
        return batches, count

    def _weigh(self, parts: list[Batch]) -> None:
        terms = [_terms(part[self.label_names[0]]) for part in parts]
        for part, count in zip(parts, terms, strict=True):
            part[_WEIGHT] = count * len(parts) / sum(terms)

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **more: Any) -> Any:
        """The mean loss of a batch, or the weighted loss of a part."""
        weight = inputs.pop(_WEIGHT, None)
        loss = super().compute_loss(model, inputs, *arguments, **more)
        return loss if weight is None else loss * weight

    def load_weights(self, checkpoint: Path) -> None:
        """Load a checkpoint's weights without training."""
        self._load_from_checkpoint(str(checkpoint))

    def evaluate(self, *_arguments: Any, **_more: Any) -> dict[str, float]:
        """The mean validation loss per row, over all processes.

        The library would evaluate every batch once per process and per data loader worker.
        """
        with nullcontext() if self.ema is None else self.ema.swapped_in(self.model):
            return self._evaluate_weights()

    def _evaluate_weights(self) -> dict[str, float]:
        assert isinstance(self.eval_dataset, ValidationBatches)
        self.model.eval()
        loss, rows = 0.0, 0
        for batch in self.eval_dataset:
            inputs = self._prepare_inputs(batch)
            count = len(inputs[self.label_names[0]])
            with torch.no_grad(), self.compute_loss_context_manager():
                loss += float(self.compute_loss(self.model, inputs)) * count
            rows += count
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        total_loss, total_rows = distributed.sum_over_processes(loss, rows)
        metrics = {"eval_loss": total_loss / total_rows}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _prepare_input(self, data: Any) -> Any:
        """Copy from pinned memory asynchronously, while the GPU still computes the last step."""
        if isinstance(data, torch.Tensor):
            return data.to(self.args.device, non_blocking=True)
        return super()._prepare_input(data)

    def _save_rng_state(self, output_dir: str) -> None:
        pass

    def _load_rng_state(self, checkpoint: str | None) -> None:
        pass


def _terms(label: torch.Tensor) -> int:
    """Number of terms in the mean loss: tokens for Chronos-T5, otherwise rows."""
    return len(label) if label.is_floating_point() else int((label != _IGNORED).sum())
