"""What the check of the stack finds wrong, and what it lets pass."""

from __future__ import annotations

import pytest

from chronos_ec2.local.invoke import Invocation
from evidence.stack.__main__ import denials
from evidence.stack.imports import slow_handlers
from evidence.stack.invokes import failures, status


@pytest.mark.parametrize(("milliseconds", "slow"), [(100.0, 0), (150.0, 0), (150.1, 1)])
def test_a_handler_may_take_half_as_long_again_as_what_it_needs(milliseconds: float, slow: int) -> None:
    found = slow_handlers({"Sweep": milliseconds, "boto3": 90.0, "boto3 and Logger": 100.0, "c7n.handler": 900.0})
    assert len(found) == slow
    assert all("Sweep" in line for line in found)


@pytest.mark.parametrize(
    ("error", "message", "expected"),
    [
        (None, "no run holds the lane", "handled"),
        (None, "ignored", "ignored"),
        (None, "not ours", "not ours"),
        ("ServiceUnavailable: no", "ignored", "failed: ServiceUnavailable: no"),
    ],
)
def test_what_became_of_an_invocation_is_told_by_its_own_log(error: str | None, message: str, expected: str) -> None:
    log = f'Mounting the bundle\n{{"level":"INFO","message":"{message}"}}\nEND RequestId: 1\n'
    assert status(Invocation(None, error, log)) == expected


def test_a_function_that_failed_is_named_with_its_event() -> None:
    invokes = {"Sweep": {"sweep-tick": "handled"}, "StateWritten": {"malformed-list": "failed: TypeError: no"}}
    assert failures(invokes) == ["StateWritten with malformed-list failed: TypeError: no"]


@pytest.mark.parametrize(("denied", "passed", "lines"), [(0, 30, 0), (2, 30, 1), (0, 29, 1), (2, 29, 2)])
def test_a_call_or_a_case_that_the_policies_decide_otherwise_is_wrong(denied: int, passed: int, lines: int) -> None:
    found = {"calls_recorded": 9, "calls_denied": denied, "policy_cases": {"total": 30, "passed": passed}}
    assert len(denials(found)) == lines


def test_where_no_calls_were_recorded_none_is_denied() -> None:
    assert denials({}) == []
