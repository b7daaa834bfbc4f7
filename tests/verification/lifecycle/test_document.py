"""build/lifecycle.json has the figures of groups, schedules and promotions, and none of a part that was not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from verification.lifecycle.document import lifecycle_document, write_lifecycle
from verification.report import as_markdown

HISTORIES = {
    "histories": 9, "runs": 70, "triggers": 90, "promotions": 8, "runs_of_unchanged_data": 1, "double_runs": 2,
    "runs_of_torn_data": 0,
    "over_month_cap": 3, "lost_forecasts": 4, "worse_promoted": 5, "lost_promotions": 6, "left": 7, "failed": [],
}  # fmt: skip
FOUND: dict[str, Any] = {
    "lifecycle": HISTORIES,
    "model": {
        "by_model": {
            "protocol": {"states": 1000, "violations": 1, "mutants": 30, "caught": 30},
            "registry": {"states": 7, "violations": 0, "mutants": 2, "caught": 1},
            "schedules": {"states": 5, "violations": 0, "mutants": 3, "caught": 3},
        }
    },
    "crash_points": {
        "by_case": {"launch": 40, "schedule: create": 8, "registry: promote": 12, "group: next member": 5},
        "failed_by_case": {"launch": 3, "registry: promote": 2},
    },
    "members": {"started_twice": 0, "lost": 0, "over_cap": 0},
}
DEMO: dict[str, Any] = {
    "messages": [{"kind": "promoted"}], "champions": ["a"], "kept_out": ["b"], "forecast_rows": [480], "residue": [],
    "seconds": 300.0,
}  # fmt: skip


def test_each_figure_is_one_that_was_measured() -> None:
    assert lifecycle_document(FOUND, DEMO) == {
        "members": {"started_twice": 0, "lost": 0, "over_cap": 0},
        "champion": {"worse_promoted": 5, "lost_promotions": 6},
        "schedules": {
            "histories": 9, "runs": 70, "triggers": 90, "runs_of_unchanged_data": 1, "runs_of_torn_data": 0,
            "double_runs": 2,
            "over_month_cap": 3, "lost_forecasts": 4, "left": 7,
        },
        "model": {"states": 12, "violations": 0, "mutants": 5, "caught": 4},
        "crash_points": {"enumerated": 25, "converged": 23},
        "demo": {"messages": [{"kind": "promoted"}], "champions": ["a"], "forecast_rows": [480], "residue": []},
    }  # fmt: skip


def test_a_part_that_was_not_run_has_no_figure() -> None:
    assert lifecycle_document({}, None) == {}


def test_it_is_written_with_what_the_last_demo_has_summed_up(tmp_path: Path) -> None:
    demo, to = tmp_path / "summary.json", tmp_path / "build" / "lifecycle.json"
    write_lifecycle(FOUND, demo, to)
    assert "demo" not in json.loads(to.read_text())
    demo.write_text(json.dumps(DEMO))
    write_lifecycle(FOUND, demo, to)
    assert json.loads(to.read_text()) == lifecycle_document(FOUND, DEMO)


def test_the_evidence_tells_of_the_histories() -> None:
    assert "## 9 histories of schedules" in as_markdown({"lifecycle": HISTORIES})
