"""Figures and sections replace older ones; targets are compared with what was measured; resume is exact or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.publish import DOCUMENT, FIGURES, publish
from benchmarks.training.resume import exactness
from benchmarks.training.targets import TARGETS, targets


def test_figures_and_sections_replace_the_last_ones(tmp_path: Path) -> None:
    publish({"flops_share": 0.1, "matmul_gflops": 9}, "Arithmetic", "old", tmp_path)
    publish({"ddp": {"loss_gap": 1e-7}}, "Two processes", "both", tmp_path)
    publish({"flops_share": 0.2, "matmul_gflops": 9}, "Arithmetic", "new", tmp_path)
    found = json.loads((tmp_path / FIGURES).read_text())
    assert found == {"flops_share": 0.2, "matmul_gflops": 9, "ddp": {"loss_gap": 1e-7}}
    text = (tmp_path / DOCUMENT).read_text()
    assert "old" not in text
    assert text.count("## Arithmetic") == 1


def test_targets_are_compared_with_what_was_measured(tmp_path: Path) -> None:
    figures = {"train_steps_ratio": {"d64, batch 256": {"ratio": 3.2}}, "agent_overhead_percent": 2.5}
    publish(figures, "A", "a", tmp_path)
    text = targets(tmp_path).text
    assert "| train_steps_ratio / d64, batch 256 / ratio | ≥ 3 | 3.2 | yes |" in text
    assert "| agent_overhead_percent | ≤ 1 | 2.5 | no |" in text
    assert "| ddp / loss_gap | ≤ 1e-05 | not measured |  |" in text
    assert len(text.splitlines()) == 2 + len(TARGETS)


def a_report(folder: Path, *ends: str) -> Path:
    report = folder / "report.xml"
    cases = (f'<testcase name="test_resume_is_bit_for_bit_{index}">{end}</testcase>' for index, end in enumerate(ends))
    report.write_text(f'<testsuite>{"".join(cases)}<testcase name="test_else"><failure/></testcase></testsuite>')
    return report


@pytest.mark.parametrize(
    ("ends", "code", "exact"),
    [
        (("", ""), 0, True),
        (("", "<failure/>"), 1, False),
        (("", "<skipped/>"), 0, False),
        (("", ""), 1, False),
        ((), 0, False),
    ],
)
def test_resume_is_exact_when_every_case_is(tmp_path: Path, ends: tuple[str, ...], code: int, exact: bool) -> None:
    found = exactness(a_report(tmp_path, *ends), code)
    assert (found["bit_exact"], found["cases"]) == (exact, len(ends))


def test_without_a_report_resume_is_not_exact(tmp_path: Path) -> None:
    assert exactness(tmp_path / "none", 0) == {"bit_exact": False, "cases": 0, "exact_cases": 0}
