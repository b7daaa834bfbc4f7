"""Every patch applies to the code of today, and the runner tells a caught defect from a harmless change."""

from __future__ import annotations

from dataclasses import replace
from difflib import unified_diff
from pathlib import Path

import pytest

from verification.checkout import ROOT
from verification.seeded_defects.runner import check, defects, load, run_defects

DEFECTS = defects()


def test_each_patch_applies_to_one_place() -> None:
    assert check(DEFECTS) == []


def test_each_defect_has_its_own_number_and_title() -> None:
    assert [one.path.name[:3] for one in DEFECTS] == [f"{number:03}" for number in range(1, len(DEFECTS) + 1)]
    assert len({one.title for one in DEFECTS}) == len(DEFECTS) >= 440


def a_defect(path: Path, hunk: str) -> Path:
    header = "Defect: metadata\nSource: test\nTests: tests/template/test_template.py\n"
    path.write_text(f"{header}--- a/template.yaml\n+++ b/template.yaml\n{hunk}")
    return path


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a line that nobody wrote", "template.yaml: a hunk fits no place"),
        ("    Properties:", "template.yaml: a hunk fits several places"),
    ],
)
def test_a_patch_must_fit_exactly_one_place(tmp_path: Path, line: str, problem: str) -> None:
    defect = load(a_defect(tmp_path / "000.patch", f"@@ -5 +5 @@\n-{line}\n+x\n"))
    with pytest.raises(RuntimeError, match=problem):
        list(run_defects([defect]))


def test_a_missing_test_file_is_a_problem() -> None:
    (problem,) = check([replace(DEFECTS[0], tests=("tests/none.py",))])
    assert "no tests/none.py" in problem


@pytest.mark.thorough
def test_three_of_them_are_caught_and_a_harmless_change_is_not(tmp_path: Path) -> None:
    chosen = [one for one in DEFECTS if one.source in {"L4", "L6", "L7"} and "tests/template" in one.tests[0]]
    template = (ROOT / "template.yaml").read_text().splitlines(keepends=True)
    quoted = [line.replace("HttpEndpoint: enabled", 'HttpEndpoint: "enabled"') for line in template]
    hunk = "".join(list(unified_diff(template, quoted, n=1))[2:])
    harmless = replace(chosen[0], path=a_defect(tmp_path / "harmless.patch", hunk))
    assert [result.caught for result in run_defects([*chosen[:3], harmless])] == [True, True, True, False]
