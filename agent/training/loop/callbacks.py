"""What happens at each step of the training loop besides the step: seeds, signs of work, checkpoints, best weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from agent.protocol.checkpoint_dir import folder_of
from agent.protocol.metrics_log import Metrics
from agent.protocol.trainer import LossNotFinite, StopSignal, write_json
from agent.training.loop import distributed
from agent.training.loop.throughput import Gauges

MADE_WITH = "made_with.json"
"""In each checkpoint, written last: what it was made with. One that has none is not complete."""
_BEST = "best"


class StepSeeds(TrainerCallback):
    """Seeds torch at each step, so that dropout depends on nothing that came before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Before the step's first forward pass."""
        torch.manual_seed(hash((self._seed, state.global_step, args.process_index)) & 0x7FFF_FFFF_FFFF_FFFF)


class KeepBest(TrainerCallback):
    """Keeps the weights with the lowest validation loss, in each checkpoint too, and stops when it falls no more.

    Every process sees the same loss and stops at the same step.
    """

    def __init__(self, timeouts: int, folder: Path, resumed: Path | None) -> None:
        self._patience = timeouts
        self._folder = folder
        self._weights: dict[str, torch.Tensor] | None = None
        self.step: int | None = None
        self._loss = float("inf")
        self._worse = 0
        if resumed is not None and (resumed / _BEST).exists():
            kept = torch.load(resumed / _BEST, weights_only=True)
            self._weights, self.step, self._loss, self._worse = (
                kept["weights"],
                kept["step"],
                kept["loss"],
                kept["worse"],
            )

    @property
    def patience_over(self) -> bool:
        """Whether the loss has not fallen for too long."""
        return self._worse >= self._patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Compare, keep, or lose patience."""
        loss = float(kwargs["metrics"]["eval_loss"])
        if loss < self._loss:
            self._loss, self.step, self._worse = loss, state.global_step, 0
            self._weights = trainable(kwargs["model"])
        else:
            self._worse += 1
            if self.patience_over:
                control.should_training_stop = True
                control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """The best goes along: whoever goes on from this checkpoint has to know it."""
        if args.process_index == 0 and self._weights is not None:
            kept = {"weights": self._weights, "step": self.step, "loss": self._loss, "worse": self._worse}
            torch.save(kept, folder_of(self._folder, state.global_step) / _BEST)

    def restore(self, model: torch.nn.Module) -> None:
        """Put the best weights back into the model."""
        if self._weights is not None:
            model.load_state_dict(self._weights, strict=False)


@dataclass(frozen=True, slots=True)
class Saving:
    """Checkpoints: the folder, after how many seconds one is due at the latest, and what they are made with."""

    folder: Path
    seconds: float
    made_with: Mapping[str, Any]


class Report(TrainerCallback):
    """Tells of steps and checkpoints, writes one when it is time, and obeys signals after the step they came in.

    Where several processes train together they all do, at the same step, what the leader found. `best` comes before it.
    """

    def __init__(
        self,
        metrics: Metrics,
        gauges: Gauges,
        stop: StopSignal,
        stop_at: float,
        saving: Saving,
        best: KeepBest | None,
    ) -> None:
        self.stopped_by = "steps"
        self._metrics = metrics
        self._gauges = gauges
        self._stop = stop
        self._stop_at = stop_at
        self._saving = saving
        self._best = best
        self._saved_at = time.monotonic()
        self._told_short = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """One step begins."""
        self._gauges.begin(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """One step more."""
        self._gauges.stepped(kwargs["optimizer"])
        self._metrics.step(state.global_step, state.max_steps)
        now = time.monotonic()
        due = self._stop.take_save_request() or now - self._saved_at >= self._saving.seconds
        due, asked, late = distributed.led(due, self._stop.asked, now >= self._stop_at)
        if due:
            control.should_save = True
        if state.global_step >= state.max_steps:
            return
        if asked or late:
            self.stopped_by = "signal" if asked else "time"
            control.should_save = True
            control.should_training_stop = True
            # These weights may be the best. After a signal there is no time to see, and a later attempt goes on anyway.
            control.should_evaluate |= self._best is not None and not asked
        else:
            self._look_ahead(state, now)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """A loss, averaged over the steps since the last one."""
        logs: dict[str, Any] = kwargs["logs"]
        if "loss" not in logs:
            return
        loss, rate = float(logs["loss"]), float(logs.get("learning_rate", 0.0))
        gauges = self._gauges.read(state.global_step, kwargs["optimizer"])
        if (left := self._gauges.seconds_left(state.global_step, state.max_steps)) is not None:
            gauges["eta_seconds"] = round(left, 3)
        logs |= gauges
        grad_norm = float(logs["grad_norm"])
        self._metrics.step(state.global_step, state.max_steps, loss, rate, grad_norm=grad_norm, **gauges)
        if not torch.isfinite(torch.tensor(loss)):
            raise LossNotFinite(f"the loss of step {state.global_step} is {loss}")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """A look at the validation window."""
        self._metrics.event("validated", step=state.global_step, loss=float(kwargs["metrics"]["eval_loss"]))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """A checkpoint; complete with the file that says what it was made with."""
        if args.process_index != 0:
            return
        write_json(folder_of(self._saving.folder, state.global_step) / MADE_WITH, self._saving.made_with)
        self._saved_at = time.monotonic()
        best = {"best": True} if self._best is not None and self._best.step == state.global_step else {}
        self._metrics.event("checkpoint", step=state.global_step, **best)

    def _look_ahead(self, state: Any, now: float) -> None:
        """Say once, and early, that time will end the training before the last step."""
        left = self._gauges.seconds_left(state.global_step, state.max_steps)
        if self._told_short or left is None or now + left <= self._stop_at:
            return
        self._told_short = True
        share = (self._stop_at - now) / left
        expected = state.global_step + int(share * (state.max_steps - state.global_step))
        self._metrics.event("short_of_time", step=state.global_step, expected=expected, total_steps=state.max_steps)


def trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights that are trained."""
    return {name: weight.detach().cpu().clone() for name, weight in model.named_parameters() if weight.requires_grad}
