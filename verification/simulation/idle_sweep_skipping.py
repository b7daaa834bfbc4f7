"""Which sweeps can be left out: those that could only repeat the last one, which changed nothing.

Only where EC2 and S3 answer: elsewhere every call may fail, and each is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from chronos_ec2.domain.decision import Notify
from chronos_ec2.services.watchdog.reconcile import Report
from verification.simulation.agent_model import AgentRun
from verification.simulation.oracle import Oracle
from verification.simulation.system import System
from verification.simulation.virtual_time import ORIGIN

_FOREVER = 1e12


class IdleSweeps:
    """Knows until when the watchdog would decide again as it did, if nothing happens."""

    def __init__(self, scene: System, judgement: Oracle) -> None:
        self._scene = scene
        self._judgement = judgement
        self._until = 0.0
        self._disturbed = False
        self._listed_at = 0.0
        """When EC2's list will show the last change of an instance."""

    def disturb(self) -> None:
        """Something happened: the next sweep has to look."""
        self._until, self._disturbed = 0.0, True

    def instance_changed(self) -> None:
        """An instance is in another state, which EC2's list may show later."""
        self.disturb()
        self._listed_at = self._scene.clockwork.seconds + self._scene.plan.list_lag

    def begin(self) -> None:
        """A sweep begins; what it changes itself disturbs too."""
        self._until, self._disturbed = 0.0, False

    def judge(self, reports: Iterable[Report]) -> None:
        """A sweep has ended with these reports."""
        scene = self._scene
        schedules_left = bool(scene.deadlines.schedules.keys() & scene.out_of_reach)
        listed = scene.clockwork.seconds >= self._listed_at
        if scene.plan.clean and listed and not self._disturbed and not schedules_left:
            self._until = min(map(self._repeats_until, reports))

    def holds(self) -> bool:
        """Whether a sweep could only repeat the last one: nothing happened, work moves, and there is time left."""
        return self._scene.clockwork.seconds < self._until and all(map(self._goes_on, self._living()))

    def _living(self) -> Iterable[str]:
        return filter(self._scene.lives, self._scene.fleet.ours - self._scene.out_of_reach)

    def _goes_on(self, instance_id: str) -> bool:
        box = self._scene.boxes.get(instance_id)
        moves = (
            box is None
            or not box.claimed
            or (box.life is AgentRun.WORKING and box.stalled_since is None and not box.cut_off)
        )
        return moves and not self._judgement.near_a_limit(instance_id)

    def _repeats_until(self, report: Report) -> float:
        """Until when a lane is decided about in the same words: each of these rules knows one limit, or none."""
        scene, lane = self._scene, report.lane
        about, *rest = report.decision.reason.split("; ")
        if rest == ["healthy"]:
            return _FOREVER
        if not all(isinstance(action, Notify) for action in report.decision.actions):
            return 0.0
        boot = scene.limits.boot.total_seconds()
        if len(rest) == 1 and rest[0].startswith("booting"):
            boxes = (scene.instance(instance_id) for instance_id in self._living())
            return min(_seconds(box.launched_at) for box in boxes if box.lane == lane) + boot
        alive = any(scene.instance(instance_id).lane == lane for instance_id in self._living())
        if rest or alive:
            return 0.0
        if about == "no run holds the lane":
            return _FOREVER
        if about.endswith("is being launched") or about.startswith(f"{lane.state_key} is unreadable"):
            return _seconds(scene.objects.written_at(lane.state_key)) + boot
        return 0.0


def _seconds(moment: datetime) -> float:
    return (moment - ORIGIN).total_seconds()
