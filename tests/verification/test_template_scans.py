"""The scans find seeded defects. `make check` runs them on the template."""

from __future__ import annotations

from pathlib import Path

import pytest

from verification.template.scans import policies, scan
from verification.template.synthesis import TEMPLATE, synthesised

# The start of a finding, and the change to the template that causes it.
DEFECTS = {
    "cfn-lint E": ("    VpcEndpointType: Gateway", "    VpcEndpointType: Gate"),
    "checkov CKV_AWS_260 source InstanceSecurityGroup": (
        "      SecurityGroupEgress:",
        "      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 80, ToPort: 80, CidrIp: 0.0.0.0/0}]\n"
        "      SecurityGroupEgress:",
    ),
    "checkov CKV_AWS_18 SweepLogs: unused exception": ("- id: CKV_AWS_158", "- id: CKV_AWS_18"),
    "cfn-lint W3037 transformed": (
        "Action: scheduler:ListSchedules",
        "Action: scheduler:CountSchedules",
    ),
    "cloudsplaining WatchdogRole.Policies.0 INFRASTRUCTURE_MODIFICATION ec2:TerminateInstances": (
        "                  - ec2:DescribeInstances\n",
        "                  - ec2:DescribeInstances\n                  - ec2:TerminateInstances\n",
    ),
    "cloudsplaining SERVICE_WILDCARD OperatorPolicy: unused exception": (
        "  OperatorPolicy:\n",
        "  OperatorPolicy:\n    Metadata: {cloudsplaining: {skip: [{id: SERVICE_WILDCARD, about: s3}]}}\n",
    ),
}  # fmt: skip


@pytest.mark.thorough
def test_every_kind_of_defect_is_found(tmp_path: Path) -> None:
    text = TEMPLATE.read_text()
    for before, after in DEFECTS.values():
        assert before in text
        text = text.replace(before, after, 1)
    defective = tmp_path / "template.yaml"
    defective.write_text(text)
    found = scan(defective)
    for begin in DEFECTS:
        assert [line for line in found["findings"] if line.startswith(begin)], begin
    assert found["cfn_lint"]["errors"] >= 1
    assert found["checkov"]["source"]["failed"] >= 1
    assert found["checkov"]["transformed"]["failed"] >= 1
    assert found["policy_findings"] >= 2


@pytest.mark.parametrize(
    "place", ["OperatorPolicy", "BucketPolicy", "S3Endpoint", "TopicPolicy", "InstanceRole.Policies.0"]
)
def test_every_policy_of_the_stack_is_audited(place: str) -> None:
    assert place in {name.removesuffix(".PolicyDocument") for name in policies(synthesised())}
