"""No right is granted that nothing uses. This runs last: it looks at what the calls of all other tests needed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.template.calls import Recorder
from tests.template.iam import Right
from tests.template.test_policies import AGENT, DEADLINE, OPERATOR, STARTER, WATCHDOG, policies

TESTS = Path(__file__).parents[1]
ACTING = {
    TESTS / "agent" / "test_process.py",
    *(TESTS / "cli").glob("test_*.py"),
    *(TESTS / "functions").glob("test_*"),
}
"""Where roles act."""

NOT_BY_OUR_CALLS = {
    "* sqs:SendMessage *-failedinvocations": "Lambda keeps what failed, in the function's role",
    "* logs:CreateLogStream *": "Lambda writes the log, in the function's role",
    "* logs:PutLogEvents *": "Lambda writes the log, in the function's role",
    f"{DEADLINE} ec2:TerminateInstances *": "Scheduler ends an instance at its deadline",
    "SweepScheduleRole lambda:InvokeFunction *-sweep": "Scheduler calls the sweep",
    "* ec2:DeleteVolume *:network-interface/*": "of one statement with the next, which EC2 never asks for",
    "* ec2:DeleteNetworkInterface *:volume/*": "of one statement with the one before, which EC2 never asks for",
}


def granted() -> set[Right]:
    identities = ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy")
    return {
        right
        for name, body in policies().resources.items()
        if body["Type"] in identities
        for right in policies().rights(name)
    }


def in_words(right: Right) -> str:
    resource = policies().of(right.who)[right.statement]["Resource"]
    return f"{right.who} {right.action} {resource[right.resource] if isinstance(resource, list) else resource}"


def test_no_right_is_to_a_pattern_of_actions() -> None:
    assert [right for right in granted() if "*" in right.action] == []


def test_everybody_who_may_do_something_is_known() -> None:
    assert {right.who for right in granted()} == {AGENT, WATCHDOG, STARTER, DEADLINE, OPERATOR, "SweepScheduleRole"}


def test_every_right_is_used(request: pytest.FixtureRequest, calls: Recorder) -> None:
    if not {item.path for item in request.session.items} >= ACTING or request.config.option.keyword:
        pytest.skip("what is used is known when all tests of agent, command and functions ran before")
    unused = sorted(map(in_words, granted() - calls.used))
    reasons = {right: [why for why in NOT_BY_OUR_CALLS if fnmatchcase(right, why)] for right in unused}
    assert [right for right, why in reasons.items() if not why] == []
    assert {why for found in reasons.values() for why in found} == set(NOT_BY_OUR_CALLS)
