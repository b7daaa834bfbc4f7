"""The notebook of the examples runs from its first cell to its last on the embedded AWS."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.chronos.model.from_scratch import new_pipeline
from chronos_ec2.job_config.schema import FromScratch
from chronos_ec2.local.lifecycle import LocalAws

NOTEBOOK = Path(__file__).parents[2] / "examples" / "forecast_a_frame.py"
SMALL = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=7)


def test_its_cells_begin_as_notebooks_of_plain_text_do() -> None:
    cells = re.split(r"^# %%", NOTEBOOK.read_text(), flags=re.MULTILINE)
    assert cells[0] == ""
    assert sum(cell.startswith(" [markdown]\n#") for cell in cells) > 3
    assert all(cell.startswith((" [markdown]\n#", "\n")) for cell in cells[1:])


@pytest.mark.embedded_aws
def test_it_forecasts_a_frame_and_draws_it(embedded_aws: LocalAws, tmp_path: Path) -> None:
    new_pipeline(SMALL, 140, 28).model.save_pretrained(tmp_path / "model")
    environ = embedded_aws.environ() | {"MODEL": "./model", "MPLBACKEND": "agg"}
    program = NOTEBOOK.read_text() + "\nassert len(ahead) == 56, ahead\n"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")
