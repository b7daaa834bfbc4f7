"""Group attention in blocks gives what the library gives, and says when it would not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chronos.chronos2.layers import GroupSelfAttention

from agent.data.panel import Panel
from agent.training.batching.sampler import Draw
from agent.training.model import block_attention
from agent.training.model.block_attention import BlockGroupSelfAttention, agrees, install, uninstall
from tests.agent.training.builders import a_family, a_panel

DRAW = Draw(np.array([0, 3, 5, 7]), np.array([20, 31, 9, 50]))


def alone(tmp_path: Path) -> Panel:
    return a_panel(tmp_path)


def together(tmp_path: Path) -> Panel:
    return a_panel(
        tmp_path,
        past_heat=lambda times, random: np.cos(times / 5) + random.normal(size=len(times)),
        known_day=lambda times, _random: (times % 7).astype(float),
    )


@pytest.mark.parametrize("groups", [alone, together])
def test_loss_gradients_and_forecasts_are_those_of_the_library(tmp_path: Path, groups: Any) -> None:
    panel = groups(tmp_path)
    family = a_family("chronos-2", dropout=0.0)
    model, batch = family.model, family.batch(panel, DRAW)
    found = []
    for change in (uninstall, install):
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
    # A row that attends to itself alone has one weight, 1, whatever its query and key are.
    missing = stock_gradients.keys() - gradients.keys()
    assert all(float(stock_gradients[name].abs().max()) < 1e-6 for name in missing)


def test_groups_of_different_sizes_go_the_librarys_way(tmp_path: Path) -> None:
    family = a_family("chronos-2", dropout=0.0)
    batch = family.batch(together(tmp_path), DRAW)
    batch["group_ids"] = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    uninstall(family.model)
    stock = family.model(**batch).loss
    install(family.model)
    assert torch.equal(family.model(**batch).loss, stock)


def test_dropout_of_the_only_weight_is_that_of_the_library_on_average(tmp_path: Path) -> None:
    del tmp_path
    torch.manual_seed(0)
    config = a_family("chronos-2", dropout=0.3).model.config
    layer = GroupSelfAttention(config).train()
    hidden = torch.randn(4, 6, config.d_model)
    means = []
    for kind, mask in ((GroupSelfAttention, _stock_mask(4, 6)), (BlockGroupSelfAttention, torch.zeros(24, 1, 1, 1))):
        layer.__class__ = kind
        means.append(torch.stack([layer(hidden, mask).hidden_states for _ in range(3000)]).mean(0))
    torch.testing.assert_close(means[0], means[1], rtol=0.05, atol=0.05)


def _stock_mask(rows: int, times: int) -> torch.Tensor:
    mask = (1.0 - torch.eye(rows)) * torch.finfo(torch.float32).min
    return mask.expand(times, 1, rows, rows)


@pytest.mark.parametrize("level", [0.0, 1e3, 1e6])
def test_start_up_finds_a_difference_at_any_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: float
) -> None:
    family = a_family("chronos-2", dropout=0.0)
    batch = family.batch(together(tmp_path), DRAW)
    batch["context"] += level
    assert agrees(family.model, batch)
    # As if the library's attention had changed its meaning.
    monkeypatch.setattr(block_attention, "_group_size", lambda _ids: 1)
    assert not agrees(family.model, batch)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_start_up_finds_a_difference_that_half_precision_alone_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    family = a_family("chronos-2", dropout=0.0)
    batch = family.batch(together(tmp_path), DRAW)
    assert agrees(family.model, batch, precision)
    right = BlockGroupSelfAttention.forward

    def coarse(layer: Any, hidden: torch.Tensor, **more: Any) -> Any:
        found = right(layer, hidden, **more)
        if torch.is_autocast_enabled("cpu"):
            found.hidden_states = found.hidden_states.round(decimals=1)
        return found

    monkeypatch.setattr(BlockGroupSelfAttention, "forward", coarse)
    assert agrees(family.model, batch)
    assert not agrees(family.model, batch, precision)


def test_what_is_saved_does_not_know_of_it(tmp_path: Path) -> None:
    family = a_family("chronos-2")
    before = family.model.state_dict().keys()
    install(family.model)
    assert family.model.state_dict().keys() == before
    assert not any("Block" in path.read_text() for path in _saved(family, tmp_path).glob("*.json"))


def _saved(family: Any, folder: Path) -> Path:
    family.save(folder)
    return folder
