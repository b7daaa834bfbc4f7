"""What differs between Chronos-2, Chronos-Bolt and Chronos-T5: batches, adapters, forecasts, how they are saved."""

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
from agent.training.batching.sampler import Draw, contexts, futures
from chronos_ec2.domain.errors import InvalidInput

Batch = dict[str, Any]
_FORECAST_ROWS = 256
"""Sequences that a model is given at a time to forecast."""


class Family(ABC):
    """One kind of Chronos model; `horizon` and `context` are the points to forecast and those to look back at."""

    def __init__(self, pipeline: BaseChronosPipeline, context: int, horizon: int) -> None:
        self.pipeline = pipeline
        self.context = context
        self.horizon = horizon

    name: str
    adapted: Sequence[str]
    """The layers that get a low-rank adapter, as peft names them."""
    label: str
    """The argument with the points to forecast."""

    @property
    @abstractmethod
    def model(self) -> nn.Module:
        """What is trained."""

    @abstractmethod
    def replace(self, model: nn.Module) -> None:
        """Put another module, the same with an adapter or without one, where the model was."""

    @abstractmethod
    def rows(self, columns: Columns) -> int:
        """How many rows of a batch one window takes."""

    @abstractmethod
    def sequences(self, columns: Columns) -> int:
        """How many sequences the model computes to forecast one window."""

    def at_once(self, columns: Columns) -> int:
        """How many windows are forecast at a time."""
        return max(1, _FORECAST_ROWS // self.sequences(columns))

    @abstractmethod
    def batch(self, panel: Panel, draw: Draw) -> Batch:
        """The model's arguments for windows; `contexts` and `futures` say how they are cut."""

    @abstractmethod
    def forecast(self, panel: Panel, draw: Draw, quantiles: Sequence[float]) -> Floats:
        """(n, targets, h, q) forecasts of the points after each cut."""

    @property
    def base_model(self) -> nn.Module:
        """The model itself, below an adapter."""
        model = self.model
        return model.get_base_model() if isinstance(model, PeftModel) else model

    @property
    def device(self) -> str:
        """Where it is."""
        return str(next(self.model.parameters()).device)

    def save(self, folder: Path) -> None:
        """Save the model as `BaseChronosPipeline.from_pretrained` loads it."""
        self.model.save_pretrained(folder)  # type: ignore[operator]


class Chronos2Family(Family):
    """Chronos-2: several targets and covariates together, in groups."""

    name = "chronos-2"
    label = "future_target"
    adapted = (
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
    def replace(self, model: nn.Module) -> None:
        self.pipeline.model = model

    @override
    def rows(self, columns: Columns) -> int:
        return columns.all

    @override
    def sequences(self, columns: Columns) -> int:
        return columns.all

    @override
    def batch(self, panel: Panel, draw: Draw) -> Batch:
        count, columns = len(draw.series), panel.columns
        future = futures(panel, draw, self.horizon)
        target, known = future.copy(), future
        target[:, columns.targets :] = np.nan
        known[:, : columns.all - columns.known] = np.nan
        return {
            "context": _rows_of(contexts(panel, draw, self.context)),
            "future_target": _rows_of(target),
            "future_covariates": _rows_of(known),
            "group_ids": torch.arange(count).repeat_interleave(columns.all),
            "num_output_patches": self._patches,
        }

    @override
    def forecast(self, panel: Panel, draw: Draw, quantiles: Sequence[float]) -> Floats:
        columns = panel.columns
        known = futures(panel, draw, self.horizon)
        known[:, : columns.all - columns.known] = np.nan
        context = contexts(panel, draw, self.context)
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


class _OneByOne(Family):
    """A family that sees each target by itself, and no covariates; of the context what the model itself takes."""

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
    def forecast(self, panel: Panel, draw: Draw, quantiles: Sequence[float]) -> Floats:
        # The trained model may have covariates where this is what it is compared with.
        found, _ = self.pipeline.predict_quantiles(
            _rows_of(contexts(panel, draw, self.context)[:, : panel.columns.targets]),
            prediction_length=self.horizon,
            quantile_levels=list(quantiles),
        )
        forecasts: Floats = found.numpy().reshape(len(draw.series), panel.columns.targets, self.horizon, len(quantiles))
        return forecasts


class BoltFamily(_OneByOne):
    """Chronos-Bolt: the horizon is trained up to what the model's last layer gives."""

    name = "chronos-bolt"
    label = "target"
    adapted = ("SelfAttention.q", "SelfAttention.k", "SelfAttention.v", "SelfAttention.o",
               "EncDecAttention.q", "EncDecAttention.k", "EncDecAttention.v", "EncDecAttention.o")  # fmt: skip
    pipeline: ChronosBoltPipeline

    def __init__(self, pipeline: ChronosBoltPipeline, context: int, horizon: int) -> None:
        super().__init__(pipeline, context, horizon)
        longest = pipeline.model_prediction_length
        if horizon > longest:
            raise InvalidInput(
                "prediction_length", f"{horizon} is more than the {longest} points of this Chronos-Bolt", "lower it"
            )
        # peft asks for it, and the library forgot it.
        model = pipeline.model
        model.get_input_embeddings = lambda: model.shared

    @property
    @override
    def model(self) -> nn.Module:
        model: nn.Module = self.pipeline.model
        return model

    @override
    def replace(self, model: nn.Module) -> None:
        self.pipeline.model = model

    @override
    def batch(self, panel: Panel, draw: Draw) -> Batch:
        return {
            "context": _rows_of(contexts(panel, draw, self.context)),
            "target": _rows_of(futures(panel, draw, self.horizon)),
        }


class T5Family(_OneByOne):
    """Chronos-T5: values as tokens; the library's tokenizer makes them, with the limits of the checkpoint."""

    name = "chronos-t5"
    label = "labels"
    adapted = BoltFamily.adapted
    pipeline: ChronosPipeline

    def __init__(self, pipeline: ChronosPipeline, context: int, horizon: int) -> None:
        super().__init__(pipeline, context, horizon)
        self._trained = pipeline.model_prediction_length
        if horizon > self._trained:
            raise InvalidInput(
                "prediction_length",
                f"{horizon} is more than the {self._trained} points that this Chronos-T5 is trained for",
                "lower it",
            )

    @property
    @override
    def model(self) -> nn.Module:
        model: nn.Module = self.pipeline.model.model
        return model

    @override
    def replace(self, model: nn.Module) -> None:
        self.pipeline.model.model = model

    @override
    def sequences(self, columns: Columns) -> int:
        # Each is a forecast that is drawn.
        return columns.targets * int(self.pipeline.model.config.num_samples)

    @override
    def batch(self, panel: Panel, draw: Draw) -> Batch:
        tokenizer: Any = self.pipeline.tokenizer
        context = _rows_of(contexts(panel, draw, self.context))
        ids, mask, scale = tokenizer.context_input_transform(context)
        future = torch.full((len(context), self._trained), torch.nan)
        future[:, : self.horizon] = _rows_of(futures(panel, draw, self.horizon))
        labels, seen = tokenizer.label_input_transform(future, scale)
        labels[~seen] = -100
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


_FAMILIES: dict[type[BaseChronosPipeline], type[Family]] = {
    Chronos2Pipeline: Chronos2Family,
    ChronosBoltPipeline: BoltFamily,
    ChronosPipeline: T5Family,
}


def family_of(pipeline: BaseChronosPipeline, context: int, horizon: int) -> Family:
    """The family of a pipeline. Raises InvalidInput for a horizon that it cannot have."""
    make: Any = _FAMILIES[type(pipeline)]
    family: Family = make(pipeline, context, horizon)
    return family


def _rows_of(block: Floats) -> torch.Tensor:
    """(n, V, L) to (n x V, L): the rows of a window side by side."""
    return torch.from_numpy(np.ascontiguousarray(block.reshape(-1, block.shape[-1])))
