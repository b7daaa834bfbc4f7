"""How a history must end: nothing of ours lives, no lock, schedule or upload is left."""

from __future__ import annotations

import json

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
        system = self._system
        now = system.time.seconds
        held = any(system.objects.holds(lane.state_key) for lane in system.lanes)
        if now < last_fault + 60 or system.ledger.may_wait() or self._somebody_lives():
            self._all_gone_since = None
            return False
        if self._all_gone_since is None:
            self._all_gone_since = now
        waited = now - self._all_gone_since
        left = held or self._schedules_left()
        quiet = _QUIET_TWICE if any(at.kind is FaultKind.FORGED_SEQ for at in system.scenario.faults) else _QUIET
        return (not left and waited > _SETTLED_SECONDS) or waited > quiet.allowed(
            self._all_gone_since, system.noise.disturbed
        )

    def leaks(self) -> list[str]:
        """The instances that live."""
        system = self._system
        ours = system.fleet.ours - (system.out_of_reach - system.failing.keys())
        return [f"{one} lives on at {system.time.seconds:.0f} s" for one in ours if system.lives(one)]

    def stuck(self) -> list[str]:
        """Locks, schedules and uploads that are left."""
        system = self._system
        locked = [lane for lane in system.lanes if system.objects.holds(lane.state_key)]
        return [
            *(f"{lane} is locked at the end" for lane in locked),
            *(f"the schedule of {instance_id} is left" for instance_id in self._schedules_left()),
            *(f"the upload of {key} is left" for key in self._uploads_left()),
        ]

    def _somebody_lives(self) -> bool:
        out_of_reach, failing = self._system.out_of_reach, self._system.failing
        return any(
            self._system.lives(instance_id)
            and (instance_id not in out_of_reach or instance_id in failing or self._holds_its_lane(instance_id))
            for instance_id in self._system.fleet.ours
        )

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
                states = {
                    one["state"]
                    for one in json.loads(objects.body(receipt))["resources"]
                    if one["kind"] == "multipart-upload"
                }
                if not any(state.startswith("not ") for state in states):
                    left.append(upload.key)
        return left

    def _schedules_left(self) -> set[str]:
        """Terminated instances whose schedule is left, except those that lost their tags."""
        system = self._system
        gone = {instance_id for instance_id in system.deadlines.schedules if not system.lives(instance_id)}
        return gone - system.out_of_reach
