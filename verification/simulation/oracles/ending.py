"""How a history must end: nothing of ours lives, no lock, schedule or upload is left."""

from __future__ import annotations

import json

from chronos_ec2.domain.records.lane import Lane
from verification.simulation.guarantees import Guarantee
from verification.simulation.scenario import FaultKind
from verification.simulation.system import System

_QUIET, _QUIET_TWICE = Guarantee(1500.0, looks=25), Guarantee(2500.0, looks=41)
"""Every lock is free within this after the last instance: longer than the slowest rule, that of unreadable locks.

Twice where a record becomes unreadable by the write with which the watchdog suspects it.
"""
_SETTLED_SECONDS = 30.0


class Ending:
    """Knows when a history is over, and what it has left."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._all_gone_since: float | None = None

    def is_over(self, last_fault: float) -> bool:
        """Whether nothing of ours lives, every fault has happened, and the watchdog has had its time after that."""
        system, now = self._system, self._system.time.seconds
        if now < last_fault + 60 or system.ledger.may_wait() or self._somebody_lives():
            self._all_gone_since = None
            return False
        since = self._all_gone_since = now if self._all_gone_since is None else self._all_gone_since
        if not self._locked() and not self._schedules_left() and now - since > _SETTLED_SECONDS:
            return True
        quiet = _QUIET_TWICE if any(at.kind is FaultKind.FORGED_SEQ for at in system.scenario.faults) else _QUIET
        return now - since > quiet.allowed(since, system.noise.disturbed)

    def leaks(self) -> list[str]:
        """The instances that live."""
        system = self._system
        ours = system.fleet.ours - (system.out_of_reach - system.failing.keys())
        return [f"{one} lives on at {system.time.seconds:.0f} s" for one in ours if system.lives(one)]

    def stuck(self) -> list[str]:
        """Locks, schedules and uploads that are left."""
        return [
            *(f"{lane} is locked at the end" for lane in self._locked()),
            *(f"the schedule of {instance_id} is left" for instance_id in self._schedules_left()),
            *(f"the upload of {key} is left" for key in self._uploads_left()),
        ]

    def _locked(self) -> list[Lane]:
        return [lane for lane in self._system.lanes if self._system.objects.holds(lane.state_key)]

    def _somebody_lives(self) -> bool:
        system = self._system
        ours = filter(system.lives, system.fleet.ours)
        excused = system.out_of_reach - system.failing.keys()
        return any(one not in excused or self._holds_its_lane(one) for one in ours)

    def _holds_its_lane(self, instance_id: str) -> bool:
        """Whether the agent of an instance without tags still works: its heartbeats keep the lock."""
        system, agent = self._system, self._system.agents.get(instance_id)
        works = agent is not None and agent.alive and agent.stalled_since is None
        record = system.record_in(system.lane_of(instance_id)) if works else None
        return record is not None and record["instance_id"] == instance_id and not record["verdict"]

    def _uploads_left(self) -> list[str]:
        """Unfinished uploads that existed when their run's receipt was written, which does not list them.

        What an instance begins after its run is over is left to the bucket's lifecycle rule.
        """
        objects, left = self._system.objects, []
        for upload, begun in objects.begun.items():
            receipt = f"dev/{upload.key.split('/')[1]}/cleanup_status.json"
            if objects.holds(receipt) and begun < objects.stored(receipt).written_at:
                resources = json.loads(objects.body(receipt))["resources"]
                uploads = [one for one in resources if one["kind"] == "multipart-upload"]
                if not any(one["state"].startswith("not ") for one in uploads):
                    left.append(upload.key)
        return left

    def _schedules_left(self) -> set[str]:
        """Terminated instances whose schedule is left, except those that lost their tags."""
        system = self._system
        gone = {instance_id for instance_id in system.deadlines.schedules if not system.lives(instance_id)}
        return gone - system.out_of_reach
