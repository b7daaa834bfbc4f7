"""README's first steps, as they are written there, in a fresh clone with a CSV file of one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.chronos.model.from_scratch import new_pipeline
from chronos_ec2.job_config.schema import FromScratch
from tools.newcomer import OWN, ROOT, first_steps, follow, write_own_file

SMALL = FromScratch(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, patch=7)


def test_the_first_steps_are_those_that_a_newcomer_takes() -> None:
    lines = first_steps((ROOT / "README.md").read_text())
    taken = [" ".join(line.split()[:2]) for line in lines]
    assert taken[:2] == ["make demo", "source .venv/bin/activate"]
    for step in ("data check", "forecast", "launch", "report", "verify"):
        assert any(line.startswith(f"chronos-ec2 {step}") for line in lines), step
    assert OWN in " ".join(lines)


@pytest.mark.embedded_aws
def test_the_first_steps_lead_to_forecasts_a_model_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All but `make demo`, which takes minutes and is run by .ci/run; in its place there is a model with its name."""
    clone = tmp_path / "chronos-ec2"
    subprocess.run(["git", "clone", "--quiet", ROOT.as_uri(), str(clone)], check=True)
    (clone / ".venv").symlink_to(sys.prefix)
    (clone / ".tools").symlink_to(ROOT / ".tools")
    monkeypatch.setenv("PYTHONPATH", f"{clone}/src:{clone}")
    new_pipeline(SMALL, 144, 14).model.save_pretrained(clone / "build" / "demo" / "train" / "models")
    write_own_file(clone / OWN)
    demo, *others = first_steps((clone / "README.md").read_text())
    assert demo.startswith("make demo")
    follow(others, clone)
    assert (clone / "ahead" / "forecasts" / "manifest.json").is_file()
    (report,) = clone.glob("2*/report.html")
    assert "Succeeded." in report.read_text()
    assert "nothing is left" in capfd.readouterr().out
