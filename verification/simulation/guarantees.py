"""What is promised of each failure, and how much later an instance may end where calls fail and ticks are lost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from chronos_ec2.domain.limits import Limits

DEAD = "agent or box dead"
HUNG = "training hung, box alive"
NO_RECORD = "instance without a record"
NO_BOOT = "boot never finished"
STOPPED = "instance stopped"
LATE = "past the deadline"
PRICED = "past the price cap"
UNTAGGED = "past the deadline, its tags taken off"

SCHEDULE_SECONDS = 120.0
"""EventBridge's schedule fires within this after its time."""
_CALLS_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Promise:
    """The seconds within which an instance is ended, EC2 and S3 answering, no event arriving.

    `looks` is how many ticks that takes once there is something to be seen.
    """

    bound: float
    looks: int = 1

    def allowed(self, since: float, disturbed: Sequence[float], sweep: float) -> float:
        """The seconds that may pass after `since`, where the ticks at the times `disturbed` were of no use.

        A tick adds one sweep if it came when there was something to do, and not so late that the end was due before.
        Earlier ones put nothing off.
        """
        limit = self.bound
        first = since + self.bound - self.looks * sweep - _CALLS_SECONDS
        for at in disturbed[bisect_left(disturbed, max(first, since)) :]:
            if at > since + limit:
                break
            limit += sweep
        return limit


def promises(limits: Limits) -> dict[str, Promise]:
    """What is promised of each failure."""
    return {
        DEAD: Promise(limits.dead_agent_bound.total_seconds(), looks=2),
        HUNG: Promise(limits.hung_bound.total_seconds(), looks=2),
        NO_RECORD: Promise(limits.orphan_bound.total_seconds(), looks=2),
        NO_BOOT: Promise(limits.boot_bound.total_seconds()),
        STOPPED: Promise(limits.deadline_bound.total_seconds()),
        LATE: Promise(limits.deadline_bound.total_seconds()),
        PRICED: Promise(limits.deadline_bound.total_seconds()),
        UNTAGGED: Promise(SCHEDULE_SECONDS, looks=0),
    }


def without_a_record(promise: Promise, limits: Limits) -> Promise:
    """The slower promise of an instance whose record cannot be trusted: age counts, and two looks at what remains."""
    known = promises(limits)
    bound = max(promise.bound, known[NO_BOOT].bound) + known[NO_RECORD].bound
    # Which of the rules speaks depends on what was written when, so that any tick may have mattered.
    return Promise(bound, looks=int(bound / limits.sweep.total_seconds()))
