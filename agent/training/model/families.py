"""The model families Chronos-2, Chronos-Bolt and Chronos-T5: their batches, LoRA targets and forecasts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chronos import BaseChronosPipeline, Chronos2Pipeline, ChronosBoltPipeline, ChronosPipeline
from peft import PeftModel
from torch import nn
from typing_extensions import override

from agent.data.panel import Columns, Floats, Panel
from agent.training.batching.sampler import WindowBatch, contexts, futures
from agent.training.model.precision import autocast
from chronos_ec2.domain.errors import InvalidInput

Batch = dict[str, Any]
_FORECAST_ROWS = 256
"""Sequences per forward pass of a forecast."""


class Family(ABC):
    """A Chronos model with its context length `context` and prediction length `horizon`, in points.

    `precision`: the one that it is trained in and forecasts in.
    """

    def __init__(self, pipeline: BaseChronosPipeline, context: int, horizon: int) -> None:
        self.pipeline = pipeline
        self.context = context
        self.horizon = horizon
        self.precision = "fp32"

    name: str
    lora_targets: Sequence[str]
    """peft's `target_modules`."""
    label: str
    """The model argument with the target values, for which it returns a loss."""

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """The module that is trained, with its adapter if it has one."""

    @abstractmethod
    def replace_model(self, model: nn.Module) -> None:
        """Replace the module by one with, or without, an adapter."""

    @abstractmethod
    def rows(self, columns: Columns) -> int:
        """Batch rows per window."""

    @abstractmethod
    def sequences(self, columns: Columns) -> int:
        """Sequences the model computes to forecast one window."""

    def forecast_windows(self, columns: Columns) -> int:
        """Windows per forward pass of a forecast."""
        return max(1, _FORECAST_ROWS // self.sequences(columns))

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


class Chronos2Family(Family):
    """Chronos-2: targets and covariates of a window are rows of one group, which attend to each other."""

    name = "chronos-2"
    label = "future_target"
    lora_targets = (
        "self_attention.q",
        "self_attention.k",
        "self_attention.v",
        "self_attention.o",
        "output_patch_embedding.output_layer",
    )
    pipeline: Chronos2Pipeline

    def __init__(self, pipeline: Chronos2Pipeline, context: int, horizon: int) -> None:
        super().__init__(pipeline, context, horizon)
        self._patches = math.ceil(horizon / pipeline.model_output_patch_size)

    @property
    @override
    def model(self) -> nn.Module:
        model: nn.Module = self.pipeline.model
        return model

    @override
    def replace_model(self, model: nn.Module) -> None:
        self.pipeline.model = model

    @override
    def rows(self, columns: Columns) -> int:
        return columns.all

    @override
    def sequences(self, columns: Columns) -> int:
        return columns.all

    @override
    def batch(self, panel: Panel, windows: WindowBatch) -> Batch:
        count, columns = len(windows.series), panel.columns
        future = futures(panel, windows, self.horizon)
        target, known = future.copy(), future
        target[:, columns.targets :] = np.nan
        known[:, : columns.all - columns.known] = np.nan
        return {
            "context": _rows_of(contexts(panel, windows, self.context)),
            "future_target": _rows_of(target),
            "future_covariates": _rows_of(known),
            "group_ids": torch.arange(count).repeat_interleave(columns.all),
            "num_output_patches": self._patches,
        }

    @override
    def _forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        columns = panel.columns
        known = futures(panel, windows, self.horizon)
        known[:, : columns.all - columns.known] = np.nan
        context = contexts(panel, windows, self.context)
        inputs: Any = [
            {
                "context": torch.from_numpy(past),
                "future_covariates": torch.from_numpy(future),
                "n_targets": columns.targets,
                "n_covariates": columns.all - columns.targets,
                "n_future_covariates": columns.known,
            }
            for past, future in zip(context, known, strict=True)
        ]
        found, _ = self.pipeline.predict_quantiles(
            inputs,
            prediction_length=self.horizon,
            quantile_levels=list(quantiles),
            context_length=min(self.context, self.pipeline.model_context_length),
            batch_size=len(inputs) * columns.all,
        )
        return torch.stack(list(found)).numpy()


class _UnivariateFamily(Family):
    """A family that forecasts each target by itself, without covariates, and cannot extend its context."""

    def __init__(self, pipeline: BaseChronosPipeline, context: int, horizon: int) -> None:
        super().__init__(pipeline, min(context, pipeline.model_context_length), horizon)

    @override
    def rows(self, columns: Columns) -> int:
        if columns.past or columns.known:
            raise InvalidInput("data", f"{self.name} takes no covariates", "leave them out, or train Chronos-2")
        return columns.targets

    @override
    def sequences(self, columns: Columns) -> int:
        return columns.targets

    @override
    def _forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        # Targets only: as a reference model it may be compared with one that has covariates.
        found, _ = self.pipeline.predict_quantiles(
            _rows_of(contexts(panel, windows, self.context)[:, : panel.columns.targets]),
            prediction_length=self.horizon,
            quantile_levels=list(quantiles),
        )
        shape = len(windows.series), panel.columns.targets, self.horizon, len(quantiles)
        forecasts: Floats = found.numpy().reshape(shape)
        return forecasts


class BoltFamily(_UnivariateFamily):
    """Chronos-Bolt: direct multi-step forecasts, so the horizon is limited by the output layer."""

    name = "chronos-bolt"
    label = "target"
    lora_targets = ("SelfAttention.q", "SelfAttention.k", "SelfAttention.v", "SelfAttention.o",
               "EncDecAttention.q", "EncDecAttention.k", "EncDecAttention.v", "EncDecAttention.o")  # fmt: skip
    pipeline: ChronosBoltPipeline

    def __init__(self, pipeline: ChronosBoltPipeline, context: int, horizon: int) -> None:
        super().__init__(pipeline, context, horizon)
        longest = pipeline.model_prediction_length
        if horizon > longest:
            raise InvalidInput(
                "prediction_length", f"{horizon} is more than the {longest} points of this Chronos-Bolt", "lower it"
            )
        # peft calls it, and the library does not implement it (docs/upstream.md).
        model = pipeline.model
        model.get_input_embeddings = lambda: model.shared

    @property
    @override
    def model(self) -> nn.Module:
        model: nn.Module = self.pipeline.model
        return model

    @override
    def replace_model(self, model: nn.Module) -> None:
        self.pipeline.model = model

    @override
    def batch(self, panel: Panel, windows: WindowBatch) -> Batch:
        return {
            "context": _rows_of(contexts(panel, windows, self.context)),
            "target": _rows_of(futures(panel, windows, self.horizon)),
        }


class T5Family(_UnivariateFamily):
    """Chronos-T5: values are binned into tokens by the library's tokenizer, with the checkpoint's limits."""

    name = "chronos-t5"
    label = "labels"
    lora_targets = BoltFamily.lora_targets
    pipeline: ChronosPipeline

    def __init__(self, pipeline: ChronosPipeline, context: int, horizon: int) -> None:
        super().__init__(pipeline, context, horizon)
        self._trained = pipeline.model_prediction_length
        if horizon > self._trained:
            raise InvalidInput(
                "prediction_length",
                f"{horizon} is more than the {self._trained} points this Chronos-T5 was trained for",
                "lower it",
            )

    @property
    @override
    def model(self) -> nn.Module:
        model: nn.Module = self.pipeline.model.model
        return model

    @override
    def replace_model(self, model: nn.Module) -> None:
        self.pipeline.model.model = model

    @override
    def sequences(self, columns: Columns) -> int:
        # One per sample path.
        return columns.targets * int(self.pipeline.model.config.num_samples)

    @override
    def batch(self, panel: Panel, windows: WindowBatch) -> Batch:
        tokenizer: Any = self.pipeline.tokenizer
        context = _rows_of(contexts(panel, windows, self.context))
        ids, mask, scale = tokenizer.context_input_transform(context)
        future = torch.full((len(context), self._trained), torch.nan)
        future[:, : self.horizon] = _rows_of(futures(panel, windows, self.horizon))
        labels, observed = tokenizer.label_input_transform(future, scale)
        labels[~observed] = -100
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


_FAMILIES: dict[type[BaseChronosPipeline], type[Family]] = {
    Chronos2Pipeline: Chronos2Family,
    ChronosBoltPipeline: BoltFamily,
    ChronosPipeline: T5Family,
}


def family_of(pipeline: BaseChronosPipeline, context: int, horizon: int, precision: str = "fp32") -> Family:
    """The family of a pipeline. Raises InvalidInput if its horizon is shorter."""
    make: Any = _FAMILIES[type(pipeline)]
    family: Family = make(pipeline, context, horizon)
    family.precision = precision
    return family


def _rows_of(block: Floats) -> torch.Tensor:
    """(n, V, L) to (n x V, L): the rows of a window are adjacent."""
    return torch.from_numpy(np.ascontiguousarray(block.reshape(-1, block.shape[-1])))
