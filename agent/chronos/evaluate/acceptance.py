"""Acceptance checks of a trained model. Each fails by its name."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import torch
from torch import nn

from agent.data.panel import Floats
from chronos_ec2.domain.errors import InvalidInput

_SAMPLE = 4096
_SPREAD_SHARE, _ROUNDING = 1e-2, 1e-6


def sample_weights(model: nn.Module) -> torch.Tensor:
    """The first values of each trainable weight, to see later whether training changed any."""
    parts = [weight.detach().flatten()[:_SAMPLE].cpu() for weight in model.parameters() if weight.requires_grad]
    return torch.cat(parts)


def weights_changed(before: torch.Tensor, after: torch.Tensor) -> None:
    """Raises InvalidInput if training changed no weight."""
    if torch.equal(before, after):
        _fail("weights-changed", "training changed no weight", "raise training.learning_rate or training.steps")


def weights_finite(model: nn.Module) -> None:
    """Raises InvalidInput if a weight is not finite."""
    names = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if names:
        _fail("weights-finite", f"{len(names)} weights are not finite, for instance {names[0]}", _LOWER)


def forecasts_finite(forecasts: Floats) -> None:
    """Raises InvalidInput if a forecast is not finite."""
    if not np.isfinite(forecasts).all():
        _fail("forecasts-finite", "the trained model's forecasts are not finite", _LOWER)


def evaluation_mode(model: nn.Module) -> None:
    """Raises InvalidInput in train mode, in which the library leaves a model and dropout distorts forecasts."""
    if any(module.training for module in model.modules()):
        _fail("evaluation-mode", "the model is still in train mode", _BUG)


def same_after_reload(in_memory: Floats, reloaded: Floats) -> None:
    """Raises InvalidInput if the saved model forecasts a series differently, beyond the rounding of saving it.

    Both are (n, V, h, q). They may differ by a share of the spread of a series' own forecasts, whatever their level.
    """
    spread = in_memory.max(axis=(2, 3)) - in_memory.min(axis=(2, 3))
    tolerance = _SPREAD_SHARE * spread + _ROUNDING * np.abs(in_memory).max(axis=(2, 3))
    difference = np.abs(in_memory - reloaded).max(axis=(2, 3))
    if not (difference <= tolerance).all():
        worst = float(np.max(difference))
        _fail("same-after-reload", f"forecasts of the saved model differ by up to {worst:g}", _BUG)


_LOWER = "lower training.learning_rate"
_BUG = "please report it: this is a bug in chronos-ec2 or Chronos"


def _fail(check: str, problem: str, remedy: str) -> NoReturn:
    raise InvalidInput(f"acceptance check {check}", problem, remedy)
