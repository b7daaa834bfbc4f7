"""Group attention of Chronos-2 without the quadratic cost in the batch.

The library lets every row of a batch attend to every row, and masks all rows of other groups. When the rows of a group
are adjacent and all groups have the same size, as in our batches, attention within each group gives the same result.
Only the values of padded points differ, and nothing reads those. Upstream: chronos-forecasting pull request 442.
"""

from __future__ import annotations

from typing import Any

import torch
from chronos.chronos2 import Chronos2Model
from chronos.chronos2.layers import AttentionOutput, GroupSelfAttention
from chronos.chronos2.model import Chronos2Encoder
from einops import rearrange
from torch import Tensor, nn

from agent.training.model.precision import AUTOCAST_DTYPES

_TOLERANCE = 1e-4
_NOISE = 1e-6
_SERIES = ("context", "future_target", "future_covariates")


class BlockEncoder(Chronos2Encoder):  # type: ignore[misc]
    """An encoder whose group mask has one block per time step and group: (T x groups, 1, g, g) for groups of g rows."""

    @staticmethod
    def _construct_and_invert_group_time_mask(
        group_ids: Tensor, attention_mask: Tensor, floating_type: torch.dtype
    ) -> Tensor:
        size = _group_size(group_ids)
        if size is None:
            stock: Tensor = Chronos2Encoder._construct_and_invert_group_time_mask(  # noqa: SLF001 - we extend it
                group_ids, attention_mask, floating_type
            )
            return stock
        observed = rearrange(attention_mask, "(n g) t -> (t n) 1 1 g", g=size).to(floating_type)
        return ((1.0 - observed) * torch.finfo(floating_type).min).expand(-1, 1, size, size)


class BlockGroupSelfAttention(GroupSelfAttention):  # type: ignore[misc]
    """Attention within each group. The size of the groups is the last dimension of the mask."""

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, output_attentions: bool = False
    ) -> AttentionOutput:
        """As the library's: (B, T, d) to (B, T, d)."""
        size = attention_mask.shape[-1]
        if size == hidden_states.shape[0] or output_attentions:
            output: AttentionOutput = super().forward(hidden_states, attention_mask, output_attentions)
            return output
        if size == 1:
            return AttentionOutput(hidden_states=hidden_states + self.dropout(self._single_row(hidden_states)))
        groups = rearrange(hidden_states, "(n g) t d -> (t n) g d", g=size)
        attended = self.self_attention(self.layer_norm(groups), mask=attention_mask)[0]
        groups = groups + self.dropout(attended)
        rows = rearrange(groups, "(t n) g d -> (n g) t d", t=hidden_states.shape[1])
        return AttentionOutput(hidden_states=rows)

    def _single_row(self, hidden_states: Tensor) -> Tensor:
        """A row that attends only to itself: its attention weight is 1, or 0 under dropout, scaled as usual."""
        attention = self.self_attention
        values = attention.v(self.layer_norm(hidden_states))
        if self.training and attention.dropout > 0:
            heads = rearrange(values, "b t (h d) -> b t h d", h=attention.n_heads)
            weight = nn.functional.dropout(torch.ones_like(heads[..., :1]), p=attention.dropout)
            values = rearrange(heads * weight, "b t h d -> b t (h d)")
        projected: Tensor = attention.o(values)
        return projected


def install(
    model: Chronos2Model,
    encoder: type[Chronos2Encoder] = BlockEncoder,
    attention: type[GroupSelfAttention] = BlockGroupSelfAttention,
) -> None:
    """Switch a model to block attention in place. Weights, their names and saved files stay the same."""
    model.encoder.__class__ = encoder
    for block in model.encoder.block:
        block.layer[1].__class__ = attention


def uninstall(model: Chronos2Model) -> None:
    """Switch a model back to the library's attention."""
    install(model, Chronos2Encoder, GroupSelfAttention)


def agrees(
    model: Chronos2Model,
    batch: dict[str, Any],
    precision: str = "fp32",
    encoder: type[Chronos2Encoder] = BlockEncoder,
    attention: type[GroupSelfAttention] = BlockGroupSelfAttention,
) -> bool:
    """Whether block and stock attention give the same forecasts for a batch. Leaves block attention installed.

    Each series is normalised to level 0 and scale 1 first, so the tolerance means the same for all; the model
    normalises its input anyway. In half precision no two computations agree exactly, so block attention passes if it
    is about as close to stock attention in fp32 as stock attention in half precision is.
    """
    training = model.training
    model.eval()
    _, (level, scale) = model.instance_norm(batch["context"])
    normalised = batch | {name: (batch[name] - level) / scale for name in _SERIES if name in batch}

    def forecasts(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        uninstall(model)
        stock = _forecasts(model, normalised, dtype)
        install(model, encoder, attention)
        return stock, _forecasts(model, normalised, dtype)

    stock, block = forecasts(torch.float32)
    same = _same_finite(stock, block) and not bool(((stock - block).abs() > _TOLERANCE * (1 + stock.abs())).any())
    if same and precision in AUTOCAST_DTYPES:
        half_stock, half_block = forecasts(AUTOCAST_DTYPES[precision])
        gap, usual_gap = ((half - stock).square().nanmean().sqrt() for half in (half_block, half_stock))
        same = _same_finite(half_stock, half_block) and bool(gap <= 2 * usual_gap + _NOISE)
    model.train(training)
    return same


def _forecasts(model: Chronos2Model, batch: dict[str, Any], dtype: torch.dtype) -> Tensor:
    autocast = torch.autocast(batch["context"].device.type, dtype, enabled=dtype != torch.float32)
    with torch.no_grad(), autocast:
        found: Tensor = model(**batch).quantile_preds
    # In the model's own output space, before it restores level and scale and inverts arcsinh.
    _, (level, scale) = model.instance_norm(batch["context"][..., -model.chronos_config.context_length :])
    return torch.arcsinh((found.float() - level[:, None]) / scale[:, None])


def _same_finite(one: Tensor, other: Tensor) -> bool:
    return torch.equal(torch.isfinite(one), torch.isfinite(other))


def _group_size(group_ids: Tensor) -> int | None:
    """Rows per group, if the rows of each group are adjacent and all groups have the same size; else None."""
    _, counts = torch.unique_consecutive(group_ids, return_counts=True)
    size = int(counts[0])
    regular = bool((counts == size).all()) and len(counts) == len(torch.unique(group_ids))
    return size if regular else None
