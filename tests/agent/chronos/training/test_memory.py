"""Batches that do not fit into memory are split; batches are ready when the GPU needs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.chronos.training import engine
from agent.data.panel import Panel
from agent.protocol.metrics_log import interruptions
from chronos_ec2.domain.errors import InvalidInput
from tests.agent.chronos.builders import FAMILIES
from tests.agent.chronos.training.jobs import STEPS, a_job, limit_memory, losses, metrics_lines, train
from tests.combinations import combinations


@pytest.mark.parametrize("from_call", combinations([(0,), (2,), (5,)], quick={(2,)}))
def test_a_batch_that_does_not_fit_is_split(panel: Panel, tmp_path: Path, from_call: int) -> None:
    """At once, later, or after a checkpoint."""
    settings = {"dropout": 0.0, "learning_rate": 1e-3}
    _, whole = train(a_job(panel, "chronos-2", **settings), tmp_path / "whole")
    job = a_job(panel, "chronos-2", **settings)
    limit_memory(job.model, 1, from_call)
    done, weights = train(job, tmp_path / "parts")
    assert (done.steps, done.parts) == (STEPS, 4)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, whole[name], rtol=1e-3, atol=2e-5)


def test_training_starts_over_from_the_latest_checkpoint(panel: Panel, tmp_path: Path) -> None:
    """Out of memory in the fifth step. The agent is told, which would take repeated steps for a hang."""
    job = a_job(panel, "chronos-2")
    limit_memory(job.model, 1, from_call=4)
    train(job, tmp_path)
    assert [line["step"] for line in metrics_lines(tmp_path) if line.get("event") == "began"] == [0, 3, 3]
    assert interruptions(tmp_path / "metrics.jsonl") == [{"reached": reached, "resumed_from": 3} for reached in (4, 3)]


def with_gaps(panel: Panel) -> Panel:
    values = panel.values.copy()
    values[:, ::7] = np.nan
    values[:, 40:48] = np.nan
    return replace(panel, values=values)


@pytest.mark.parametrize("family", combinations([(family,) for family in FAMILIES], quick={("chronos-t5",)}))
def test_parts_are_weighted_by_their_size(panel: Panel, tmp_path: Path, family: str) -> None:
    """Three windows in parts of one and two; with gaps the parts of Chronos-T5 have different numbers of tokens."""
    settings: dict[str, Any] = {"dropout": 0.0, "learning_rate": 1e-3, "windows": 3, "gradient_accumulation": 2}
    gaps = with_gaps(panel)
    _, whole = train(a_job(gaps, family, **settings), tmp_path / "whole")
    job = a_job(gaps, family, **settings)
    limit_memory(job.model, 2)
    done, weights = train(job, tmp_path / "parts")
    assert (done.steps, done.parts) == (STEPS, 2)
    pairs = zip(losses(tmp_path / "parts"), losses(tmp_path / "whole"), strict=True)
    assert all(ours == pytest.approx(theirs, rel=1e-4) for ours, theirs in pairs)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, whole[name], rtol=1e-3, atol=2e-4)


def test_a_batch_is_split_into_at_most_its_windows(panel: Panel, tmp_path: Path) -> None:
    """256 rows, four windows: at most four parts."""
    job = a_job(panel, "chronos-2", batch_size=256)
    limit_memory(job.model, 0)
    with pytest.raises(InvalidInput, match="a single window does not fit into the GPU's memory"):
        train(job, tmp_path)


@pytest.mark.parametrize(
    ("device", "setting", "workers"), [("cpu", None, 0), ("cpu", 1, 1), ("meta", None, 2), ("meta", 0, 0)]
)
def test_a_gpu_has_data_loader_workers_and_pinned_memory(
    panel: Panel, tmp_path: Path, device: str, setting: int | None, workers: int
) -> None:
    """`meta` stands for a device that is not a CPU."""
    job = a_job(panel, "chronos-2", workers=setting)
    job.model.to(device)
    arguments = engine._arguments(job, 1, tmp_path)
    assert (arguments.dataloader_num_workers, arguments.dataloader_pin_memory) == (workers, device != "cpu")
