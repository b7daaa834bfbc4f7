"""Hugging Face's trainer, as the library has it, with batches that are known by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from chronos.chronos2.trainer import Chronos2Trainer
from torch.utils.data import IterableDataset, get_worker_info

from agent.training import ranks
from agent.training.families import Batch
from agent.training.gauges import Gauges


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


class StepTrainer(Chronos2Trainer):  # type: ignore[misc]
    """The library's trainer, whose data set makes whole batches. Generators are seeded, so that they have no state."""

    gauges: Gauges

    def get_batch_samples(self, *arguments: Any) -> Any:
        """The next step's batches, timed."""
        with self.gauges.waiting():
            return super().get_batch_samples(*arguments)

    def evaluate(self, *_arguments: Any, **_more: Any) -> dict[str, float]:
        """The mean loss of a row of the validation batches.

        The library would look at every batch once in each process, and once for each worker.
        """
        assert isinstance(self.eval_dataset, Replayed)
        self.model.eval()
        loss, rows = 0.0, 0
        for batch in self.eval_dataset:
            inputs = self._prepare_inputs(batch)
            count = len(inputs[self.label_names[0]])
            with torch.no_grad(), self.compute_loss_context_manager():
                loss += float(self.compute_loss(self.model, inputs)) * count
            rows += count
        loss, of = ranks.summed(loss, rows)
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
