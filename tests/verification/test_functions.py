"""What the check of the stack finds wrong, and what it lets pass."""

from __future__ import annotations

import pytest

from chronos_ec2.local import LocalAwsFailed
from chronos_ec2.local.sam_invoke import Invocation
from verification.functions.__main__ import denials, invocations
from verification.functions.imports import slow_handlers
from verification.functions.invokes import Matrix, failures, status


@pytest.mark.parametrize(("milliseconds", "slow"), [(100.0, 0), (150.0, 0), (150.1, 1)])
def test_a_handler_may_take_half_as_long_again_as_what_it_needs(milliseconds: float, slow: int) -> None:
    found = slow_handlers({"Sweep": milliseconds, "boto3": 90.0, "boto3 and Logger": 100.0, "c7n.handler": 900.0})
    assert len(found) == slow
    assert all("Sweep" in line for line in found)


DECIDED = '{"level":"INFO","message":"no run holds the lane","actions":[]}'


@pytest.mark.parametrize(
    ("error", "lines", "expected"),
    [
        (None, [DECIDED], "decided"),
        (None, ['{"level":"INFO","message":"ignored"}'], "ignored"),
        (None, ['{"level":"INFO","message":"not ours"}'], "not ours"),
        (None, [], "silent"),
        ("ServiceUnavailable: no", [DECIDED], "failed: ServiceUnavailable: no"),
    ],
)
def test_what_became_of_an_invocation_is_told_by_its_own_log(
    error: str | None, lines: list[str], expected: str
) -> None:
    log = "\n".join(["Mounting the bundle", *lines, "END RequestId: 1"])
    assert status(Invocation(None, error, log)) == expected


def as_it_has_to_be() -> dict[str, dict[str, str]]:
    return {
        "StateWritten": {"s3-object-created-state": "decided", "ec2-running": "ignored", "malformed-list": "ignored"},
        "InstanceChanged": {"s3-object-created-state": "decided", "ec2-running": "ignored", "relaunch": "ignored"},
        "Launcher": {"relaunch": "nothing to start", "sweep-tick": "ignored"},
        "Sweep": {"sweep-tick": "decided", "malformed-list": "decided"},
    }


def test_an_invocation_of_which_became_what_has_to_is_right() -> None:
    assert failures(as_it_has_to_be()) == []


@pytest.mark.parametrize(
    ("function", "event", "status", "wanted"),
    [
        ("StateWritten", "s3-object-created-state", "ignored", "decided"),
        ("StateWritten", "malformed-list", "failed: TypeError: no", "ignored"),
        ("StateWritten", "ec2-running", "decided", "ignored"),
        ("InstanceChanged", "ec2-running", "decided", "ignored"),
        ("Launcher", "relaunch", "ignored", "nothing to start"),
        ("Sweep", "sweep-tick", "silent", "decided"),
    ],
)
def test_an_invocation_of_which_became_something_else_is_wrong(
    function: str, event: str, status: str, wanted: str
) -> None:
    invokes = as_it_has_to_be()
    invokes[function][event] = status
    assert failures(invokes) == [f"{function} with {event}: {status}, not {wanted}"]


def test_of_a_function_that_nobody_thought_of_nothing_is_right() -> None:
    with pytest.raises(NotImplementedError):
        failures({"New": {"sweep-tick": "decided"}})


def test_where_no_function_can_be_run_that_is_wrong_unless_it_was_asked_for() -> None:
    def nowhere() -> Matrix:
        raise LocalAwsFailed("there is no Docker here")

    told, wrong = invocations(nowhere)
    assert (told, len(wrong)) == ("not run", 1)
    assert "there is no Docker here" in wrong[0]
    assert invocations(None) == ("not run", [])
    assert invocations(as_it_has_to_be) == (as_it_has_to_be(), [])


@pytest.mark.parametrize(("denied", "passed", "lines"), [(0, 30, 0), (2, 30, 1), (0, 29, 1), (2, 29, 2)])
def test_a_call_or_a_case_that_the_policies_decide_otherwise_is_wrong(denied: int, passed: int, lines: int) -> None:
    found = {"calls_recorded": 9, "calls_denied": denied, "policy_cases": {"total": 30, "passed": passed}}
    assert len(denials(found)) == lines


def test_where_no_calls_were_recorded_none_is_denied() -> None:
    assert denials({}) == []
