"""Exact resume and training in two processes: runs their tests, and publishes what the report says."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from benchmarks.publish import AGENT_FIGURES, ROOT, record
from benchmarks.training.workload import Section

_LOOP_TESTS = "tests/agent/chronos/training"


def resume() -> Section:
    """Count the tests of exact resume, in all combinations."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = _run_tests(f"{_LOOP_TESTS}/test_resume.py", report)
        figures = exactness(report, code)
    text = f"{figures['exact_cases']} of {figures['cases']} cases end with the same weights, bit for bit: three "
    text += "families, full and LoRA, fp32 and fp16 autocast with a scaler, 0 and 2 workers, accumulation, early "
    text += "stopping, a killed process."
    record({"resume": figures}, ROOT / AGENT_FIGURES)
    return Section("Resume", {"resume": figures}, text)


def exactness(report: Path, code: int) -> dict[str, Any]:
    """The result of the tests named `bit_for_bit` in a report of pytest, whose exit code was `code`."""
    cases = [case for case in _cases(report) if "bit_for_bit" in str(case.get("name"))]
    passed = sum(1 for case in cases if not any(case.findall(problem) for problem in ("failure", "error", "skipped")))
    return {"bit_exact": code == 0 and 0 < passed == len(cases), "cases": len(cases), "exact_cases": passed}


def ddp() -> Section:
    """Two processes over gloo against one that has the batches of both."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        test = f"{_LOOP_TESTS}/test_distributed.py::test_two_processes_train_like_one_with_the_batches_of_both"
        if _run_tests(test, report) != 0:
            raise SystemExit(f"{test} failed")
        (case,) = _cases(report)
    found = {str(one.get("name")): str(one.get("value")) for one in case.iter("property")}
    batches, distinct, gap = int(found["batches"]), int(found["distinct_batches"]), float(found["loss_gap"])
    figures = {"batches": batches, "distinct_batches": distinct, "loss_gap": gap}
    text = f"{distinct} of {batches} batches of two processes differ. The loss of a step equals that of one process "
    text += f"with both batches, within {gap:.1e}, relative. On a CPU, over gloo."
    return Section("Two processes", {"ddp": figures}, text)


def _run_tests(tests: str, report: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", tests, f"--junit-xml={report}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=False, capture_output=True, cwd=ROOT, env=environment).returncode


def _cases(report: Path) -> list[ET.Element]:
    """The test cases in a report; none if there is no report."""
    return list(ET.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 - our own report
