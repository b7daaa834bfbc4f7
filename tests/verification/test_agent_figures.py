"""What build/agent.json is made of: figures that were measured now, and fail who may not be as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.training import exactness

ROOT = Path(__file__).parents[2]


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


def test_without_a_report_nothing_is_exact(tmp_path: Path) -> None:
    assert exactness(tmp_path / "none", 0) == {"bit_exact": False, "cases": 0, "exact_cases": 0}


def test_a_spot_notice_is_followed_by_a_checkpoint_and_the_end(tmp_path: Path) -> None:
    """The measurement itself, with little to save: `make agent-evidence` has the size of a real checkpoint."""
    command = [sys.executable, "-m", "verification.agent.spot_notice", "3"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, check=True, timeout=600)
    found = json.loads((tmp_path / "build/agent.json").read_text())["spot"]
    assert (found["checkpoint_bytes"], found["cause"], found["promised"]) == (3_000_000, "preempted", 90)
    assert 0 < found["seconds"] <= found["ended_seconds"]
