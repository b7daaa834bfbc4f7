"""Callbacks of the training loop: seeding, best weights and early stopping, progress and checkpoints."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from agent.chronos.training import distributed
from agent.chronos.training.throughput import Throughput
from agent.protocol.checkpoint_dir import folder_of
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import LossNotFinite, StopSignal, write_json

MADE_WITH = "made_with.json"
"""The last file of a checkpoint, with what it was made with. Without it the checkpoint is incomplete."""
_BEST = "best"
_SAYS_EVERY = 10.0
"""Seconds between two lines about the loss, for whoever follows the log."""


class SeedEachStep(TrainerCallback):
    """Seeds torch at each step, so that dropout does not depend on earlier steps."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Before the step's first forward pass."""
        torch.manual_seed(hash((self._seed, state.global_step, args.process_index)) & 0x7FFF_FFFF_FFFF_FFFF)


class BestWeights(TrainerCallback):
    """Keeps the weights with the lowest validation loss, also in checkpoints, and stops training after `patience`.

    All processes see the same loss and stop at the same step.
    """

    def __init__(self, patience: int, folder: Path, resumed: Path | None) -> None:
        self._patience = patience
        self._folder = folder
        self._weights: dict[str, torch.Tensor] | None = None
        self.step: int | None = None
        self._loss = float("inf")
        self._worse = 0
        if resumed is not None and (resumed / _BEST).exists():
            kept = torch.load(resumed / _BEST, weights_only=True)
            self._weights, self.step = kept["weights"], kept["step"]
            self._loss, self._worse = kept["loss"], kept["worse"]

    @property
    def patience_exhausted(self) -> bool:
        """Whether `patience` validations in a row brought no lower loss."""
        return self._worse >= self._patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Keep the weights if the loss is lower; otherwise count, and stop when patience is exhausted."""
        loss = float(kwargs["metrics"]["eval_loss"])
        if loss < self._loss:
            self._loss, self.step, self._worse = loss, state.global_step, 0
            self._weights = trainable_weights(kwargs["model"])
        else:
            self._worse += 1
            if self.patience_exhausted:
                control.should_training_stop = True
                control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Add the best weights so far to the checkpoint."""
        if args.process_index == 0 and self._weights is not None:
            kept = {"weights": self._weights, "step": self.step, "loss": self._loss, "worse": self._worse}
            torch.save(kept, folder_of(self._folder, state.global_step) / _BEST)

    def restore(self, model: torch.nn.Module) -> None:
        """Load the best weights into the model."""
        if self._weights is not None:
            model.load_state_dict(self._weights, strict=False)


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """The checkpoints' folder, the maximum `seconds` between two of them, and the content of `made_with.json`."""

    folder: Path
    seconds: float
    made_with: Mapping[str, Any]


class ProgressCallback(TrainerCallback):
    """Reports steps and checkpoints, requests checkpoints when due, and stops after a signal or at the time limit.

    With several processes, rank 0 decides and all act at the same step. Must come after `best` in the callbacks.
    """

    def __init__(
        self,
        metrics: Metrics,
        throughput: Throughput,
        stop: StopSignal,
        stop_at: float,
        checkpoints: CheckpointSettings,
        best: BestWeights | None,
    ) -> None:
        self.stopped_by = "steps"
        self._metrics = metrics
        self._throughput = throughput
        self._stop = stop
        self._stop_at = stop_at
        self._checkpoints = checkpoints
        self._best = best
        self._saved_at = time.monotonic()
        self._said_at = -_SAYS_EVERY
        self._warned = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the clocks."""
        self._throughput.step_begins(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Report the step; save or stop if necessary."""
        self._throughput.step_ends(kwargs["optimizer"])
        self._metrics.step(state.global_step, state.max_steps)
        now = time.monotonic()
        due = self._stop.take_save_request() or now - self._saved_at >= self._checkpoints.seconds
        due, stop_requested, time_up = distributed.broadcast_flags(due, self._stop.asked, now >= self._stop_at)
        if due:
            control.should_save = True
        if state.global_step >= state.max_steps:
            return
        if stop_requested or time_up:
            self.stopped_by = "signal" if stop_requested else "time"
            control.should_save = True
            control.should_training_stop = True
            # These weights may be the best. After a signal there is no time to validate, and a later attempt resumes.
            control.should_evaluate |= self._best is not None and not stop_requested
        else:
            self._warn_if_short_of_time(state, now)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Report the mean loss since the last log, with throughput. Raises LossNotFinite."""
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:
            return
        loss, rate = float(logs["loss"]), float(logs.get("learning_rate", 0.0))
        found = self._throughput.read(state.global_step, kwargs["optimizer"])
        if (left := self._throughput.seconds_left(state.global_step, state.max_steps)) is not None:
            found["eta_seconds"] = round(left, 3)
        logs |= found
        grad_norm = float(logs["grad_norm"])
        self._metrics.step(state.global_step, state.max_steps, loss, rate, grad_norm=grad_norm, **found)
        if not torch.isfinite(torch.tensor(loss)):
            raise LossNotFinite(f"the loss of step {state.global_step} is {loss}")
        if state.is_world_process_zero and (now := time.monotonic()) - self._said_at >= _SAYS_EVERY:
            self._said_at = now
            sys.stderr.write(f"step {state.global_step} of {state.max_steps}, loss {loss:.4g}\n")

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Report that a validation makes progress, which may take longer than the watchdog waits for a step."""
        self._metrics.ongoing("validating", step=state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Report the validation loss."""
        self._metrics.event("validated", step=state.global_step, loss=float(kwargs["metrics"]["eval_loss"]))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Complete the checkpoint with `made_with.json`, and report it."""
        if args.process_index != 0:
            return
        write_json(folder_of(self._checkpoints.folder, state.global_step) / MADE_WITH, self._checkpoints.made_with)
        self._saved_at = time.monotonic()
        best = {"best": True} if self._best is not None and self._best.step == state.global_step else {}
        self._metrics.event("checkpoint", step=state.global_step, **best)

    def _warn_if_short_of_time(self, state: Any, now: float) -> None:
        """Report once, as early as possible, that the time limit will come before the last step."""
        left = self._throughput.seconds_left(state.global_step, state.max_steps)
        if self._warned or left is None or now + left <= self._stop_at:
            return
        self._warned = True
        share = (self._stop_at - now) / left
        expected = state.global_step + int(share * (state.max_steps - state.global_step))
        self._metrics.event("short_of_time", step=state.global_step, expected=expected, total_steps=state.max_steps)


def trainable_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the trainable weights, on the CPU."""
    return {name: weight.detach().cpu().clone() for name, weight in model.named_parameters() if weight.requires_grad}
