"""What training and evaluation ask of a model family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos import BaseChronosPipeline
from peft import PeftModel
from torch import nn

from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.model.precision import autocast
from agent.data.panel import Columns, Floats, Panel
from chronos_ec2.domain.errors import InvalidInput

Batch = dict[str, Any]
BLOCK, STOCK = "block", "stock"
"""The values of `attention`."""
_FORECAST_ROWS = {"cpu": 256, "cuda": 4096}
"""Sequences per forward pass of a forecast, halved on a GPU that cannot hold them."""


class Family(ABC):
    """A Chronos model with its context length `context` and prediction length `horizon`, in points.

    `precision`: the one that it is trained in and forecasts in. `attention`: `block`, `stock`, or None before either
    was chosen. `fitting`: the windows of a forecast that fitted into memory when more did not, or that were asked for.
    `cross_learning`: whether all windows of a forecast learn from each other.
    """

    def __init__(self, pipeline: BaseChronosPipeline, context: int, horizon: int) -> None:
        self.pipeline = pipeline
        self.context = context
        self.horizon = horizon
        self.precision = "fp32"
        self.attention: str | None = None
        self.fitting: int | None = None
        self.cross_learning = False

    name: str
    lora_targets: Sequence[str]
    """peft's `target_modules`."""
    label: str
    """The model argument with the target values, for which it returns a loss."""

    @property
    def model(self) -> nn.Module:
        """The module that is trained, with its adapter if it has one."""
        model: nn.Module = self.pipeline.model
        return model

    def replace_model(self, model: nn.Module) -> None:
        """Replace the module by one with, or without, an adapter."""
        self.pipeline.model = model

    @abstractmethod
    def rows(self, columns: Columns) -> int:
        """Batch rows per window."""

    @abstractmethod
    def sequences(self, columns: Columns) -> int:
        """Sequences the model computes to forecast one window."""

    def forecast_windows(self, columns: Columns) -> int:
        """Windows per forward pass of a forecast."""
        rows = _FORECAST_ROWS[torch.device(self.device).type]
        return self.fitting or max(1, rows // self.sequences(columns))

    @abstractmethod
    def freeze_unused(self, columns: Columns) -> None:
        """Train no weights that windows of these columns do not use."""

    @abstractmethod
    def choose_attention(self, panel: Panel, windows: WindowBatch) -> str:
        """Use block attention if the model has groups, and forecasts some of these windows as with its own."""

    @abstractmethod
    def use_attention(self, attention: str, columns: Columns) -> None:
        """Use the attention that another process has chosen."""

    def learn_across(self) -> None:
        """Let all windows of a forecast learn from each other. Raises InvalidInput if the model cannot."""
        raise InvalidInput("cross_learning", f"{self.name} forecasts each series by itself", "false, or use Chronos-2")

    @abstractmethod
    def batch(self, panel: Panel, windows: WindowBatch) -> Batch:
        """The model's keyword arguments for training windows."""

    def forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        """(n, targets, h, q) forecasts of the points after each cutoff."""
        with autocast(self.precision, self.device):
            return self._forecast(panel, windows, quantiles)

    @abstractmethod
    def _forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        """The forecasts, in the precision that is set."""

    @property
    def base_model(self) -> nn.Module:
        """The model without its adapter."""
        model = self.model
        return model.get_base_model() if isinstance(model, PeftModel) else model

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(next(self.model.parameters()).device)

    def save(self, folder: Path) -> None:
        """Save for `BaseChronosPipeline.from_pretrained`."""
        self.model.save_pretrained(folder)  # type: ignore[operator]


def rows_of(block: Floats) -> torch.Tensor:
    """(n, V, L) to (n x V, L): the rows of a window are adjacent."""
    return torch.from_numpy(np.ascontiguousarray(block.reshape(-1, block.shape[-1])))
