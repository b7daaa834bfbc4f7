"""Chronos-2: targets and covariates of a window are rows of one group, which attend to each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from chronos import Chronos2Pipeline
from typing_extensions import override

from agent.chronos.batching.sampler import WindowBatch, contexts, futures
from agent.chronos.model import block_attention
from agent.chronos.model.family import BLOCK, STOCK, Batch, Family, rows_of
from agent.data.panel import Columns, Floats, Panel

_VERIFIED_WINDOWS = 4


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
        self._patch = pipeline.model.chronos_config.input_patch_size
        block_attention.expect_padding(pipeline.model)

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
        context = contexts(panel, windows, self.context)
        return {
            "context": rows_of(context),
            "padded": _has_empty_patch(context, self._patch),
            "future_target": rows_of(target),
            "future_covariates": rows_of(known),
            "group_ids": self._group_ids(count, columns.all),
            "num_output_patches": self._patches,
        }

    @override
    def freeze_unused(self, columns: Columns) -> None:
        if columns.all == 1:
            block_attention.freeze_queries_and_keys(self.base_model)

    @override
    def choose_attention(self, panel: Panel, windows: WindowBatch) -> str:
        if self.cross_learning:
            self.use_attention(STOCK, panel.columns)
            return STOCK
        # Few, because stock attention is quadratic and a whole batch may not fit into memory.
        few = WindowBatch(windows.series[:_VERIFIED_WINDOWS], windows.cutoffs[:_VERIFIED_WINDOWS])
        model, batch = self.base_model, self._inputs(panel, few)
        agrees = block_attention.agrees(model, batch, self.precision, self._group_size(panel.columns))
        self.use_attention(BLOCK if agrees else STOCK, panel.columns)
        return BLOCK if agrees else STOCK

    @override
    def use_attention(self, attention: str, columns: Columns) -> None:
        self.attention = attention
        if attention == BLOCK:
            block_attention.install(self.base_model, self._group_size(columns))
        else:
            block_attention.uninstall(self.base_model)

    def _group_ids(self, windows: int, rows: int) -> torch.Tensor:
        if self.cross_learning:
            return torch.zeros(windows * rows, dtype=torch.int64)
        return torch.arange(windows).repeat_interleave(rows)

    @override
    def learn_across(self) -> None:
        self.cross_learning = True

    def _group_size(self, columns: Columns) -> int | None:
        """Rows per group; unknown if the library extends its groups, to forecast further than the model does."""
        return columns.all if self._in_one_pass else None

    @property
    def _in_one_pass(self) -> bool:
        return self.horizon <= int(self.pipeline.model_prediction_length)

    def _inputs(self, panel: Panel, windows: WindowBatch) -> Batch:
        """The model's keyword arguments on its device."""
        batch = self.batch(panel, windows)
        return {name: one.to(self.device) if isinstance(one, torch.Tensor) else one for name, one in batch.items()}

    @override
    def _forecast(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
        levels = self.pipeline.quantiles
        if not self._in_one_pass or not set(quantiles) <= set(levels):
            return self._forecast_by_the_library(panel, windows, quantiles)
        inputs = self._inputs(panel, windows)
        del inputs["future_target"]
        with torch.no_grad():
            found = self.model(**inputs).quantile_preds
        rows = found[:, [levels.index(level) for level in quantiles], : self.horizon].float().cpu().numpy()
        groups = rows.reshape(len(windows.series), panel.columns.all, *rows.shape[1:])
        forecasts: Floats = groups[:, : panel.columns.targets].swapaxes(2, 3)
        return forecasts

    def _forecast_by_the_library(self, panel: Panel, windows: WindowBatch, quantiles: Sequence[float]) -> Floats:
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
            cross_learning=self.cross_learning,
        )
        return torch.stack(list(found)).numpy()


def _has_empty_patch(context: Floats, patch: int) -> bool:
    """Whether the model masks a patch, which has no value in it, of a row of (n, V, L)."""
    missing = np.isnan(context)
    if not missing.any():
        return False
    widened = np.pad(missing, ((0, 0), (0, 0), (-missing.shape[-1] % patch, 0)), constant_values=True)
    return bool(widened.reshape(*widened.shape[:-1], -1, patch).all(-1).any())
