"""Group attention of Chronos-2 without the batch squared.

In the library every row of a batch attends to every row, and a mask then removes all but those of its own group. When
the rows of a group lie side by side and all groups have one size, which is how batches are built, the same result comes
from attending inside each group alone. What differs is the content of padded points, which nothing else looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from chronos.chronos2 import Chronos2Model
from chronos.chronos2.layers import AttentionOutput, GroupSelfAttention
from chronos.chronos2.model import Chronos2Encoder
from einops import rearrange
from torch import Tensor, nn

_TOLERANCE = 1e-4
_NOISE = 1e-6
_SERIES = ("context", "future_target", "future_covariates")
_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class BlockEncoder(Chronos2Encoder):  # type: ignore[misc]
    """An encoder whose group mask has one block for each time and group: (T x groups, 1, g, g) for groups of g rows."""

    @staticmethod
    def _construct_and_invert_group_time_mask(
        group_ids: Tensor, attention_mask: Tensor, floating_type: torch.dtype
    ) -> Tensor:
        size = _group_size(group_ids)
        if size is None:
            stock: Tensor = Chronos2Encoder._construct_and_invert_group_time_mask(  # noqa: SLF001 - it is what we extend
                group_ids, attention_mask, floating_type
            )
            return stock
        seen = rearrange(attention_mask, "(n g) t -> (t n) 1 1 g", g=size).to(floating_type)
        return ((1.0 - seen) * torch.finfo(floating_type).min).expand(-1, 1, size, size)


class BlockGroupSelfAttention(GroupSelfAttention):  # type: ignore[misc]
    """Attention inside each group; the mask's shape tells how large the groups are."""

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, output_attentions: bool = False
    ) -> AttentionOutput:
        """As the library's, (B, T, d) to (B, T, d)."""
        size = attention_mask.shape[-1]
        if size == hidden_states.shape[0] or output_attentions:
            output: AttentionOutput = super().forward(hidden_states, attention_mask, output_attentions)
            return output
        if size == 1:
            return AttentionOutput(hidden_states=hidden_states + self.dropout(self._alone(hidden_states)))
        groups = rearrange(hidden_states, "(n g) t d -> (t n) g d", g=size)
        attended = self.self_attention(self.layer_norm(groups), mask=attention_mask)[0]
        groups = groups + self.dropout(attended)
        back = rearrange(groups, "(t n) g d -> (n g) t d", t=hidden_states.shape[1])
        return AttentionOutput(hidden_states=back)

    def _alone(self, hidden_states: Tensor) -> Tensor:
        """Attention to oneself: the only weight is 1, and dropout takes it away as it takes any weight."""
        attention = self.self_attention
        values = attention.v(self.layer_norm(hidden_states))
        if self.training and attention.dropout > 0:
            heads = rearrange(values, "b t (h d) -> b t h d", h=attention.n_heads)
            weight = nn.functional.dropout(torch.ones_like(heads[..., :1]), p=attention.dropout)
            values = rearrange(heads * weight, "b t h d -> b t (h d)")
        projected: Tensor = attention.o(values)
        return projected


def install(model: Chronos2Model) -> None:
    """Have the model use it. Weights, their names and what is saved stay as they are."""
    _swap(model, BlockEncoder, BlockGroupSelfAttention)


def uninstall(model: Chronos2Model) -> None:
    """Have the model attend as the library does."""
    _swap(model, Chronos2Encoder, GroupSelfAttention)


def agrees(model: Chronos2Model, batch: dict[str, Any], precision: str = "fp32") -> bool:
    """Whether both ways give the same forecasts for a batch. Leaves the block way installed.

    Each series is brought to level 0 and scale 1 before, which changes nothing for the model, and would hide any
    difference after. In half precision, in which no two ways agree, blocks may be no further from the library's own
    full precision than the library is.
    """
    training = model.training
    model.eval()
    _, (level, scale) = model.instance_norm(batch["context"])
    plain = batch | {name: (batch[name] - level) / scale for name in _SERIES if name in batch}
    stock, block = (_forecasts(model, plain, way, torch.float32) for way in (uninstall, install))
    same = _finite_alike(stock, block) and not bool(((stock - block).abs() > _TOLERANCE * (1 + stock.abs())).any())
    if same and precision in _HALVES:
        theirs, ours = (_forecasts(model, plain, way, _HALVES[precision]) for way in (uninstall, install))
        gap, usual = ((found - stock).square().nanmean().sqrt() for found in (ours, theirs))
        same = _finite_alike(theirs, ours) and bool(gap <= 2 * usual + _NOISE)
    model.train(training)
    return same


def _forecasts(
    model: Chronos2Model, batch: dict[str, Any], way: Callable[[Chronos2Model], None], dtype: torch.dtype
) -> Tensor:
    way(model)
    autocast = torch.autocast(batch["context"].device.type, dtype, enabled=dtype != torch.float32)
    with torch.no_grad(), autocast:
        found: Tensor = model(**batch).quantile_preds
    # As the model makes them: it puts them at the level and scale of each series, here those of what it is given.
    _, (level, scale) = model.instance_norm(batch["context"][..., -model.chronos_config.context_length :])
    return torch.arcsinh((found.float() - level[:, None]) / scale[:, None])


def _finite_alike(one: Tensor, other: Tensor) -> bool:
    return torch.equal(torch.isfinite(one), torch.isfinite(other))


def _swap(model: Chronos2Model, encoder: type, attention: type) -> None:
    model.encoder.__class__ = encoder
    for block in model.encoder.block:
        block.layer[1].__class__ = attention


def _group_size(group_ids: Tensor) -> int | None:
    """Rows of each group, when rows of a group are neighbours and all groups have the same number; else None."""
    _, counts = torch.unique_consecutive(group_ids, return_counts=True)
    size = int(counts[0])
    lie_together = bool((counts == size).all()) and len(counts) == len(torch.unique(group_ids))
    return size if lie_together else None
