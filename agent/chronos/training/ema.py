"""Exponential moving average (EMA) of the trainable weights: less noisy than the last weights, often better."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from agent.protocol.checkpoint_dir import folder_of

_FILE = "ema"
_RAMP_STEPS = 10


class ExponentialMovingAverage(TrainerCallback):
    """Validated and exported instead of the last weights; stored in each checkpoint next to them.

    The decay of step t is min(`decay`, (1 + t) / (10 + t)), the ramp of TensorFlow's
    `tf.train.ExponentialMovingAverage(num_updates=t)`, so that the initial weights are soon forgotten.
    """

    def __init__(self, decay: float, model: nn.Module, folder: Path, resumed: Path | None) -> None:
        self._decay = decay
        self._folder = folder
        self._weights = {name: weight.detach().clone() for name, weight in _trainable(model)}
        if resumed is not None:
            kept = torch.load(resumed / _FILE, weights_only=True)
            for name, weight in self._weights.items():
                weight.copy_(kept[name])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Update the average with the step's weights."""
        decay = min(self._decay, (1 + state.global_step) / (_RAMP_STEPS + state.global_step))
        for name, weight in _trainable(kwargs["model"]):
            self._weights[name].lerp_(weight.detach(), 1 - decay)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Add the average to the checkpoint."""
        if args.process_index == 0:
            kept = {name: weight.cpu() for name, weight in self._weights.items()}
            torch.save(kept, folder_of(self._folder, state.global_step) / _FILE)

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Use the average as the model's weights within the context."""
        own = {name: weight.detach().clone() for name, weight in _trainable(model)}
        _copy(self._weights, model)
        try:
            yield
        finally:
            _copy(own, model)

    def copy_to(self, model: nn.Module) -> None:
        """Make the average the model's weights."""
        _copy(self._weights, model)


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def _copy(weights: dict[str, torch.Tensor], model: nn.Module) -> None:
    with torch.no_grad():
        for name, weight in _trainable(model):
            weight.copy_(weights[name])
