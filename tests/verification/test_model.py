"""spin finds no error in the protocol model, and one in each of its mutants."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from verification.model import check as checking
from verification.model.check import (
    BASE,
    LIVENESS,
    LIVENESS_MUTANTS,
    MODEL,
    MUTANTS,
    SAFETY_MUTANTS,
    SETTLES,
    CannotCheck,
    Check,
    check,
    check_model,
    main,
    summary,
)

with_spin = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("cc") is None,
    reason="spin and a C compiler are not installed: apt-get install spin gcc libc6-dev",
)
ASSERTIONS = {"ONE_AGENT", "RELEASED_ALIVE", "VERDICT_ON_HEALTHY", "HEALTHY_TERMINATED", "FOREIGN_TERMINATED"}


@pytest.mark.thorough
@with_spin
def test_the_protocol_is_safe_in_every_reachable_state() -> None:
    found = check()
    assert found.failed is None, found.trail
    assert found.states > 1_000_000


@with_spin
def test_the_protocol_settles_under_fairness() -> None:
    found = check(LIVENESS)
    assert found.failed is None, found.trail
    assert found.states > 10_000


SAMPLE = ("LAUNCH_BEFORE_RECORD", "NO_CLAIM", "UNCONDITIONAL_VERDICT", "IDS_FROM_STATE")
"""A mutant for each assertion that mutants violate; the others are thorough."""


@with_spin
@pytest.mark.parametrize(
    "mutant", [one if one in SAMPLE else pytest.param(one, marks=pytest.mark.thorough) for one in SAFETY_MUTANTS]
)
def test_a_mutant_violates_a_safety_property(mutant: str) -> None:
    found = check(mutant)
    assert found.failed in ASSERTIONS
    assert "assertion violated" in found.trail


@with_spin
@pytest.mark.parametrize("mutant", LIVENESS_MUTANTS)
def test_a_mutant_violates_liveness(mutant: str) -> None:
    assert check(LIVENESS, mutant).failed == SETTLES


def test_every_define_is_checked_and_every_assertion_has_a_name() -> None:
    text = MODEL.read_text()
    defines = set(re.findall(r"(?:ifn?def |defined\()([A-Z_]+)", text))
    assert defines == {*SAFETY_MUTANTS, *LIVENESS_MUTANTS, LIVENESS}
    assert re.findall(r"assert\(.*?/\* ([A-Z_]+) \*/", text)
    assert {name for line in text.splitlines() if "assert(" in line for name in re.findall(r"/\* (\w+) \*/", line)} == (
        ASSERTIONS
    )


@pytest.mark.parametrize("missing", ["spin", "cc"])
def test_a_missing_tool_is_named_with_the_command_that_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == missing else f"/usr/bin/{name}")
    with pytest.raises(CannotCheck, match=f"{missing} is not installed.*apt-get install spin"):
        check()


@pytest.mark.parametrize(
    "output",
    ["nothing of the kind", "Warning: Search not completed\n1 states, stored\nState-vector 9 byte, errors: 0"],
)
def test_an_incomplete_search_proves_nothing(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=output))
    with pytest.raises(CannotCheck):
        check()


def test_the_output_of_a_failed_tool_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(
        "subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 1, stdout="syntax error")
    )
    with pytest.raises(CannotCheck, match="syntax error"):
        check()


def test_violations_and_survivors_are_counted_and_fail_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pretend(*defines: str) -> Check:
        name = defines[-1] if defines else "SAFETY"
        caught = name in SAFETY_MUTANTS
        return Check(name, 10, 1.0, "FOREIGN_TERMINATED" if caught else None)

    monkeypatch.setattr(checking, "check", pretend)
    result = check_model()
    assert (result.states, result.violations) == (20, 0)
    assert (result.mutants, result.mutants_caught) == (len(MUTANTS), len(SAFETY_MUTANTS))
    assert result.failed_property["TERMINATE_ONCE"] is None
    assert result.seconds == len(BASE) + len(MUTANTS)
    assert main() == 1
    assert f"{len(SAFETY_MUTANTS)} of {len(MUTANTS)} mutants caught" in capsys.readouterr().out
    assert summary([Check("SAFETY", 1, 0.0, "ONE_AGENT")], []).violations == 1
