"""What each status of CloudFormation means: who may launch, and what to do otherwise."""

from __future__ import annotations

import pytest

from chronos_ec2.domain.errors import StackNotReady
from chronos_ec2.domain.stack_status import check_status, without_outputs

STACK = "chronos-ec2-dev"


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_a_stack_that_is_complete_takes_a_launch(status: str) -> None:
    check_status(STACK, status, "dev")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (
            "UPDATE_IN_PROGRESS",
            "wait, then try again; `aws cloudformation describe-stacks --stack-name chronos-ec2-dev`",
        ),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "wait"),
        ("DELETE_IN_PROGRESS", "`aws cloudformation wait stack-delete-complete --stack-name chronos-ec2-dev`"),
        ("REVIEW_IN_PROGRESS", "`sam build && sam deploy --config-env default` deploys it"),
        ("ROLLBACK_COMPLETE", "delete it first with `chronos-ec2 teardown --environment dev`"),
        ("DELETE_FAILED", "delete it first with `chronos-ec2 teardown --environment dev`"),
        ("UPDATE_FAILED", "`aws cloudformation rollback-stack --stack-name chronos-ec2-dev`"),
        ("UPDATE_ROLLBACK_FAILED", "`aws cloudformation continue-update-rollback --stack-name chronos-ec2-dev`"),
    ],
)
def test_any_other_stack_takes_none_and_says_what_to_do(status: str, remedy: str) -> None:
    with pytest.raises(StackNotReady, match=f"stack {STACK} is {status}") as refused:
        check_status(STACK, status, "dev")
    assert remedy in refused.value.hint


@pytest.mark.parametrize("status", ["CREATE_FAILED", "ROLLBACK_COMPLETE", "DELETE_FAILED", "CREATE_IN_PROGRESS"])
def test_a_stack_without_outputs_says_its_status_and_what_to_do(status: str) -> None:
    error = without_outputs(STACK, status, "dev", "'Bucket'")
    with pytest.raises(StackNotReady) as refused:
        check_status(STACK, status, "dev")
    assert (error.problem, error.hint) == (f"stack {STACK} is {status}", refused.value.hint)


def test_a_complete_stack_without_our_outputs_is_to_be_deployed_with_them() -> None:
    error = without_outputs("chronos-ec2-prod", "CREATE_COMPLETE", "prod", "'Bucket'")
    assert "no output 'Bucket'" in error.problem
    assert error.hint == "`sam build && sam deploy --config-env prod` deploys it"
