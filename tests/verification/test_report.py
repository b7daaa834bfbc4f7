"""What counts as a violation, what is fuzzed, and which commits a report names."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from verification.__main__ import violations
from verification.checkout import ROOT, commit, copy_checkout
from verification.fuzz.campaign import _fed, fuzz
from verification.fuzz.targets import Target, targets
from verification.histories import silent_sweep_seconds
from verification.report import as_markdown
from verification.simulation.campaign import COUNTED, Campaign
from verification.simulation.guarantees import VIOLATIONS

CHANGE = "cost.py price_of: return 1 -> return 2"
HELD = {"wrong_terminations": 0, "leaks_past_bound": 0, "max": 60.0, "promised": 60.0}
BAD: dict[str, dict[str, Any]] = {
    "an input that a parser fails on": {"fuzz": {"inputs": 9, "failures": ["event: TypeError"], "by_target": {}}},
    "a healthy run terminated without a layer": {"layers": {"L3 sweep": HELD | {"wrong_terminations": 1}}},
    "an instance past its bound in spite of the sweep": {"layers": {"L0 instance": HELD | {"leaks_past_bound": 1}}},
    "a termination after its bound": {"layers": {"L3 sweep": HELD | {"max": 61.0, "leaks_past_bound": 7}}},
    "a mutant that survives and is not listed": {"mutation": {"survivors": [CHANGE]}},
    "a lost message": {"lost_messages": 1},
    "a wrong cost": {"wrong_money": 1},
    "a run harmed by a hostile instance": {"hostile": {"others_harmed": 1}},
    "a member of a group that was lost": {"members": {"lost": 1}},
    "a series in two shards": {"shards": {"items_in_no_or_two_shards": 1}},
    "a trigger that started two runs": {"lifecycle": {"double_runs": 1}},
}


@pytest.mark.parametrize("what", BAD)
def test_a_violation_counts(what: str) -> None:
    assert violations({}) == 0
    assert violations(BAD[what]) == 1


def test_no_input_breaks_anything() -> None:
    result = fuzz(50)
    assert result.failures == []
    assert result.inputs == sum(result.by_target.values()) > 500


def test_every_target_is_fed_with_as_much_as_was_asked_for() -> None:
    assert {_fed(Target(one.name, one.inputs, lambda _raw: None), 20) for one in targets()} == {(20, "")}


def test_an_error_that_is_not_the_parsers_own_is_a_failure() -> None:
    target = Target("numbers", st.text(max_size=3), int, (TypeError,))
    _, failure = _fed(target, 50)
    assert failure.startswith("numbers: ValueError")
    assert _fed(Target("numbers", st.text(max_size=3), int, (ValueError,)), 50) == (50, "")


def test_parts_of_different_or_changed_commits_are_named() -> None:
    made_from = {"model": "aaaa", "histories": "bbbb", "fuzz": "bbbb"}
    assert "model aaaa; fuzz, histories bbbb." in as_markdown({"made_from": made_from})
    assert "model aaaa-dirty." in as_markdown({"made_from": {"model": "aaaa-dirty"}})
    assert "commits" not in as_markdown({"made_from": dict.fromkeys(made_from, "aaaa")})


def test_the_report_has_every_violation_and_what_became_of_runs_that_waited() -> None:
    found = Campaign(Counter(dict.fromkeys(COUNTED, 7)), 1.0, waits={"gave up": [3600.0, 1800.0]}).as_document()
    text = as_markdown(found | {"seeds": "0 to 6"})
    assert text.count("| 7 |") == len(VIOLATIONS) + 2
    assert "| gave up | 2 | 1.5 | 1.0 |" in text
    assert "charged $0.00 at most for the time without an instance" in text


def test_a_part_is_made_from_the_commit_that_is_checked_out() -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert head.startswith(commit().removesuffix("-dirty"))
    assert len(commit()) >= 12


def test_a_copy_has_the_files_that_git_does_not_ignore(tmp_path: Path) -> None:
    copy = copy_checkout(tmp_path)
    assert (copy / "template.yaml").read_bytes() == (ROOT / "template.yaml").read_bytes()
    assert not (copy / ".venv").exists()


def test_a_silent_sweep_is_noticed_within_five_minutes() -> None:
    assert silent_sweep_seconds() == 300
