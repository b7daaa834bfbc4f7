"""README's first steps are those that `make newcomer` takes, and .ci/run with it on a bare machine."""

from __future__ import annotations

from pathlib import Path

from tools.newcomer import OWN, ROOT, first_steps, missing


def test_the_first_steps_are_those_that_a_newcomer_takes() -> None:
    lines = first_steps((ROOT / "README.md").read_text())
    taken = [" ".join(line.split()[:2]) for line in lines]
    assert taken[:2] == ["make demo", "source .venv/bin/activate"]
    for step in ("data check", "forecast", "launch", "report", "verify"):
        assert any(line.startswith(f"chronos-ec2 {step}") for line in lines), step
    assert OWN in " ".join(lines)


def test_what_the_first_steps_have_not_left_is_named(tmp_path: Path) -> None:
    assert missing(tmp_path) == "no forecast was downloaded"
    (tmp_path / "ahead" / "forecasts").mkdir(parents=True)
    (tmp_path / "ahead" / "forecasts" / "manifest.json").write_text("{}")
    report = tmp_path / "20260131T120000Z-1a2b3c" / "report.html"
    report.parent.mkdir()
    report.write_text("Failed.")
    assert missing(tmp_path) == "no report says that the training has succeeded"
    report.write_text("Succeeded.")
    assert missing(tmp_path) == ""
