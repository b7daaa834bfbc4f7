"""The measurements for a GPU, rehearsed on the CPU with small sizes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from agent.chronos.model.family import BLOCK
from benchmarks.gpu.__main__ import measure, parts
from benchmarks.gpu.checks import FAMILIES
from benchmarks.gpu.sizes import GPU, SMALL
from benchmarks.gpu.speed import a_family, a_panel, compile_layers, first_windows
from benchmarks.training.workload import random_pipeline


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # of the library's own fit and of torch's compiler
def test_every_part_runs_and_its_figures_are_written(tmp_path: Path) -> None:
    found = measure(SMALL, tmp_path / "build" / "bench-gpu.json")
    assert found == json.loads((tmp_path / "build" / "bench-gpu.json").read_text())
    assert found["failed"] == {}
    assert found.keys() - {"gpu", "torch", "seconds", "failed"} == parts(SMALL).keys()
    assert found["gpu"] is None
    assert found["gates bf16"] == dict.fromkeys(FAMILIES, "same")
    assert found["resume bf16"] == {"bit_exact": True, "resumed_from": 3}
    steps = found[f"steps {SMALL.contexts[0]}"]
    assert all(one["steps_per_second"] > 0 for one in steps.values())
    assert {name for name, one in steps.items() if "data_wait_ms" in one} == steps.keys() - {"fit"}


def test_no_part_begins_when_time_is_up(tmp_path: Path) -> None:
    found = measure(SMALL, tmp_path / "bench-gpu.json", itertools.count(step=600).__next__)
    assert found["failed"] == dict.fromkeys(parts(SMALL), "no time left")


def test_the_sizes_for_a_gpu_are_those_of_chronos_2() -> None:
    assert {f"gates {one}" for one in ("bf16", "fp16")} < parts(GPU).keys()
    assert {f"steps {one}" for one in (512, 2048)} < parts(GPU).keys()
    assert GPU.rows == 256
    with torch.device("meta"):
        weights = random_pipeline(GPU.shape, 512).model.parameters()
    assert sum(weight.numel() for weight in weights) == pytest.approx(120e6, rel=0.02)


def test_a_layer_is_one_graph_and_forecasts_the_same(tmp_path: Path) -> None:
    """Nothing of a layer is left to Python, so that it can be compiled."""
    panel, family = a_panel(tmp_path, 32, 8), a_family(SMALL, 32, "fp32")
    family.model.eval()
    family.use_attention(BLOCK, panel.columns)
    windows = first_windows(panel, 8)
    before = family.forecast(panel, windows, [0.5])
    compile_layers(family, "eager")
    torch.testing.assert_close(torch.tensor(family.forecast(panel, windows, [0.5])), torch.tensor(before))
