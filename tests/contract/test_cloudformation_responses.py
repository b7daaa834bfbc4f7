"""A stack that could not be deleted: the emulators delete every one."""

from __future__ import annotations

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.cloudformation_deployment import CloudFormationDeployment
from chronos_ec2.domain.errors import NotAllowed, ServiceUnavailable
from chronos_ec2.testing.aws_answers import answered

FAILED = """\
<DescribeStacksResponse><DescribeStacksResult><Stacks><member>
  <StackId>arn:aws:cloudformation:us-east-1:123456789012:stack/chronos-ec2-dev/1</StackId>
  <StackName>chronos-ec2-dev</StackName><StackStatus>DELETE_FAILED</StackStatus>
  {reason}
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""
REASON = "<StackStatusReason>The following resource(s) failed to delete: [OperatorPolicy].</StackStatusReason>"


@pytest.mark.parametrize(
    ("reason", "message"), [(REASON, r"failed to delete: \[OperatorPolicy\]"), ("", "terminal failure state")]
)
def test_a_failed_deletion_says_why_and_what_to_do(aws: str, reason: str, message: str) -> None:
    with (
        answered("cloudformation", "DescribeStacks", FAILED.format(reason=reason)),
        pytest.raises(ServiceUnavailable, match=rf"{message}.*detached first; then tear down again"),
    ):
        CloudFormationDeployment(client("cloudformation"), "chronos-ec2-dev").delete()


STACK = """\
<DescribeStacksResponse><DescribeStacksResult><Stacks><member>
  <StackId>arn:aws:cloudformation:us-east-1:123456789012:stack/chronos-ec2-dev/1</StackId>
  <StackName>chronos-ec2-dev</StackName><StackStatus>{status}</StackStatus><Outputs>{outputs}</Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""
OUTPUT = "<member><OutputKey>Bucket</OutputKey><OutputValue>a-bucket</OutputValue></member>"


@pytest.mark.parametrize(
    ("status", "outputs", "found"),
    [
        *((status, "", status) for status in (
            "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "REVIEW_IN_PROGRESS", "DELETE_FAILED"
        )),
        ("DELETE_FAILED", OUTPUT, None),
        ("CREATE_IN_PROGRESS", "", None),
        ("ROLLBACK_IN_PROGRESS", "", None),
        ("UPDATE_ROLLBACK_FAILED", OUTPUT, None),
        ("CREATE_COMPLETE", OUTPUT, None),
    ],
)  # fmt: skip
def test_a_stack_that_can_only_be_deleted_and_never_had_runs_is_known(
    aws: str, status: str, outputs: str, found: str | None
) -> None:
    with answered("cloudformation", "DescribeStacks", STACK.format(status=status, outputs=outputs)):
        assert CloudFormationDeployment(client("cloudformation"), "chronos-ec2-dev").unfinished() == found


def test_no_stack_is_no_unfinished_one(aws: str) -> None:
    assert CloudFormationDeployment(client("cloudformation"), "chronos-ec2-none").unfinished() is None


PROTECTED = """\
<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>
<Message>Stack [chronos-ec2-dev] cannot be deleted while TerminationProtection is enabled</Message></Error>
</ErrorResponse>"""


def test_a_deletion_that_was_refused_is_not_allowed(aws: str) -> None:
    with (
        answered("cloudformation", "DescribeStacks", STACK.format(status="CREATE_COMPLETE", outputs=OUTPUT)),
        answered("cloudformation", "DeleteStack", PROTECTED, status=400),
        pytest.raises(NotAllowed, match="TerminationProtection is enabled"),
    ):
        CloudFormationDeployment(client("cloudformation"), "chronos-ec2-dev").delete()
