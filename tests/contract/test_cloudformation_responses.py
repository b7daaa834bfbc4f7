"""A stack that could not be deleted: the emulators delete every one."""

from __future__ import annotations

import pytest

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.cloudformation_deployment import CloudFormationDeployment
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.testing.aws_server import answered

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
        pytest.raises(ServiceUnavailable, match=rf"{message}.*detached first\. Then tear down again"),
    ):
        CloudFormationDeployment(client("cloudformation"), "chronos-ec2-dev").delete()
