"""The notebook of the examples runs from its first cell to its last on the embedded AWS."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from agent.chronos.model.from_scratch import new_pipeline
from chronos_ec2.client import Client
from chronos_ec2.job_config.schema import FromScratch
from chronos_ec2.local.lifecycle import LocalAws

NOTEBOOK = Path(__file__).parents[2] / "examples" / "forecast_a_frame.ipynb"
SMALL = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=7)


def test_it_is_committed_as_nobody_has_run_it() -> None:
    """Outputs name the machine that they are from."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 3
    assert all((cell.outputs, cell.execution_count) == ([], None) for cell in code)


@pytest.mark.embedded_aws
def test_it_forecasts_a_frame_draws_it_and_leaves_nothing(embedded_aws: LocalAws, tmp_path: Path) -> None:
    new_pipeline(SMALL, 140, 14).model.save_pretrained(tmp_path / "model")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(new_code_cell("ahead.groupby('item_id').predictions.count().to_dict()"))
    client = NotebookClient(notebook, resources={"metadata": {"path": tmp_path}}, timeout=900)
    client.execute(env=os.environ | embedded_aws.environ() | {"MODEL": "./model"})
    *_, plot, _, ahead = (cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert [list(output.data) for output in plot] == [["text/plain", "image/png"]]
    assert ahead[0].data["text/plain"] == "{'north': 14, 'south': 14}"
    with embedded_aws.exported():
        here = Client(embedded_aws.environment)
        (run_id,) = (found.run.run_id for found in here.runs(None) if found.run.lane.name == "notebook")
        assert run_id not in {finding.run_id for finding in here.verify()}
