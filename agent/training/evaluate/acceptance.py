"""What a trained model must be before anybody gets it. Each gate has a name, by which its failure is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from agent.data.panel import Floats
from chronos_ec2.domain.errors import InvalidInput

_SAMPLE = 4096


def sample_of(model: nn.Module) -> torch.Tensor:
    """Some of each weight that is trained, to tell later whether training changed anything."""
    parts = [weight.detach().flatten()[:_SAMPLE].cpu() for weight in model.parameters() if weight.requires_grad]
    return torch.cat(parts)


def weights_changed(before: torch.Tensor, after: torch.Tensor) -> None:
    """Raises InvalidInput when training left the model as it was."""
    if torch.equal(before, after):
        _fail("weights-changed", "training changed no weight", "raise training.learning_rate or training.steps")


def weights_finite(model: nn.Module) -> None:
    """Raises InvalidInput when a weight is not a number."""
    odd = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if odd:
        _fail("weights-finite", f"{len(odd)} weights are not finite, for instance {odd[0]}", _LOWER)


def forecasts_finite(forecasts: Floats) -> None:
    """Raises InvalidInput when a forecast is not a number."""
    if not np.isfinite(forecasts).all():
        _fail("forecasts-finite", "the trained model's forecasts are not finite", _LOWER)


def evaluation_mode(model: nn.Module) -> None:
    """Raises InvalidInput when dropout would falsify forecasts: the library leaves a trained model in train mode."""
    if any(module.training for module in model.modules()):
        _fail("evaluation-mode", "the model is still in train mode", _OURS)


def same_after_reload(ours: Floats, reloaded: Floats) -> None:
    """Raises InvalidInput when the saved model is another than that in memory. Merging and loading round a little."""
    if not np.allclose(ours, reloaded, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(ours).max()))):
        worst = float(np.abs(ours - reloaded).max())
        _fail("same-after-reload", f"the saved model forecasts otherwise, by up to {worst:g}", _OURS)


_LOWER = "lower training.learning_rate"
_OURS = "please report it: this is a fault of chronos-ec2 or of Chronos"


def _fail(gate: str, problem: str, remedy: str) -> Any:
    raise InvalidInput(f"gate {gate}", problem, remedy)
