"""A moving average of the weights that are trained: it swings less than they do, and often forecasts better."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from agent.protocol.checkpoint_dir import folder_of

_AVERAGE = "average"
_SOON = 10


class Average(TrainerCallback):
    """It is what is validated and what training ends with; each checkpoint has it beside the weights themselves.

    `decay` is what a step leaves of it; less in the first steps, so that what was before them is soon forgotten.
    """

    def __init__(self, decay: float, model: nn.Module, folder: Path, resumed: Path | None) -> None:
        self._decay = decay
        self._folder = folder
        self._weights = {name: weight.detach().clone() for name, weight in _trained(model)}
        if resumed is not None:
            kept = torch.load(resumed / _AVERAGE, weights_only=True)
            for name, weight in self._weights.items():
                weight.copy_(kept[name])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """One step more goes into it."""
        decay = min(self._decay, (1 + state.global_step) / (_SOON + state.global_step))
        for name, weight in _trained(kwargs["model"]):
            self._weights[name].lerp_(weight.detach(), 1 - decay)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """It goes along."""
        if args.process_index == 0:
            kept = {name: weight.cpu() for name, weight in self._weights.items()}
            torch.save(kept, folder_of(self._folder, state.global_step) / _AVERAGE)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """The model has the average inside, and its own weights again after."""
        own = {name: weight.detach().clone() for name, weight in _trained(model)}
        _put(self._weights, model)
        try:
            yield
        finally:
            _put(own, model)

    def restore(self, model: nn.Module) -> None:
        """Put it into the model for good."""
        _put(self._weights, model)


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def _put(weights: dict[str, torch.Tensor], model: nn.Module) -> None:
    with torch.no_grad():
        for name, weight in _trained(model):
            weight.copy_(weights[name])
