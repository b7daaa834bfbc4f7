"""The listed survivors exist in the code, and a run's result is judged correctly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verification.checkout import ROOT
from verification.mutation import SOURCES, TARGET, MutationResult, equivalents, mutants_of, problems

DOMAIN = ROOT / "src/chronos_ec2/domain"
KNOWN, UNKNOWN = "cost.py price_of: return 1 -> return 2", "cost.py price_of: return 1 -> return 3"
LISTED = {KNOWN: "equivalent"}


@pytest.mark.parametrize("change", equivalents())
def test_a_listed_survivor_has_a_reason_and_its_code_is_there(change: str) -> None:
    assert len(equivalents()[change]) > 10
    file, was = change.partition(" ")[0], change.partition(": ")[2].partition(" -> ")[0]
    sources = [" ".join(path.read_text().split()) for path in SOURCES if path.name == file]
    assert [source for source in sources if was in source]


@pytest.mark.thorough
def test_a_file_gives_mutants_that_differ() -> None:
    mutants = list(mutants_of(DOMAIN / "planning" / "cost.py"))
    assert len(mutants) > 20
    assert len({mutant.source for mutant in mutants}) == len(mutants)
    assert [m for m in mutants if "-> if price_in(run) is not None:" in m.change]


def test_no_docstring_and_no_decorator_is_mutated() -> None:
    changed = " ".join(mutant.change for mutant in mutants_of(DOMAIN / "facts.py"))
    assert '"""' not in changed
    assert "@dataclass" not in changed


def result(killed: int, *survivors: str) -> MutationResult:
    return MutationResult(killed, killed + len(survivors), 0, list(survivors), seconds=1.0)


def test_a_good_score_with_every_survivor_listed_has_no_problem() -> None:
    assert problems(result(99, KNOWN), LISTED) == []


def test_an_unlisted_survivor_is_a_problem() -> None:
    assert problems(result(98, KNOWN, UNKNOWN), LISTED) == [f"survived, not listed: {UNKNOWN}"]


def test_a_listed_mutant_that_a_test_kills_is_a_problem() -> None:
    assert problems(result(99), LISTED) == [f"listed, but killed: {KNOWN}"]
    assert problems(result(99), LISTED, complete=False) == []


@pytest.mark.parametrize(("killed", "good"), [(9, True), (8, False)])
def test_a_score_below_the_target_is_a_problem(killed: int, good: bool) -> None:
    assert TARGET == 0.9
    found = replace(result(killed, *[KNOWN] * (10 - killed)))
    assert (problems(found, LISTED) == []) is good
