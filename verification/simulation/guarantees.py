"""Within how long each failure ends its instance, and how much later where calls fail and ticks are lost."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from chronos_ec2.domain.limits import Limits

DEAD = "agent or instance dead"
HUNG = "training hung, instance alive"
NO_RECORD = "instance without a record"
NO_BOOT = "boot never finished"
STOPPED = "instance stopped"
LATE = "past the deadline"
PRICED = "past the price cap"
UNTAGGED = "past the deadline, its tags removed"

SCHEDULE_SECONDS = 120.0
"""EventBridge Scheduler fires within this after the time of a schedule."""
_CALLS_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Guarantee:
    """The seconds within which an instance is ended while EC2 and S3 answer, without any event.

    `looks` is how many ticks that takes once there is something to see.
    """

    bound: float
    looks: int = 1

    def allowed(self, since: float, disturbed: Sequence[float], sweep: float) -> float:
        """The seconds that may pass after `since`, when the ticks at the times `disturbed` were of no use.

        Such a tick adds one sweep if it came when there was something to do and the end was not yet due.
        """
        limit = self.bound
        first = since + self.bound - self.looks * sweep - _CALLS_SECONDS
        for at in disturbed[bisect_left(disturbed, max(first, since)) :]:
            if at > since + limit:
                break
            limit += sweep
        return limit


def guarantees(limits: Limits) -> dict[str, Guarantee]:
    """The guarantee of each failure."""
    return {
        DEAD: Guarantee(limits.dead_agent_bound.total_seconds(), looks=2),
        HUNG: Guarantee(limits.hung_bound.total_seconds(), looks=2),
        NO_RECORD: Guarantee(limits.orphan_bound.total_seconds(), looks=2),
        NO_BOOT: Guarantee(limits.boot_bound.total_seconds()),
        STOPPED: Guarantee(limits.deadline_bound.total_seconds()),
        LATE: Guarantee(limits.deadline_bound.total_seconds()),
        PRICED: Guarantee(limits.deadline_bound.total_seconds()),
        UNTAGGED: Guarantee(SCHEDULE_SECONDS, looks=0),
    }


def without_a_record(guarantee: Guarantee, limits: Limits) -> Guarantee:
    """The slower guarantee of an instance whose record cannot be trusted: its age counts, then two looks."""
    known = guarantees(limits)
    bound = max(guarantee.bound, known[NO_BOOT].bound) + known[NO_RECORD].bound
    # Which rule applies depends on what was written when: any tick may have mattered.
    return Guarantee(bound, looks=int(bound / limits.sweep.total_seconds()))
