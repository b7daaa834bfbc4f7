"""The kinds of messages, and the words for each."""

from __future__ import annotations

from enum import StrEnum

from chronos_ec2.domain.records.status import Cause, Job


class Kind(StrEnum):
    """The kinds of incident."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"
    RESUMED = "resumed"
    STUCK = "stuck"
    ORPHAN = "orphan"
    OVER_BUDGET = "over-budget"
    LEAK = "leak"
    WAITING = "waiting"
    HELD = "held"
    LIMIT = "limit"
    PROMOTED = "promoted"
    KEPT = "kept"
    SKIPPED = "skipped"
    ENDED = "ended"


WITH_LOG = frozenset({Kind.FAILED, Kind.STUCK, Kind.OVER_BUDGET})
"""The kinds whose messages include the last lines of the trainer's log."""

WITHHELD = frozenset({Kind.STARTED, Kind.RESUMED, Kind.WAITING, Kind.STUCK, Kind.HELD})
"""The kinds that wait while their environment has reached its limit of messages an hour.

What they tell lasts, so they are sent later. The end of a run is never withheld, also if it was stuck, and neither is
an instance that costs money for nothing.
"""

SEVERITY = {
    Kind.STARTED: "info",
    Kind.COMPLETED: "info",
    Kind.PROMOTED: "info",
    Kind.KEPT: "info",
    Kind.ENDED: "info",
    Kind.KILLED: "warning",
    Kind.RESUMED: "warning",
    Kind.WAITING: "warning",
    Kind.HELD: "warning",
    Kind.SKIPPED: "warning",
    Kind.FAILED: "error",
    Kind.STUCK: "error",
    Kind.LIMIT: "error",
    Kind.OVER_BUDGET: "error",
    Kind.ORPHAN: "critical",
    Kind.LEAK: "critical",
}
WHY = {
    Cause.REQUESTED: "somebody asked to end the run",
    Cause.USER_CODE: "the trainer or its data failed",
    Cause.PREEMPTED: "EC2 reclaimed the spot instance",
    Cause.HUNG: "the work made no progress on a living instance",
    Cause.OVER_DEADLINE: "the run reached its deadline",
    Cause.OVER_BUDGET: "the run reached its price cap",
    Cause.ORPHAN: "the instance belonged to no run",
    Cause.INFRA: "the instance, its agent or AWS failed",
    Cause.NO_CAPACITY: "EC2 had no capacity for the run",
}
WORK = {Job.TRAIN: "training", Job.FORECAST: "forecast", Job.EVALUATE: "evaluation"}
"""What a run does, as a noun."""
SAYS = {
    Kind.STARTED: "has started",
    Kind.COMPLETED: "completed",
    Kind.FAILED: "failed",
    Kind.KILLED: "was killed",
    Kind.RESUMED: "resumes",
    Kind.STUCK: "is stuck",
    Kind.ORPHAN: "belongs to no run",
    Kind.OVER_BUDGET: "is over its budget",
    Kind.LEAK: "may keep costing money",
    Kind.WAITING: "waits for capacity",
    Kind.HELD: "is held",
    Kind.LIMIT: "is reached",
    Kind.PROMOTED: "has the new champion",
    Kind.KEPT: "leaves the champion in place",
    Kind.SKIPPED: "has started nothing",
    Kind.ENDED: "has ended",
}
