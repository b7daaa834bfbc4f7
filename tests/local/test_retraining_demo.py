"""The demo of a model's life: every step is checked by the demo itself, and what it sums up here."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from chronos_ec2.local.retraining_demo import run_demo

pytestmark = pytest.mark.thorough


def test_a_model_is_retrained_promoted_and_put_to_use_with_nobody_at_work(tmp_path: Path) -> None:
    told: list[str] = []
    summary = run_demo(tmp_path / "state", tmp_path / "out", told.append)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    runs: dict[str, Counter[str]] = {}
    for message in summary["messages"]:
        runs.setdefault(message["run_id"], Counter())[message["kind"]] += 1
    promoted, kept = ({one for one, kinds in runs.items() if kinds[kind]} for kind in ("promoted", "kept"))
    assert promoted == set(summary["champions"])
    assert kept == set(summary["kept_out"])
    assert len(promoted) == 2
    assert len(kept) == 1
    assert all(kinds["started"] == kinds["completed"] == 1 for kinds in runs.values())
    assert len(runs) == 6
    assert summary["forecast_rows"] == [60 * 8] * 3
    assert summary["residue"] == []
    assert told[-1] == "nothing is left"
