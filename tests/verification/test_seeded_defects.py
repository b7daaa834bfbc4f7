"""The list of defects does not rot, and its machine works; all of them are run by the evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verification.seeded_defects.defects import CHECKOUT, DEFECTS, Defect, run_defects

NAMES = [defect.name for defect in DEFECTS]


@pytest.mark.parametrize("defect", DEFECTS, ids=NAMES)
def test_each_defect_still_applies(defect: Defect) -> None:
    text = (CHECKOUT / defect.file).read_text()
    assert defect.changed(text) != text


def test_each_has_its_own_name() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 35


def test_a_snippet_that_is_gone_is_an_error() -> None:
    gone = replace(DEFECTS[0], snippet="a line that nobody wrote")
    with pytest.raises(LookupError, match="0 times"):
        run_defects(defects=(gone,))


@pytest.mark.thorough
def test_three_of_them_are_caught_and_a_harmless_change_is_not() -> None:
    chosen = [
        defect for defect in DEFECTS if defect.source in ("L4", "L6", "L7") and "tests/template" in defect.tests[0]
    ]
    harmless = replace(
        chosen[0], name="harmless", snippet="HttpEndpoint: enabled", replacement='HttpEndpoint: "enabled"'
    )
    result = run_defects(jobs=2, defects=(*chosen[:3], harmless))
    assert [row.caught for row in result.rows] == [True, True, True, False]
    assert (result.total, result.caught) == (4, 3)
