"""spin finds no error in the protocol model, and one in each of its mutants."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from verification.model import check as checking
from verification.model.check import (
    BASE,
    GROUPS,
    LAUNCHERS,
    LIVENESS,
    MODELS,
    MUTANTS,
    PROTOCOL,
    REGISTRY,
    SCHEDULES,
    CannotCheck,
    Check,
    Model,
    check,
    check_model,
    main,
    summary,
    variant_name,
)

with_spin = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("cc") is None,
    reason="spin and a C compiler are not installed: apt-get install spin gcc libc6-dev",
)
ASSERTIONS = {
    PROTOCOL: {
        "ONE_AGENT",
        "WORK_AFTER_END",
        "RELEASED_ALIVE",
        "VERDICT_ON_HEALTHY",
        "HEALTHY_TERMINATED",
        "OUTCOME_CONTRADICTED",
        "FOREIGN_TERMINATED",
    },
    LAUNCHERS: {"ONE_INSTANCE", "NOTHING_STARTED"},
    SCHEDULES: {"DOUBLE_RUN", "UNCHANGED_DATA_TRAINED", "OVER_CAP", "LOST_RUN", "LOST_FORECAST"},
    GROUPS: {
        "STARTED_TWICE",
        "TOO_MANY_AT_WORK",
        "STARTED_AFTER_KILL",
        "GROUP_OVER_CAP",
        "LOST_MEMBER",
        "LOST_GROUP",
        "NOT_KILLED",
    },
    REGISTRY: {"WORSE_PROMOTED", "PROMOTED_TWICE", "LOST_PROMOTION", "UNTRUE_MESSAGE", "HISTORY_CHANGED"},
}


@pytest.mark.thorough
@with_spin
def test_the_protocol_is_safe_in_every_reachable_state() -> None:
    found = check(PROTOCOL)
    assert found.failed is None, found.trail
    assert found.states > 1_000_000


@pytest.mark.thorough
@with_spin
def test_the_protocol_settles_under_fairness() -> None:
    found = check(PROTOCOL, (LIVENESS,))
    assert found.failed is None, found.trail
    assert found.states > 10_000


@with_spin
@pytest.mark.parametrize("defines", [(), (LIVENESS,)])
def test_launchers_that_overlap_start_one_instance_and_a_kill_frees_the_lane(defines: tuple[str, ...]) -> None:
    found = check(LAUNCHERS, defines)
    assert found.failed is None, found.trail
    assert found.states > 10_000


SAMPLE = (
    "NO_CLAIM",
    "UNCONDITIONAL_VOID",
    "VERDICT_WITHOUT_OUTCOME",
    "NEXT_BEFORE_TERMINATED",
    "STATE_BEFORE_LIST",
    "IDS_FROM_CLAIM",
)
"""A mutant for each assertion that mutants violate; the others are thorough."""


@with_spin
@pytest.mark.parametrize(
    "mutant", [one if one in SAMPLE else pytest.param(one, marks=pytest.mark.thorough) for one in PROTOCOL.mutants]
)
def test_a_mutant_violates_a_safety_property(mutant: str) -> None:
    found = check(PROTOCOL, (mutant,))
    assert found.failed in ASSERTIONS[PROTOCOL]
    assert "assertion violated" in found.trail


@pytest.mark.thorough
@with_spin
@pytest.mark.parametrize("mutant", LAUNCHERS.mutants)
def test_a_launcher_without_one_rule_starts_two_instances_or_loses_its_lane(mutant: str) -> None:
    expected = "NOTHING_STARTED" if mutant == "RELEASE_DURING_LAUNCH" else "ONE_INSTANCE"
    assert check(LAUNCHERS, (mutant,)).failed == expected


@pytest.mark.thorough
@with_spin
@pytest.mark.parametrize("mutant", PROTOCOL.liveness_mutants)
def test_a_mutant_violates_liveness(mutant: str) -> None:
    assert check(PROTOCOL, (LIVENESS, mutant)).failed == "settles"


@with_spin
def test_no_worse_model_is_promoted_in_any_reachable_state() -> None:
    found = check(REGISTRY)
    assert found.failed is None, found.trail
    assert found.states > 500_000
    assert found.model == "registry"


@pytest.mark.thorough
@with_spin
@pytest.mark.parametrize(
    ("mutant", "violated"),
    [
        ("JUDGE_AGAIN", "UNTRUE_MESSAGE"),
        ("ANY_CHAMPION", "WORSE_PROMOTED"),
        ("FIRST_NEEDS_A_CHAMPION", "LOST_PROMOTION"),
        ("REPLACE_BEFORE_HISTORY", "UNTRUE_MESSAGE"),
        ("UNCONDITIONAL_WRITE", "WORSE_PROMOTED"),
        ("UNCONDITIONAL_ROLLBACK", "UNTRUE_MESSAGE"),
        ("VERSION_RECURS", "PROMOTED_TWICE"),
    ],
)
def test_a_mutant_of_the_registry_is_caught(mutant: str, violated: str) -> None:
    assert check(REGISTRY, (mutant,)).failed == violated


@pytest.mark.thorough
@with_spin
def test_a_trigger_starts_one_run_in_every_reachable_state() -> None:
    found = check(SCHEDULES)
    assert found.failed is None, found.trail
    assert found.states > 5_000_000


@pytest.mark.thorough
@with_spin
@pytest.mark.parametrize(
    ("mutant", "violated"),
    [
        ("ID_NOT_DERIVED", "DOUBLE_RUN"),
        ("CLAIM_NOT_READ", "DOUBLE_RUN"),
        ("DATA_DONE_WHEN_RESERVED", "LOST_RUN"),
        ("RECORDS_BEFORE_LANE", "OVER_CAP"),
        ("UNCONDITIONAL_RESERVATION", "OVER_CAP"),
        ("TAKE_AFTER_RESERVATION", "OVER_CAP"),
        ("TWO_AT_WORK", "UNCHANGED_DATA_TRAINED"),
        ("RELEASE_BEFORE_FOLLOW", "LOST_FORECAST"),
        ("TELL_BEFORE_FORECAST", "LOST_FORECAST"),
    ],
)
def test_a_mutant_of_the_schedules_is_caught(mutant: str, violated: str) -> None:
    assert check(SCHEDULES, (mutant,)).failed == violated


@pytest.mark.thorough
@with_spin
def test_a_group_is_whole_within_its_budget_in_every_reachable_state() -> None:
    found = check(GROUPS)
    assert found.failed is None, found.trail
    assert found.states > 5_000_000


@pytest.mark.thorough
@with_spin
@pytest.mark.parametrize(
    ("mutant", "violated"),
    [
        ("UNCONDITIONAL_ENTRY", "STARTED_AFTER_KILL"),
        ("LANE_BEFORE_ENTRY", "GROUP_OVER_CAP"),
        ("MEMBER_CLAIM_NOT_READ", "STARTED_TWICE"),
        ("FOLLOW_WHILE_STARTING", "LOST_GROUP"),
        ("FOLLOW_BEFORE_NEXT", "LOST_GROUP"),
        ("RELEASE_BEFORE_NEXT", "LOST_GROUP"),
        ("STOP_NOT_READ", "STARTED_AFTER_KILL"),
        ("KILL_LANES_FIRST", "STARTED_AFTER_KILL"),
        ("UNCONDITIONAL_STOP", "GROUP_OVER_CAP"),
    ],
)
def test_a_mutant_of_the_groups_is_caught(mutant: str, violated: str) -> None:
    assert check(GROUPS, (mutant,)).failed == violated


@pytest.mark.thorough
@with_spin
@pytest.mark.parametrize("mutant", LAUNCHERS.liveness_mutants)
def test_a_mutant_keeps_the_lane_of_a_killed_run(mutant: str) -> None:
    assert check(LAUNCHERS, (LIVENESS, mutant)).failed == "frees"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_define_is_checked_and_every_assertion_has_a_name(model: Model) -> None:
    text = model.path.read_text()
    defines = set(re.findall(r"(?:ifn?def |defined\()([A-Z_]+)", text))
    assert defines - {LIVENESS} == {*model.mutants, *model.liveness_mutants}
    assert re.findall(r"assert\(.*?/\* ([A-Z_]+) \*/", text)
    assert {name for line in text.splitlines() if "assert(" in line for name in re.findall(r"/\* (\w+) \*/", line)} == (
        ASSERTIONS[model]
    )


@pytest.mark.parametrize("missing", ["spin", "cc"])
def test_a_missing_tool_is_named_with_the_command_that_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == missing else f"/usr/bin/{name}")
    with pytest.raises(CannotCheck, match=f"{missing} is not installed.*apt-get install spin"):
        check(PROTOCOL)


@pytest.mark.parametrize(
    "output",
    ["nothing of the kind", "Warning: Search not completed\n1 states, stored\nState-vector 9 byte, errors: 0"],
)
def test_an_incomplete_search_proves_nothing(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=output))
    with pytest.raises(CannotCheck):
        check(PROTOCOL)


def test_the_output_of_a_failed_tool_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(
        "subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 1, stdout="syntax error")
    )
    with pytest.raises(CannotCheck, match="syntax error"):
        check(PROTOCOL)


def test_violations_and_survivors_are_counted_and_fail_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pretend(model: Model, defines: tuple[str, ...] = ()) -> Check:
        name = variant_name(model, defines)
        caught = name in PROTOCOL.mutants
        return Check(name, 10, 1.0, "FOREIGN_TERMINATED" if caught else None)

    monkeypatch.setattr(checking, "check", pretend)
    result = check_model()
    assert (result.states, result.violations) == (70, 0)
    assert (result.mutants, result.mutants_caught) == (len(MUTANTS), len(PROTOCOL.mutants))
    assert result.failed_property["TERMINATE_ONCE"] is None
    assert result.seconds == len(BASE) + len(MUTANTS)
    assert main() == 1
    assert f"{len(PROTOCOL.mutants)} of {len(MUTANTS)} mutants caught" in capsys.readouterr().out
    assert summary([Check("SAFETY", 1, 0.0, "ONE_AGENT")], []).violations == 1


def test_the_figures_of_each_model_are_its_own() -> None:
    base = [Check("REGISTRY SAFETY", 7, 1.0, model="registry"), Check("SCHEDULES SAFETY", 5, 1.0, model="schedules")]
    mutants = [
        Check("ANY_CHAMPION", 1, 1.0, "WORSE_PROMOTED", model="registry"),
        Check("LAX", 2, 1.0, model="registry"),
    ]
    assert summary(base, mutants).by_model == {
        "registry": {"states": 7, "violations": 0, "mutants": 2, "caught": 1},
        "schedules": {"states": 5, "violations": 0, "mutants": 0, "caught": 0},
    }
