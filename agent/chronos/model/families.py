"""The model families Chronos-2, Chronos-Bolt and Chronos-T5: their batches, LoRA targets and forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from chronos import BaseChronosPipeline, Chronos2Pipeline, ChronosBoltPipeline, ChronosPipeline
from torch import nn
from typing_extensions import override

from agent.chronos.batching.sampler import WindowBatch, contexts, futures
from agent.chronos.model.chronos2 import Chronos2Family
from agent.chronos.model.family import STOCK, Batch, Family, rows_of
from agent.data.panel import Columns, Floats, Panel
from chronos_ec2.domain.errors import InvalidInput

__all__ = ["Batch", "BoltFamily", "Chronos2Family", "Family", "T5Family", "family_of"]


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
    def freeze_unused(self, columns: Columns) -> None:
        pass

    @override
    def choose_attention(self, panel: Panel, windows: WindowBatch) -> str:
        self.attention = STOCK
        return STOCK

    @override
    def use_attention(self, attention: str, columns: Columns) -> None:
        self.attention = attention

    @override
    def _forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        # Targets only: as a reference model it may be compared with one that has covariates.
        found, _ = self.pipeline.predict_quantiles(
            rows_of(contexts(panel, windows, self.context)[:, : panel.columns.targets]),
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

    @override
    def batch(self, panel: Panel, windows: WindowBatch) -> Batch:
        return {
            "context": rows_of(contexts(panel, windows, self.context)),
            "target": rows_of(futures(panel, windows, self.horizon)),
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
        context = rows_of(contexts(panel, windows, self.context))
        ids, mask, scale = tokenizer.context_input_transform(context)
        future = torch.full((len(context), self._trained), torch.nan)
        future[:, : self.horizon] = rows_of(futures(panel, windows, self.horizon))
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
