"""What counts as a violation, what is fuzzed, and what a report says of parts that are stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from verification.__main__ import violations
from verification.fuzz import Target, _fed, fuzz, targets
from verification.histories import silent_sweep_seconds
from verification.report import as_markdown
from verification.sources import ROOMS, ROOT, fingerprint

CHANGE = {"file": "cost.py", "name": "price_of", "was": "return 1", "now": "return 2"}
HELD = {"wrong_terminations": 0, "leaks_past_bound": 0, "max": 60.0, "promised": 60.0}
BAD: dict[str, dict[str, Any]] = {
    "an input that broke a parser": {"fuzz": {"inputs": 9, "failures": ["event: TypeError"], "by_target": {}}},
    "a healthy run that died without a layer": {"layers": {"L3 sweep": HELD | {"wrong_terminations": 1}}},
    "an instance that lives too long though there is a sweep": {"layers": {"L0 box": HELD | {"leaks_past_bound": 1}}},
    "an end that came later than promised": {"layers": {"L3 sweep": HELD | {"max": 61.0, "leaks_past_bound": 7}}},
    "a mutant that survives and is not listed": {"mutation": {"survivors": [CHANGE]}},
    "a message that was lost": {"lost_messages": 1},
}


@pytest.mark.parametrize("what", BAD)
def test_a_violation_counts(what: str) -> None:
    assert violations({}) == 0
    assert violations(BAD[what]) == 1


def test_no_input_breaks_anything() -> None:
    result = fuzz(300)
    assert result.failures == []
    assert result.inputs == sum(result.by_target.values()) > 1000


def test_every_target_is_fed_with_as_much_as_was_asked_for() -> None:
    assert {_fed(Target(one.name, one.inputs, lambda _raw: None), 20) for one in targets()} == {(20, "")}


def test_an_error_that_is_not_the_parsers_own_is_a_failure() -> None:
    target = Target("numbers", st.text(max_size=3), int, (TypeError,))
    _, failure = _fed(target, 50)
    assert failure.startswith("numbers: ValueError")
    assert _fed(Target("numbers", st.text(max_size=3), int, (ValueError,)), 50) == (50, "")


def test_parts_that_were_made_from_other_code_are_named() -> None:
    found = {"made_from": {"model": "old", "histories": "same"}}
    today = {"model": "new", "histories": "same"}
    assert "other code than today's: model." in as_markdown(found, today)
    assert "other code" not in as_markdown({"made_from": today}, today)


def test_a_part_is_made_from_its_own_code_and_no_other(tmp_path: Path) -> None:
    for room in (room for rooms in ROOMS.values() for room in rooms):
        assert (ROOT / room).exists(), room
        made = tmp_path / room
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch() if made.suffix else made.mkdir(exist_ok=True)
    code = tmp_path / "src" / "chronos_ec2" / "domain" / "a.py"
    code.write_text("1")
    before = {part: fingerprint(part, tmp_path) for part in ROOMS}
    code.write_text("2")
    other = {part for part in ROOMS if fingerprint(part, tmp_path) != before[part]}
    assert other == ROOMS.keys() - {"model"}
    code.write_text("1")
    assert {part: fingerprint(part, tmp_path) for part in ROOMS} == before


def test_a_silent_sweep_is_noticed_within_five_minutes() -> None:
    assert silent_sweep_seconds() == 300
