"""An EC2 instance, and the tags that make it ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import format_time, parse_time
from chronos_ec2.domain.records.lane import MAIN_LANE, Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import RUN_ID_PATTERN

MANAGED_BY = "chronos-ec2"
HOLD = "Hold"
"""The tag that keeps an instance: `true`, or until when."""


class InstanceState(StrEnum):
    """The life cycle of an EC2 instance, in EC2's words."""

    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"

    @property
    def alive(self) -> bool:
        """Whether an instance in this state still costs money, or may again."""
        return self is not InstanceState.TERMINATED


_RECLAIMED = "Server.SpotInstanceTermination"
_REMEDIES = {
    "Client.InternalError": "EC2 may not use the key of its volume: see VolumeKeyArn in docs/deploying.md",
    "Client.VolumeLimitExceeded": (
        "ask for more of the quota of gp3 volumes, L-7A658B76: "
        "https://console.aws.amazon.com/servicequotas/home/services/ebs/quotas/L-7A658B76"
    ),
    "Client.InvalidSnapshot.NotFound": "its AMI is gone: deploy the stack again, which takes the current one",
    "Server.InsufficientInstanceCapacity": "EC2 had no such instance left: another type or zone may have one",
    "Server.InternalError": "an error of EC2 itself: launch again",
    "Client.UserInitiatedShutdown": "somebody, or a program, has terminated it: CloudTrail says who",
}


@dataclass(frozen=True, slots=True)
class StateReason:
    """Why EC2 changed the state of an instance, in its words."""

    code: str
    message: str

    @property
    def no_capacity(self) -> bool:
        """Whether EC2 had no such instance left, which it sometimes finds only after it has accepted the launch."""
        return self.code == "Server.InsufficientInstanceCapacity"

    @property
    def reclaimed(self) -> bool:
        """Whether EC2 took a spot instance back."""
        return self.code == _RECLAIMED

    def __str__(self) -> str:
        text = self.message if self.message.startswith(self.code) else f"{self.code}: {self.message}"
        remedy = _REMEDIES.get(self.code)
        return one_line(text, 300) + (f" ({remedy})" if remedy else "")


@dataclass(frozen=True, slots=True)
class NewInstance:
    """EC2's answer to a launch: which instance it started, and when, which may be long before it answers."""

    instance_id: str
    launched_at: datetime


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance with our tags. `run_id` is None when its tag is missing or malformed.

    `reclaimed` means that EC2 itself says it reclaimed the spot instance. `ended_at` is when it ended, by EC2: it names
    the time of a call that terminates an instance, and none for an instance that powers itself off. A hold without
    `hold_until` ends with the instance.
    """

    instance_id: str
    state: InstanceState
    launched_at: datetime
    instance_type: str
    lane: Lane | None
    run_id: str | None
    attempt: int
    deadline: datetime | None
    hold: bool = False
    reclaimed: bool = False
    ended_at: datetime | None = None
    state_reason: StateReason | None = None
    hold_until: datetime | None = None

    @property
    def alive(self) -> bool:
        """Whether it still costs money, or may again."""
        return self.state.alive

    def on_hold(self, now: datetime) -> bool:
        """Whether somebody has asked for it to be kept."""
        return self.hold and (self.hold_until is None or now < self.hold_until)

    def belongs_to(self, run: Run) -> bool:
        """Whether it is the instance of the run's current attempt. Tags decide; the record only narrows."""
        own = self.run_id == run.run_id and self.attempt == run.attempt
        return own and run.instance_id in (None, self.instance_id)


@dataclass(frozen=True, slots=True)
class InstanceLookup:
    """What EC2 says about an instance asked for by id, whoever owns it; `ours` if it carries our owner tags."""

    instance_id: str
    state: InstanceState
    ours: bool


def owner_tags(project: str, environment: str) -> dict[str, str]:
    """The tags that make an instance ours; all of them must match."""
    return {"Project": project, "Environment": environment, "ManagedBy": MANAGED_BY}


def run_tags(run: Run, project: str, cost_center: str) -> dict[str, str]:
    """The tags that RunInstances puts on instance, volume, network interface and spot request."""
    return owner_tags(project, run.lane.environment) | {
        "Name": f"chronos-{run.lane.environment}-{run.run_id}",
        "CostCenter": cost_center,
        "Lane": run.lane.name,
        "RunId": run.run_id,
        "Attempt": str(run.attempt),
        "Deadline": format_time(run.deadline),
    }


def hold_tag(until: datetime | None) -> str:
    """The value of the tag that keeps an instance, until a time or until it ends."""
    return "true" if until is None else format_time(until)


def read_tags(
    tags: Mapping[str, str],
) -> tuple[Lane | None, str | None, int, datetime | None, bool, datetime | None]:
    """Lane, run id, attempt, deadline, hold and its end of an instance; a malformed tag counts as missing."""
    try:
        lane: Lane | None = Lane(tags.get("Environment", ""), tags.get("Lane", MAIN_LANE))
    except InvalidInput:
        lane = None
    run_id = tags.get("RunId", "")
    attempt = tags.get("Attempt", "")
    hold, hold_until = tags.get(HOLD, ""), _time(tags.get(HOLD, ""))
    return (
        lane,
        run_id if RUN_ID_PATTERN.fullmatch(run_id) else None,
        int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
        _time(tags.get("Deadline", "")),
        hold_until is not None or hold.lower() == "true",
        hold_until,
    )


def _time(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None


def client_token(run: Run, instance_type: str, subnet_id: str, market: str) -> str:
    """EC2's idempotency token (64 ASCII characters) for one way to launch one attempt: a retry starts no second one."""
    identity = "/".join((run.lane.environment, run.run_id, str(run.attempt), instance_type, subnet_id, market))
    return hashlib.sha256(identity.encode()).hexdigest()
