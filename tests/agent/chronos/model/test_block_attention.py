"""Block attention equals the library's attention, and a difference is detected."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chronos.chronos2.layers import GroupSelfAttention

from agent.chronos.batching.sampler import WindowBatch
from agent.chronos.model.block_attention import BlockEncoder, BlockGroupSelfAttention, agrees, install, uninstall
from agent.data.panel import Panel
from tests.agent.chronos.builders import a_family, a_panel

WINDOWS = WindowBatch(np.array([0, 3, 5, 7]), np.array([20, 31, 9, 50]))
COMPLETE = WindowBatch(WINDOWS.series, np.array([24, 31, 40, 50]))
"""Without padding, and so without masks."""


def single_rows(tmp_path: Path) -> Panel:
    return a_panel(tmp_path)


def groups_of_rows(tmp_path: Path) -> Panel:
    return a_panel(
        tmp_path,
        past_heat=lambda times, random: np.cos(times / 5) + random.normal(size=len(times)),
        known_day=lambda times, _random: (times % 7).astype(float),
    )


@pytest.mark.parametrize("missing", ["padding", "patches", "nothing"])
@pytest.mark.parametrize("known", [True, False], ids=["known size", "found size"])
@pytest.mark.parametrize("groups", [single_rows, groups_of_rows])
def test_loss_gradients_and_forecasts_equal_the_librarys(
    tmp_path: Path, groups: Any, known: bool, missing: str
) -> None:
    """Also if some of the rows of a group lack patches that the others have."""
    panel = groups(tmp_path)
    family = a_family("chronos-2", dropout=0.0)
    model, batch = family.model, family.batch(panel, WINDOWS if missing == "padding" else COMPLETE)
    assert batch["padded"] is (missing == "padding")
    if missing == "patches":
        batch["context"][1, 6:12] = batch["context"][-1, 12:18] = torch.nan
        batch["padded"] = True
    with torch.no_grad():
        for block in model.encoder.block:
            # The small weights of a new model would hide what the groups contribute.
            for name in "qkvo":
                getattr(block.layer[1].self_attention, name).weight *= 10
    found = []
    for change in (uninstall, partial(install, group_size=panel.columns.all if known else None)):
        change(model)
        model.zero_grad()
        output = model(**batch)
        output.loss.backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        found.append((output.loss.item(), output.quantile_preds.detach(), gradients))
    (stock, stock_forecasts, stock_gradients), (block, block_forecasts, gradients) = found
    assert block == pytest.approx(stock, rel=1e-6)
    torch.testing.assert_close(block_forecasts, stock_forecasts, rtol=1e-4, atol=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, stock_gradients[name], rtol=1e-3, atol=1e-5)
    # A row that attends only to itself has weight 1, whatever its query and key are.
    missing = stock_gradients.keys() - gradients.keys()
    assert all(float(stock_gradients[name].abs().max()) < 1e-6 for name in missing)


def test_groups_of_different_sizes_use_the_librarys_attention(tmp_path: Path) -> None:
    family = a_family("chronos-2", dropout=0.0)
    batch = family.batch(groups_of_rows(tmp_path), WINDOWS)
    batch["group_ids"] = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    uninstall(family.model)
    stock = family.model(**batch).loss
    install(family.model)
    assert torch.equal(family.model(**batch).loss, stock)


def test_dropout_of_a_single_row_varies_as_the_librarys() -> None:
    torch.manual_seed(0)
    config = a_family("chronos-2", dropout=0.3).model.config
    layer = GroupSelfAttention(config).train()
    hidden = torch.randn(4, 6, config.d_model)
    found = []
    layer.group_size = 1
    for kind, mask in ((GroupSelfAttention, _stock_mask(4, 6)), (BlockGroupSelfAttention, None)):
        layer.__class__ = kind
        found.append(torch.stack([layer(hidden, mask).hidden_states for _ in range(3000)]))
    for one, other in zip(*((draws.mean(0), draws.std(0)) for draws in found), strict=True):
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.05)


def _stock_mask(rows: int, times: int) -> torch.Tensor:
    mask = (1.0 - torch.eye(rows)) * torch.finfo(torch.float32).min
    return mask.expand(times, 1, rows, rows)


def test_a_batch_that_does_not_say_so_may_be_padded(tmp_path: Path) -> None:
    """As those of the library's own forecasts, after one without padding."""
    panel, family = single_rows(tmp_path), a_family("chronos-2", dropout=0.0)
    padded = family.batch(panel, WINDOWS)
    install(family.model, 1)
    expected = family.model(**padded).loss
    family.model(**family.batch(panel, COMPLETE))
    del padded["padded"]
    assert torch.equal(family.model(**padded).loss, expected)


class WrongMask(BlockEncoder):
    """Masks as if every group had one row."""

    def _construct_and_invert_group_time_mask(
        self, group_ids: torch.Tensor, attention_mask: torch.Tensor, floating_type: torch.dtype
    ) -> torch.Tensor | None:
        singletons = torch.arange(len(group_ids), device=group_ids.device)
        return super()._construct_and_invert_group_time_mask(singletons, attention_mask, floating_type)


class IgnoresPadding(BlockEncoder):
    """Never masks."""

    def forward(self, *arguments: Any, **more: Any) -> Any:
        self.padded = False
        return super().forward(*arguments, **more)


class CoarseInHalfPrecision(BlockGroupSelfAttention):
    """Rounds its output to one decimal under autocast."""

    def forward(self, hidden_states: torch.Tensor, *arguments: Any, **more: Any) -> Any:
        found = super().forward(hidden_states, *arguments, **more)
        if torch.is_autocast_enabled("cpu"):
            found.hidden_states = found.hidden_states.round(decimals=1)
        return found


@pytest.mark.parametrize("level", [0.0, 1e3, 1e6])
def test_a_difference_is_detected_at_any_level(tmp_path: Path, level: float) -> None:
    family = a_family("chronos-2", dropout=0.0)
    batch = family.batch(groups_of_rows(tmp_path), WINDOWS)
    batch["context"] += level
    assert agrees(family.model, batch)
    assert agrees(family.model, batch, group_size=3)
    assert not agrees(family.model, batch, encoder=WrongMask)
    assert not agrees(family.model, batch, encoder=IgnoresPadding)
    assert not agrees(family.model, batch, group_size=1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_difference_in_half_precision_alone_is_detected(tmp_path: Path, precision: str) -> None:
    family = a_family("chronos-2", dropout=0.0)
    batch = family.batch(groups_of_rows(tmp_path), WINDOWS)
    assert agrees(family.model, batch, precision)
    assert agrees(family.model, batch, attention=CoarseInHalfPrecision)
    assert not agrees(family.model, batch, precision, attention=CoarseInHalfPrecision)


def test_nothing_is_read_back_from_the_gpu_to_build_a_mask(tmp_path: Path) -> None:
    """Tensors on the device `meta` have no values that could be read."""
    family = a_family("chronos-2", dropout=0.0)
    encoder = family.model.encoder.to("meta")
    rows, patches = 6, 5
    inputs = {
        "inputs_embeds": torch.empty(rows, patches, family.model.config.d_model, device="meta"),
        "attention_mask": torch.empty(rows, patches, device="meta"),
        "group_ids": torch.empty(rows, dtype=torch.long, device="meta"),
    }
    for group_size in (1, 3):
        install(family.model, group_size)
        for encoder.padded in (True, False):
            assert encoder(**inputs).last_hidden_state.shape == inputs["inputs_embeds"].shape
    install(family.model)
    with pytest.raises(NotImplementedError):
        encoder(**inputs)


@pytest.mark.parametrize("length", [24, 21, 11])
def test_a_batch_is_padded_if_the_model_masks_a_patch(tmp_path: Path, length: int) -> None:
    panel = a_panel(tmp_path)
    random = np.random.default_rng(length)
    found = set()
    for share in np.linspace(0, 0.9, 40):
        gaps = random.random(panel.values.shape) < share
        batch = a_family("chronos-2").batch(
            replace(panel, values=np.where(gaps, np.nan, panel.values).astype(np.float32)),
            WindowBatch(np.array([0, 3]), np.array([length, length])),
        )
        _, observed, _ = a_family("chronos-2").model._prepare_patched_context(batch["context"])
        assert batch["padded"] is not bool(observed.all())
        found.add(batch["padded"])
    assert found == {True, False}


def test_saved_models_do_not_depend_on_it(tmp_path: Path) -> None:
    family = a_family("chronos-2")
    before = family.model.state_dict().keys()
    install(family.model)
    assert family.model.state_dict().keys() == before
    assert not any("Block" in path.read_text() for path in _saved(family, tmp_path).glob("*.json"))


def _saved(family: Any, folder: Path) -> Path:
    family.save(folder)
    return folder
