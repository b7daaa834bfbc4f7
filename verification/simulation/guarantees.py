"""What is guaranteed: what must not happen, and within how long each failure ends its instance.

The seconds are written out, as README promises them: the oracles may not learn them from the code that they judge.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

DEAD = "agent or instance dead"
HUNG = "training hung, instance alive"
NO_RECORD = "instance without a record"
NO_BOOT = "boot never finished"
STOPPED = "instance stopped"
LATE = "past the deadline"
PRICED = "past the price cap"
UNTAGGED = "past the deadline, its tags removed"

SWEEP, GRACE, LEASE, PROGRESS, BOOT, ALARM = 60.0, 120.0, 135.0, 900.0, 900.0, 720.0
VANISHED_SECONDS = 225.0
"""EC2 no longer lists the instance: until its lane is free or its next attempt begins."""
SCHEDULE_SECONDS = 120.0
"""EventBridge Scheduler fires within this after the time of a schedule."""
CALLS_SECONDS = 30.0
"""What the calls of one reconcile may take."""


@dataclass(frozen=True, slots=True)
class Guarantee:
    """The seconds within which an instance is ended while EC2 and S3 answer, without any event.

    `looks` is how many ticks that takes once there is something to see.
    """

    bound: float
    looks: int = 1

    def later(self, seconds: float, sweeps: int = 0) -> Guarantee:
        """The same where EC2's list shows everything so much later, and so many sweeps more are needed."""
        return Guarantee(self.bound + seconds + sweeps * SWEEP, self.looks + sweeps)

    @property
    def without_a_record(self) -> Guarantee:
        """The slower one of an instance whose record cannot be trusted: its age counts, then two looks."""
        bound = max(self.bound, GUARANTEES[NO_BOOT].bound) + GUARANTEES[NO_RECORD].bound
        # Which rule applies depends on what was written when: any tick may have mattered.
        return Guarantee(bound, looks=int(bound / SWEEP))

    def allowed(self, since: float, disturbed: Sequence[float]) -> float:
        """The seconds that may pass after `since`, when the ticks at the times `disturbed` were of no use.

        Such a tick adds one sweep if it came when there was something to do and the end was not yet due.
        """
        limit = self.bound
        first = since + self.bound - self.looks * SWEEP - CALLS_SECONDS
        for at in disturbed[bisect_left(disturbed, max(first, since)) :]:
            if at > since + limit:
                break
            limit += SWEEP
        return limit


GUARANTEES = {
    DEAD: Guarantee(300.0, looks=2),
    HUNG: Guarantee(1065.0, looks=2),
    NO_RECORD: Guarantee(270.0, looks=2),
    NO_BOOT: Guarantee(990.0),
    STOPPED: Guarantee(90.0),
    LATE: Guarantee(90.0),
    PRICED: Guarantee(90.0),
    UNTAGGED: Guarantee(SCHEDULE_SECONDS, looks=0),
}
SEEN = Guarantee(SWEEP + CALLS_SECONDS)
"""Until the watchdog knows that an instance is gone."""
KILLED = Guarantee(GRACE + 3 * SWEEP + CALLS_SECONDS, looks=5)
"""Until the lane of a killed run is free, from the kill or the end of its last instance."""


@dataclass(slots=True)
class Verdicts:
    """What a history showed: lists of what must not happen, with their names in the evidence, and figures."""

    wrong: list[str] = field(default_factory=list, metadata={"evidence": "wrong_terminations"})
    alien: list[str] = field(default_factory=list, metadata={"evidence": "alien_terminations"})
    leaks: list[str] = field(default_factory=list, metadata={"evidence": "leaks_past_bound"})
    stuck: list[str] = field(default_factory=list, metadata={"evidence": "stuck_locks"})
    lost: list[str] = field(default_factory=list, metadata={"evidence": "lost_messages"})
    two_agents: list[str] = field(default_factory=list, metadata={"evidence": "two_agents"})
    over_cap: list[str] = field(default_factory=list, metadata={"evidence": "over_cap"})
    two_instances: list[str] = field(default_factory=list, metadata={"evidence": "two_instances_of_an_attempt"})
    kept_by_a_kill: list[str] = field(default_factory=list, metadata={"evidence": "lanes_kept_by_a_kill"})
    wrong_money: list[str] = field(default_factory=list, metadata={"evidence": "wrong_money"})
    above_plan: list[str] = field(default_factory=list, metadata={"evidence": "above_the_plan"})
    wrong_budgets: list[str] = field(default_factory=list, metadata={"evidence": "wrong_budgets"})
    doubled_markers: list[str] = field(default_factory=list, metadata={"evidence": "double_messages_of_a_marker"})
    duplicates: int = 0
    """Messages that went out a second time without a cause."""
    waits: list[tuple[str, float]] = field(default_factory=list)
    """How each wait for capacity ended, and after how many seconds."""
    wasted: float = 0.0
    """USD charged to runs that waited, and not by EC2."""
    times: list[tuple[str, float, float]] = field(default_factory=list)
    """(failure, seconds from it to the end of the instance, seconds guaranteed)."""

    @property
    def failed(self) -> list[str]:
        """Everything that went wrong."""
        return [text for name in VIOLATIONS.values() for text in getattr(self, name)]


VIOLATIONS = {one.metadata["evidence"]: one.name for one in fields(Verdicts) if one.metadata}
"""What must not happen: the lists of Verdicts, by their names in the evidence."""
