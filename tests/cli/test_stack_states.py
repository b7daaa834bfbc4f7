"""A stack in another state than complete: nothing is launched in it, and each command says what to do."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from moto.core.botocore_stubber import MockRawResponse

from chronos_ec2.aws.clients import client
from chronos_ec2.testing.aws_answers import answered, heard
from chronos_ec2.testing.aws_server import switch_sweep
from tests.cli.conftest import Command

STACK_ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/chronos-ec2-dev/1"


def described(status: str, *, outputs: bool = False) -> str:
    """CloudFormation's answer about the stack of dev."""
    stacks = client("cloudformation").describe_stacks(StackName="chronos-ec2-dev")["Stacks"] if outputs else [{}]
    members = "".join(
        f"<member><OutputKey>{each['OutputKey']}</OutputKey><OutputValue>{each['OutputValue']}</OutputValue></member>"
        for each in stacks[0].get("Outputs", ())
    )
    return (
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
        f"<StackId>{STACK_ID}</StackId><StackName>chronos-ec2-dev</StackName><StackStatus>{status}</StackStatus>"
        f"<Outputs>{members}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
    )


def status(status: str, *, outputs: bool) -> AbstractContextManager[None]:
    return answered("cloudformation", "DescribeStacks", described(status, outputs=outputs))


@contextmanager
def until_deleted(status: str) -> Iterator[list[str]]:
    """The stack has this status until it is deleted; gets the name or id by which it is deleted."""
    deleted: list[str] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        body = described("DELETE_COMPLETE" if deleted else status)
        if "Action=DeleteStack" in str(request.body):
            deleted.append(parse_qs(request.body)["StackName"][0])
            body = "<DeleteStackResponse/>"
        return AWSResponse(request.url, 200, HTTPHeaders(), MockRawResponse(body))

    with heard("before-send.cloudformation", answer):
        yield deleted


def instances() -> list[object]:
    return list(client("ec2").describe_instances()["Reservations"])


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("state", ["UPDATE_IN_PROGRESS", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED"])
def test_nothing_is_launched_in_a_stack_that_is_not_complete(run: Command, state: str) -> None:
    with status(state, outputs=True):
        launched, verified = run("launch", "--trainer", "probe"), run("verify", "--json")
    assert (launched.code, state in launched.err, "hint: " in launched.err) == (2, True, True)
    assert (verified.code, state in verified.json["warnings"][0]) == (0, True)
    assert instances() == []


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("ROLLBACK_COMPLETE", "delete it first with `chronos-ec2 teardown --environment dev`"),
        ("CREATE_IN_PROGRESS", "wait"),
        ("DELETE_IN_PROGRESS", "wait"),
    ],
)
def test_a_stack_that_is_not_there_yet_or_any_more_says_what_to_do(run: Command, state: str, words: str) -> None:
    with status(state, outputs=False):
        for command in ("launch", "verify", "runs"):
            result = run(command)
            assert (result.code, state in result.err, words in result.err) == (2, True, True)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("state", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "DELETE_FAILED"])
def test_a_stack_that_can_only_be_deleted_is_torn_down(
    run: Command, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    with until_deleted(state) as deleted:
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        refused = run("teardown")
        assert (refused.code, state in refused.err, "--yes" in refused.err, deleted) == (2, True, True, [])
        result = run("teardown", "--yes", "--json")
    assert (result.code, result.json["deleted"], deleted) == (0, "chronos-ec2-dev", [STACK_ID])


@pytest.mark.usefixtures("data")
def test_a_sweep_that_is_switched_off_is_said_and_keeps_runs_from_being_launched(run: Command) -> None:
    switch_sweep("DISABLED")
    launched, verified = run("launch", "--trainer", "probe"), run("verify", "--json")
    assert (launched.code, "switched off" in launched.err) == (2, True)
    assert ["sweep" in warning for warning in verified.json["warnings"]] == [True, False]
    assert instances() == []
    switch_sweep("ENABLED")
    assert run("launch", "--trainer", "probe").code == 0


@pytest.mark.usefixtures("data")
def test_doctor_says_what_is_wrong_with_a_stack_and_how_to_mend_it(run: Command) -> None:
    well = run("doctor")
    assert "ok       stack" in well.out
    with status("UPDATE_IN_PROGRESS", outputs=True):
        broken = run("doctor")
        documents = {each["part"]: each for each in run("doctor", "--json").json["parts"]}
    assert (broken.code, "broken   stack" in broken.out) == (1, True)
    assert (documents["stack"]["health"], documents["sweep"]["health"]) == ("broken", "ok")
