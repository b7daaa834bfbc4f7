"""The drill on the embedded AWS, with its shorter limits: every guarantee is kept and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chronos_ec2.local.lifecycle import LocalAws
from chronos_ec2.services.drill.faults import FAULTS

pytestmark = [pytest.mark.embedded_aws, pytest.mark.thorough]


def test_every_instance_that_comes_to_harm_ends_in_time(embedded_aws: LocalAws, tmp_path: Path) -> None:
    output = tmp_path / "drill.json"
    command = [sys.executable, "-m", "chronos_ec2.cli", "drill", "--interval", "1", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, env=embedded_aws.environ(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    rows = {row["fault"]: row for row in found["rows"]}
    assert rows.keys() == {fault.name for fault in FAULTS if not fault.opt_in}
    assert {name for name, row in rows.items() if not row["kept"]} == set()
    assert (found["left"], found["usd"] < 1) == ([], True)
    # What only the watchdog can end did not end by itself.
    assert rows["hang"]["seconds"] > found["limits"]["progress"]
    assert rows["power-off-refused"]["seconds"] > found["limits"]["grace"]
    assert rows["no-record"]["seconds"] > found["limits"]["grace"]
    assert rows["boot-hangs"]["seconds"] > found["limits"]["boot"]
    assert f"{len(rows)} of {len(rows)} as guaranteed, 0 left" in done.stdout
