"""Group attention of Chronos-2 without the quadratic cost in the batch, and attention without needless masks.

The library lets every row of a batch attend to every row, and masks all rows of other groups. When the rows of a group
are adjacent and all groups have the same size, as in our batches, attention within each group gives the same result.
Only the values of padded points differ, and nothing reads those. Upstream: chronos-forecasting pull request 442.

Nothing is read back from the GPU to find out: the size of the groups is fixed when block attention is installed, and a
batch says itself whether it has padding. Without padding there is no mask, and so torch may choose flash attention.
"""

from __future__ import annotations

from typing import Any

import torch
from chronos.chronos2 import Chronos2Model
from chronos.chronos2.layers import AttentionOutput, GroupSelfAttention
from chronos.chronos2.model import Chronos2Encoder
from einops import rearrange
from torch import Tensor, nn

from agent.chronos.model.precision import AUTOCAST_DTYPES

_TOLERANCE = 1e-4
_NOISE = 1e-6
_SERIES = ("context", "future_target", "future_covariates")


class BlockEncoder(Chronos2Encoder):  # type: ignore[misc]
    """An encoder whose group mask has one block per time step and group: (T x groups, 1, g, g) for groups of g rows.

    `padded`: whether a patch of the batch has no value. `group_size`: rows per group, None to find it out each time.
    """

    padded: bool
    group_size: int | None

    def _expand_and_invert_time_attention_mask(
        self, attention_mask: Tensor, floating_type: torch.dtype
    ) -> Tensor | None:
        if not self.padded:
            return None
        mask: Tensor = super()._expand_and_invert_time_attention_mask(attention_mask, floating_type)
        return mask

    def _construct_and_invert_group_time_mask(
        self, group_ids: Tensor, attention_mask: Tensor, floating_type: torch.dtype
    ) -> Tensor | None:
        size = self.group_size or _group_size(group_ids)
        for block in self.block:
            block.layer[1].group_size = size
        if size is None:
            stock: Tensor = super()._construct_and_invert_group_time_mask(group_ids, attention_mask, floating_type)
            return stock
        if size == 1 or not self.padded:
            return None
        observed = rearrange(attention_mask, "(n g) t -> (t n) 1 1 g", g=size).to(floating_type)
        return ((1.0 - observed) * torch.finfo(floating_type).min).expand(-1, 1, size, size)


class BlockGroupSelfAttention(GroupSelfAttention):  # type: ignore[misc]
    """Attention within each group of `group_size` adjacent rows; the library's if that is None."""

    group_size: int | None

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None, output_attentions: bool = False
    ) -> AttentionOutput:
        """As the library's: (B, T, d) to (B, T, d)."""
        size = self.group_size
        if size is None:
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


def expect_padding(model: Chronos2Model) -> None:
    """Let the model take an argument `padded`: whether a patch of the batch has no value, which is assumed without."""
    if not hasattr(model.encoder, "padded"):
        model.encoder.padded = True
        model.register_forward_pre_hook(_note_padding, with_kwargs=True)


def _note_padding(model: Chronos2Model, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    model.encoder.padded = named.pop("padded", True)
    return arguments, named


def install(
    model: Chronos2Model,
    group_size: int | None = None,
    encoder: type[Chronos2Encoder] = BlockEncoder,
    attention: type[GroupSelfAttention] = BlockGroupSelfAttention,
) -> None:
    """Switch a model to block attention in place. Weights, their names and saved files stay the same.

    `group_size`: the rows per group of all its batches; without it the ids of each batch's groups are looked at.
    """
    expect_padding(model)
    model.encoder.__class__ = encoder
    model.encoder.group_size = group_size
    for block in model.encoder.block:
        block.layer[1].__class__ = attention


def uninstall(model: Chronos2Model) -> None:
    """Switch a model back to the library's attention."""
    install(model, None, Chronos2Encoder, GroupSelfAttention)


def freeze_queries_and_keys(model: Chronos2Model) -> None:
    """Train no queries and keys of group attention: a row that is a group of its own attends only to itself.

    Otherwise several processes would have to search each step for weights that got no gradient.
    """
    for block in model.encoder.block:
        attention = block.layer[1].self_attention
        attention.q.requires_grad_(False)
        attention.k.requires_grad_(False)


def agrees(
    model: Chronos2Model,
    batch: dict[str, Any],
    precision: str = "fp32",
    group_size: int | None = None,
    encoder: type[Chronos2Encoder] = BlockEncoder,
    attention: type[GroupSelfAttention] = BlockGroupSelfAttention,
) -> bool:
    """Whether block and stock attention give the same forecasts for a batch, also if nothing of it is missing.

    Leaves block attention installed. Each series is normalised to level 0 and scale 1 first, so the tolerance means the
    same for all; the model normalises its input anyway. In half precision no two computations agree exactly, so block
    attention passes if it is about as close to stock attention in fp32 as stock attention in half precision is.
    """
    training = model.training
    model.eval()
    _, (level, scale) = model.instance_norm(batch["context"])
    normalised = batch | {name: (batch[name] - level) / scale for name in _SERIES if name in batch}
    complete = normalised | {"context": normalised["context"].nan_to_num(), "padded": False}

    def forecasts(batch: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        uninstall(model)
        stock = _forecasts(model, batch, dtype)
        install(model, group_size, encoder, attention)
        return stock, _forecasts(model, batch, dtype)

    def same(batch: dict[str, Any]) -> bool:
        stock, block = forecasts(batch, torch.float32)
        if not _same_finite(stock, block) or bool(((stock - block).abs() > _TOLERANCE * (1 + stock.abs())).any()):
            return False
        if precision not in AUTOCAST_DTYPES:
            return True
        half_stock, half_block = forecasts(batch, AUTOCAST_DTYPES[precision])
        gap, usual_gap = ((half - stock).square().nanmean().sqrt() for half in (half_block, half_stock))
        return _same_finite(half_stock, half_block) and bool(gap <= 2 * usual_gap + _NOISE)

    found = all(same(one) for one in (normalised, complete))
    model.train(training)
    return found


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
