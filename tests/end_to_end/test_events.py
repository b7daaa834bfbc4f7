"""What happens on the embedded AWS invokes the deployed functions, which find out what lane it is about."""

from __future__ import annotations

import pytest

from chronos_ec2.aws.clients import client
from tests.end_to_end.conftest import Runs
from tests.local.conftest import Cloud

pytestmark = [pytest.mark.embedded_aws, pytest.mark.thorough]


def reports(function: str, lane: str) -> int:
    """How often a function has reported on a lane, according to its log."""
    pages = (
        client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=f"/aws/lambda/chronos-ec2-local-{function}")
    )
    return sum(f'"lane":"{lane}"' in event["message"] for page in pages for event in page["events"])


def test_each_state_change_of_an_instance_is_handled(runs: Runs) -> None:
    cloud = Cloud(runs.aws, runs.world.stack)
    instance_id = cloud.launch(cloud.upload_agent(0.1), lane="changes")
    runs.wait_for("the instance to end", lambda: cloud.state_of(instance_id) == "terminated")
    # pending, running, shutting-down, terminated
    runs.wait_for("the reports", lambda: reports("instance-changed", "changes") >= 4)


def test_each_lock_that_is_written_or_deleted_is_handled(runs: Runs) -> None:
    key, bucket = "local/lanes/locks/system-state.json", runs.world.stack.bucket
    client("s3").put_object(Bucket=bucket, Key=key, Body=b"{}")
    runs.wait_for("the report of a new lock", lambda: reports("state-written", "locks") >= 1)
    client("s3").delete_object(Bucket=bucket, Key=key)
    runs.wait_for("the report of a deleted lock", lambda: reports("state-written", "locks") >= 2)
    # The main lane has its lock at another place.
    assert reports("state-written", "main") > 0
