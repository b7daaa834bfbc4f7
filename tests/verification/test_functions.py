"""What the checks of the stack report, and what they accept."""

from __future__ import annotations

import pytest

from chronos_ec2.local import LocalAwsFailed
from chronos_ec2.local.sam_invoke import Invocation
from verification.functions.__main__ import denials, invocations
from verification.functions.imports import slow_handlers
from verification.functions.invokes import Matrix, failures, status


@pytest.mark.parametrize(("milliseconds", "slow"), [(100.0, 0), (190.0, 0), (190.1, 1)])
def test_a_handler_may_take_little_longer_than_its_dependencies(milliseconds: float, slow: int) -> None:
    found = slow_handlers({"Sweep": milliseconds, "boto3 and Logger": 100.0})
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
def test_the_status_of_an_invocation_comes_from_its_log(error: str | None, lines: list[str], expected: str) -> None:
    log = "\n".join(["Mounting the bundle", *lines, "END RequestId: 1"])
    assert status(Invocation(None, error, log)) == expected


def expected_matrix() -> dict[str, dict[str, str]]:
    return {
        "StateWritten": {"s3-object-created-state": "decided", "ec2-running": "ignored", "malformed-list": "ignored"},
        "InstanceChanged": {"s3-object-created-state": "decided", "ec2-running": "ignored", "relaunch": "ignored"},
        "Launcher": {"relaunch": "nothing to start", "sweep-tick": "ignored"},
        "Sweep": {"sweep-tick": "decided", "malformed-list": "decided"},
    }


def test_expected_statuses_pass() -> None:
    assert failures(expected_matrix()) == []


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
def test_an_unexpected_status_is_reported(function: str, event: str, status: str, wanted: str) -> None:
    invokes = expected_matrix()
    invokes[function][event] = status
    assert failures(invokes) == [f"{function} with {event}: {status}, not {wanted}"]


def test_an_unknown_function_has_no_expectation() -> None:
    with pytest.raises(NotImplementedError):
        failures({"New": {"sweep-tick": "decided"}})


def test_a_machine_without_containers_is_a_problem_unless_accepted() -> None:
    def nowhere() -> Matrix:
        raise LocalAwsFailed("there is no Docker here", "install it")

    told, wrong = invocations(nowhere)
    assert (told, len(wrong)) == ("not run", 1)
    assert "there is no Docker here" in wrong[0]
    assert invocations(None) == ("not run", [])
    assert invocations(expected_matrix) == (expected_matrix(), [])


@pytest.mark.parametrize(("denied", "passed", "lines"), [(0, 30, 0), (2, 30, 1), (0, 29, 1), (2, 29, 2)])
def test_denied_calls_and_failed_policy_cases_are_reported(denied: int, passed: int, lines: int) -> None:
    found = {"calls_recorded": 9, "calls_denied": denied, "policy_cases": {"total": 30, "passed": passed}}
    assert len(denials(found)) == lines


def test_without_recorded_calls_nothing_is_denied() -> None:
    assert denials({}) == []
