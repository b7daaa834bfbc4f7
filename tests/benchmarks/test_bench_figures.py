"""What the benchmarks leave for programs and for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import publish
from benchmarks.aims import AIMS, aims


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "FIGURES", tmp_path / "build" / "bench.json")
    monkeypatch.setattr(publish, "DOCUMENT", tmp_path / "benchmarks.md")


def test_figures_have_their_own_names_and_replace_the_last_ones() -> None:
    publish.publish({"flops_share": 0.1, "matmul_gflops": 9}, "Arithmetic", "old")
    publish.publish({"ddp": {"loss_gap": 1e-7}}, "Two processes", "both")
    publish.publish({"flops_share": 0.2, "matmul_gflops": 9}, "Arithmetic", "new")
    found = json.loads(publish.FIGURES.read_text())
    assert found == {"flops_share": 0.2, "matmul_gflops": 9, "ddp": {"loss_gap": 1e-7}}
    text = publish.DOCUMENT.read_text()
    assert "old" not in text
    assert text.count("## Arithmetic") == 1


def test_aims_stand_beside_what_was_measured() -> None:
    publish.publish({"train_steps_ratio": {"d64, batch 256": {"ratio": 3.2}}, "agent_overhead_percent": 2.5}, "A", "a")
    _, _, text = aims()
    assert "| train_steps_ratio / d64, batch 256 / ratio | ≥ 3 | 3.2 | yes |" in text
    assert "| agent_overhead_percent | ≤ 1 | 2.5 | no |" in text
    assert "| ddp / loss_gap | ≤ 1e-05 | not measured |  |" in text
    assert len(text.splitlines()) == 2 + len(AIMS)
