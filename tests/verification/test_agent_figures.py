"""The measurements in build/agent.json: how they are counted, and when they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
def test_a_spot_notice_is_followed_by_a_checkpoint_and_the_exit(tmp_path: Path) -> None:
    """The measurement itself with a small checkpoint; `make agent-evidence` uses a real size."""
    command = [sys.executable, "-m", "verification.agent.spot_notice", "3"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, check=True, timeout=600)
    found = json.loads((tmp_path / "build/agent.json").read_text())["spot"]
    assert (found["checkpoint_bytes"], found["cause"], found["bound"]) == (3_000_000, "preempted", 90)
    assert 0 < found["seconds"] <= found["ended_seconds"]
