"""The list of surviving mutants fits the code, and the figures that follow from a run of all mutants are right."""

from __future__ import annotations

import pytest

from verification.mutation import SOURCES, TARGET, Change, MutationResult, judge, listed_survivors, mutants_of

KNOWN = Change("cost.py", "price_of", "return 1", "return 2")
UNKNOWN = Change("cost.py", "price_of", "return 1", "return 3")
LISTED = {KNOWN: "equal"}


@pytest.mark.parametrize("change", listed_survivors(), ids=lambda change: f"{change.file} {change.name}")
def test_a_listed_survivor_has_a_reason_and_its_code_still_stands(change: Change) -> None:
    assert len(listed_survivors()[change]) > 10
    assert change.was != change.now
    assert change.was in " ".join((SOURCES / change.file).read_text().split())


def test_a_file_gives_mutants_that_differ() -> None:
    mutants = list(mutants_of(SOURCES / "cost.py"))
    assert len(mutants) > 20
    assert len({mutant.source for mutant in mutants}) == len(mutants)
    operators = [mutant.change.now for mutant in mutants if mutant.change.name == "cost_so_far"]
    assert "if (price := price_in(run, instance_type)) is not None:" in operators


def test_no_docstring_and_no_decorator_is_mutated() -> None:
    changed = " ".join(mutant.change.was for mutant in mutants_of(SOURCES / "facts.py"))
    assert '"""' not in changed
    assert "@dataclass" not in changed


def result(killed: int, *survivors: Change) -> MutationResult:
    return MutationResult(killed, killed + len(survivors), survivors, seconds=1.0)


def test_a_good_score_with_every_survivor_listed_is_no_cause_for_complaint() -> None:
    assert judge(result(99, KNOWN), LISTED) == []


def test_a_survivor_that_is_not_listed_is_a_complaint() -> None:
    (complaint,) = judge(result(98, KNOWN, UNKNOWN), LISTED)
    assert complaint == f"survives and is not listed: {UNKNOWN}"


def test_a_listed_mutant_that_a_test_kills_is_a_complaint() -> None:
    (complaint,) = judge(result(99), LISTED)
    assert complaint == f"listed, but does not survive: {KNOWN}"


@pytest.mark.parametrize(("killed", "good"), [(9, True), (8, False)])
def test_a_score_below_the_target_is_a_complaint(killed: int, good: bool) -> None:
    assert TARGET == 0.9
    survivors = [KNOWN] * (10 - killed)
    assert (judge(result(killed, *survivors), LISTED) == []) is good
