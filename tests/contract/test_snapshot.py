"""A stack that is brought back is the one that was made, whatever a test did to it."""

from __future__ import annotations

from chronos_ec2.aws.clients import client
from chronos_ec2.aws.stack_outputs import read_stack
from chronos_ec2.testing.aws_server import BUCKET, deploy_outputs, forget_everything
from chronos_ec2.testing.aws_snapshot import bring_back, keep


def test_what_was_kept_is_brought_back_and_nothing_else(aws: str) -> None:
    network = deploy_outputs()
    made, kept = read_stack(client("cloudformation"), "dev"), keep()
    for again in range(2):
        client("s3").put_object(Bucket=BUCKET, Key=f"later-{again}", Body=b"")
        client("ec2").delete_launch_template(LaunchTemplateId=network.launch_template)
        forget_everything(aws)
        assert client("s3").list_buckets()["Buckets"] == []
        bring_back(kept)
        assert read_stack(client("cloudformation"), "dev") == made
        found = client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
        assert {one["Key"].split("/")[0] for one in found} == {"cached-datasets"}
        templates = client("ec2").describe_launch_templates()["LaunchTemplates"]
        assert [one["LaunchTemplateId"] for one in templates] == [network.launch_template]
