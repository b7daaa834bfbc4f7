"""Hugging Face's trainer, as the library has it, with batches that are known by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from chronos.chronos2.trainer import Chronos2Trainer
from torch.utils.data import IterableDataset, get_worker_info

from agent.training.loop import distributed
from agent.training.loop.ema import Average
from agent.training.loop.throughput import Gauges
from agent.training.model.families import Batch


class StepIndexed(IterableDataset[Batch]):
    """Batches from a number on, each made by its number alone, whichever worker makes it."""

    def __init__(self, make: Callable[[int], Batch], batch_size: int, start: int) -> None:
        self.batch_size = batch_size
        self._make = make
        self._start = start

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        step = self._start + number
        while True:
            yield self._make(step)
            step += stride


class Replayed(IterableDataset[Batch]):
    """The same batches at each look."""

    def __init__(self, make: Callable[[], Iterator[Batch]], batch_size: int) -> None:
        self.batch_size = batch_size
        self._make = make

    def __iter__(self) -> Iterator[Batch]:
        return self._make()


_IGNORED = -100
"""The label of a token that is missing, by torch's convention."""
_WEIGHT = "weight"
"""Beside the model's arguments in a part of a batch: how much its loss counts, 1 for a part of average size."""


class StepTrainer(Chronos2Trainer):  # type: ignore[misc]
    """The library's trainer, whose data set makes whole batches. Generators are seeded, so that they have no state.

    `parts` is in how many each batch comes; `average` is what is validated in place of the weights, if any.
    """

    gauges: Gauges
    parts: int
    average: Average | None

    def get_batch_samples(self, *arguments: Any) -> Any:
        """The next step's batches, timed; where they are parts, each with its weight in the whole batch."""
        with self.gauges.waiting():
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
        """The mean over a batch, or what a part of one has of it."""
        weight = inputs.pop(_WEIGHT, None)
        loss = super().compute_loss(model, inputs, *arguments, **more)
        return loss if weight is None else loss * weight

    def load_weights(self, checkpoint: Path) -> None:
        """Those of a checkpoint, which is not trained on."""
        self._load_from_checkpoint(str(checkpoint))

    def evaluate(self, *_arguments: Any, **_more: Any) -> dict[str, float]:
        """The mean loss of a row of the validation batches.

        The library would look at every batch once in each process, and once for each worker.
        """
        with nullcontext() if self.average is None else self.average.in_place(self.model):
            return self._evaluate_weights()

    def _evaluate_weights(self) -> dict[str, float]:
        assert isinstance(self.eval_dataset, Replayed)
        self.model.eval()
        loss, rows = 0.0, 0
        for batch in self.eval_dataset:
            inputs = self._prepare_inputs(batch)
            count = len(inputs[self.label_names[0]])
            with torch.no_grad(), self.compute_loss_context_manager():
                loss += float(self.compute_loss(self.model, inputs)) * count
            rows += count
        loss, of = distributed.summed(loss, rows)
        metrics = {"eval_loss": loss / of}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _prepare_input(self, data: Any) -> Any:
        """From pinned memory to the GPU while that is still at the last step."""
        if isinstance(data, torch.Tensor):
            return data.to(self.args.device, non_blocking=True)
        return super()._prepare_input(data)

    def _save_rng_state(self, output_dir: str) -> None:
        pass

    def _load_rng_state(self, checkpoint: str | None) -> None:
        pass


def _terms(label: torch.Tensor) -> int:
    """How many terms the mean has that is the loss: tokens for Chronos-T5, else rows."""
    return len(label) if label.is_floating_point() else int((label != _IGNORED).sum())
