"""Which sweeps can be skipped: those that could only repeat the last one, which changed nothing.

Only while EC2 and S3 answer: otherwise every call may fail, and each is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from chronos_ec2.domain.decision import Notify
from chronos_ec2.domain.limits import TAKE_OVER_AFTER
from chronos_ec2.services.watchdog.reconcile import Report
from chronos_ec2.testing.clock import ORIGIN
from chronos_ec2.testing.virtual.agent import AgentRun
from verification.simulation.system import System

_FOREVER = 1e12


class IdleSweeps:
    """Knows until when the watchdog would decide as before, if nothing happens."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._until = 0.0
        self._disturbed = False
        self._listed_at = 0.0
        """When EC2's list will show the last change of an instance."""

    def disturb(self) -> None:
        """Something happened: the next sweep has to look."""
        self._until, self._disturbed = 0.0, True

    def instance_changed(self) -> None:
        """An instance changed its state, which EC2's list may show later."""
        self.disturb()
        self._listed_at = self._system.time.seconds + self._system.scenario.list_lag

    def begin(self) -> None:
        """A sweep begins; its own changes disturb too."""
        self._until, self._disturbed = 0.0, False

    def end(self, reports: Iterable[Report]) -> None:
        """A sweep has ended with these reports."""
        system = self._system
        schedules_left = bool(system.deadlines.schedules.keys() & system.out_of_reach)
        listed = system.time.seconds >= self._listed_at
        if system.scenario.clean and listed and not self._disturbed and not schedules_left:
            self._until = min(map(self._repeats_until, reports))

    def holds(self) -> bool:
        """Whether a sweep could only repeat the last one: nothing happened, and work progresses within its limits."""
        if not self._system.parts.skip_idle_sweeps:
            return False
        return self._system.time.seconds < self._until and all(map(self._makes_progress, self._living()))

    def _living(self) -> Iterable[str]:
        return filter(self._system.lives, self._system.fleet.ours - self._system.out_of_reach)

    def _makes_progress(self, instance_id: str) -> bool:
        agent = self._system.agents.get(instance_id)
        moves = (
            agent is None
            or not agent.claimed
            or (agent.run is AgentRun.WORKING and agent.stalled_since is None and not agent.cut_off)
        )
        return moves and not self._system.near_a_limit(instance_id)

    def _repeats_until(self, report: Report) -> float:
        """Until when the decision about a lane stays the same: each of these rules has one limit, or none."""
        system, lane = self._system, report.lane
        about, *rest = report.decision.reason.split("; ")
        if rest == ["healthy"]:
            return _FOREVER
        if not all(isinstance(action, Notify) for action in report.decision.actions):
            return 0.0
        boot = system.limits.boot.total_seconds()
        if len(rest) == 1 and rest[0].startswith("booting"):
            living = (system.fleet.truth(instance_id) for instance_id in self._living())
            return min(_seconds(instance.launched_at) for instance in living if instance.lane == lane) + boot
        alive = any(system.fleet.truth(instance_id).lane == lane for instance_id in self._living())
        if rest or alive:
            return 0.0
        if about == "no run holds the lane":
            return _FOREVER
        if about.startswith(f"{lane.state_key} is unreadable"):
            return _seconds(system.objects.stored(lane.state_key).written_at) + boot
        run = report.run
        if about.endswith("is being launched") and run and run.launching:
            return _seconds(run.launching.since + TAKE_OVER_AFTER)
        if about.endswith("waits for capacity") and run and run.waiting:
            return _seconds(min(run.waiting.next_try_at, run.waiting.until))
        return 0.0


def _seconds(moment: datetime) -> float:
    return (moment - ORIGIN).total_seconds()
