"""What the agent uses, with the credentials of its instance."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.aws.clients import client, instance_s3
from chronos_ec2.aws.clocks import SystemClock
from chronos_ec2.aws.cloudwatch_streams import CloudWatchStreams
from chronos_ec2.aws.errors import unattended
from chronos_ec2.aws.s3_objects import S3Objects, S3Transfer
from chronos_ec2.ports import Clock, LogStreams, ObjectTransfer
from chronos_ec2.run_store import RunStore


@dataclass(frozen=True, slots=True)
class AgentWorld:
    """What the agent uses: the bucket, and a log group if its stack has one."""

    store: RunStore
    transfer: ObjectTransfer
    clock: Clock

    def log_streams(self, group: str) -> LogStreams:
        """A CloudWatch log group."""
        return CloudWatchStreams(client("logs"), group)


def agent_world(bucket: str) -> AgentWorld:
    """What the agent uses. Region and credentials come from the instance.

    Raises:
        NoCredentials: the instance has no credentials yet; call again once it has.
    """
    small, large = instance_s3()
    store = RunStore(S3Objects(small, bucket, unattended))
    return AgentWorld(store, S3Transfer(large, bucket, unattended), SystemClock())
