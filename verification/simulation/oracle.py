"""Was it right? The invariants of the protocol, watched while a history runs and asked for at its end."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.domain.records.status import DecidedBy
from chronos_ec2.services.watchdog.cleanup_receipt import RECEIPT, UPLOAD
from verification.simulation.agent_model import AgentRun
from verification.simulation.guarantees import (
    DEAD,
    HUNG,
    LATE,
    NO_BOOT,
    NO_RECORD,
    PRICED,
    UNTAGGED,
    Promise,
    promises,
    without_a_record,
)
from verification.simulation.notification_oracle import NotificationOracle
from verification.simulation.scenario import Kind, Layer
from verification.simulation.system import ENVIRONMENT, System, Traces
from verification.simulation.virtual_time import ORIGIN

_QUIET, _QUIET_TWICE = Promise(1500.0, looks=25), Promise(2500.0, looks=41)
"""After the last instance is gone every lock is free within this: longer than the slowest rule, an unreadable lock.

Twice where a record becomes unreadable by the write with which the watchdog suspects it.
"""
_SETTLED_SECONDS = 30.0
_AT_WORK = frozenset({InstanceState.PENDING, InstanceState.RUNNING})
_TO_ASK_SECONDS = 300.0
"""Whoever has worked for so long when a limit comes was asked to stop before: the grace, and some ticks."""
_TELLING = 3
"""Sweeps by which telling people may put an end off, where nothing but the instance tells of the incident."""


@dataclass(slots=True)
class Verdicts:
    """What a history showed. Each list names what went wrong, in words."""

    wrong: list[str] = field(default_factory=list)
    alien: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    two_agents: list[str] = field(default_factory=list)
    over_cap: list[str] = field(default_factory=list)
    duplicates: int = 0
    times: list[tuple[str, float, float]] = field(default_factory=list)
    """(failure, seconds from it to the end of the instance, seconds promised)."""

    @property
    def failed(self) -> list[str]:
        """Everything that may not be."""
        return [*self.wrong, *self.alien, *self.leaks, *self.stuck, *self.lost, *self.two_agents, *self.over_cap]


@dataclass(slots=True)
class _Failure:
    name: str
    since: float


class Oracle:
    """Knows the truth of a scene, and holds what is done against it."""

    def __init__(self, scene: System) -> None:
        self._scene = scene
        self._failing: dict[str, _Failure] = {}
        self._condemned: set[str] = set()
        self._all_gone_since: float | None = None
        self.verdicts = Verdicts()
        self.tidings = NotificationOracle(scene, self._healthy)

    # --- while it runs -----------------------------------------------------------------------------------------

    def terminate_was_called(self, instance_id: str) -> None:
        """The watchdog ends an instance: it must be ours, may not be healthy, and people know of it."""
        self.schedule_fired(instance_id)
        if instance_id in self._scene.fleet.ours:
            self.tidings.watchdog_ends(instance_id)

    def schedule_fired(self, instance_id: str) -> None:
        """Whatever ends an instance from outside: it must be ours, and may not be healthy."""
        scene = self._scene
        scene.tell(f"TerminateInstances {instance_id}")
        if instance_id not in scene.fleet.ours:
            self.verdicts.alien.append(f"terminated {instance_id}, which is not ours")
        elif instance_id not in self._condemned:
            self._must_be_ill(instance_id)

    def lock_was_written(self, key: str) -> None:
        """A verdict of the watchdog stands, also if its end has to be tried again and the box is back by then."""
        scene, lane = self._scene, Lane.from_state_key(key)
        run = scene.run_in(lane) if lane in scene.lanes and lane not in scene.robbed else None
        if lane in scene.lanes:
            self.tidings.lock_was_written(lane, run)
        if run is None and lane in scene.spoiled:
            self.lost_its_record(lane)
        if run is not None and run.attempt > 1:
            self._must_follow_one_that_is_over(run)
        if run is None or run.verdict is None or run.verdict.decided_by is not DecidedBy.WATCHDOG:
            return
        if run.instance_id in scene.fleet.ours - self._condemned:
            self._condemned.add(str(run.instance_id))
            self._must_be_ill(str(run.instance_id))

    def _must_follow_one_that_is_over(self, run: Run) -> None:
        for instance_id in self._scene.fleet.ours:
            box = self._scene.instance(instance_id)
            if (box.run_id == run.run_id and box.attempt < run.attempt) and self._healthy(instance_id):
                self.verdicts.wrong.append(f"attempt {run.attempt} begins while {instance_id} is healthy")

    def _must_be_ill(self, instance_id: str) -> None:
        scene = self._scene
        if scene.fleet.state(instance_id) not in _AT_WORK:
            return
        if self._healthy(instance_id):
            self.verdicts.wrong.append(f"{instance_id} was healthy at {scene.clockwork.seconds:.0f} s")
        elif scene.plan.clean and self._was_not_asked(instance_id):
            self.verdicts.wrong.append(f"{instance_id} was ended at a limit and not asked to save before")

    def fails(self, instance_id: str, failure: str, since: float | None = None, until: float | None = None) -> None:
        """From now on the instance should end; the first failure counts. After `until` seconds it is well again."""
        scene = self._scene
        if instance_id in self._failing or instance_id in scene.out_of_reach or not scene.lives(instance_id):
            return
        if instance_id in scene.on_hold and failure not in (LATE, PRICED):
            return
        at = scene.clockwork.seconds if since is None else since
        self._failing[instance_id] = _Failure(failure, at)
        if until is not None:
            scene.clockwork.after(until, lambda: self.forgive(instance_id))

    def agent_died(self, instance_id: str, until: float | None = None) -> None:
        """An agent that dies before it has claimed is for the watchdog one that never came."""
        launched = (self._scene.instance(instance_id).launched_at - ORIGIN).total_seconds()
        name, since = (DEAD, None) if self._scene.boxes[instance_id].claimed else (NO_BOOT, launched)
        self.fails(instance_id, name, since=since, until=until)

    def somebody_wrote(self, lane: Lane) -> None:
        """A last word gives its grace from when S3 says that it was written; a first look is taken anew."""
        self.tidings.somebody_wrote(lane)
        run = self._scene.run_in(lane)
        failure = self._failing.get(str(run.instance_id)) if run and (run.verdict or run.suspect) else None
        if failure is not None and failure.name in (DEAD, HUNG):
            failure.since = self._scene.clockwork.seconds

    def forgive(self, instance_id: str) -> None:
        """The instance is well again, or nobody's business any more."""
        self._failing.pop(instance_id, None)

    def loses_its_tags(self, instance_id: str) -> None:
        """Nobody sees it any more: what ends it is its schedule, or the box."""
        scene = self._scene
        self.forgive(instance_id)
        scene.out_of_reach.add(instance_id)
        deadline, timed = scene.instance(instance_id).deadline, Layer.DEADLINE not in scene.plan.layers_off
        if deadline and timed and instance_id in scene.deadlines.schedules:
            self._failing[instance_id] = _Failure(UNTAGGED, (deadline - ORIGIN).total_seconds())

    def lost_its_record(self, lane: Lane) -> None:
        """What the run may cost is not known any more, and whoever is on hold stays so until the deadline."""
        for instance_id, failure in list(self._failing.items()):
            of_lane = self._scene.instance(instance_id).lane == lane
            if of_lane and (failure.name == PRICED or instance_id in self._scene.on_hold):
                self.forgive(instance_id)

    def fenced(self, instance_id: str) -> None:
        """An agent leaves by itself: a record that it cannot read is no reason."""
        scene = self._scene
        if scene.unreadable(scene.instance(instance_id).lane) and self._healthy(instance_id):
            self.verdicts.wrong.append(f"{instance_id} left a record that it could not read")

    def went(self, instance_id: str) -> None:
        """The instance is on its way out: was it in time?"""
        self._spent_too_much(instance_id)
        self.tidings.leaves(instance_id)
        failure = self._failing.pop(instance_id, None)
        if failure is None:
            return
        scene = self._scene
        seconds = scene.clockwork.seconds - failure.since
        name, promise = failure.name, promises(scene.limits)[failure.name]
        if name == UNTAGGED and seconds <= 0:
            return
        spoiled = name != UNTAGGED and scene.instance(instance_id).lane in scene.spoiled
        if spoiled:
            name, promise = f"{name}, its record overwritten", without_a_record(promise, scene.limits)
        if not scene.plan.outages:
            self.verdicts.times.append((name, seconds, promise.bound))
        # Past the cap is another list.
        if name == PRICED or (Layer.SWEEP in scene.plan.layers_off and name != UNTAGGED):
            return
        # Age is told by EC2: whether S3 answers does not matter to a deadline.
        disturbed = scene.noise.disturbed_by_chance if name == LATE else scene.noise.disturbed
        sweep = scene.limits.sweep.total_seconds()
        # Before EC2's list shows it a tick is of no use, and in some nothing is done but to tell people.
        telling = _TELLING if (spoiled or name == NO_RECORD) and not scene.plan.clean else 0
        bound = promise.bound + scene.plan.list_lag + telling * sweep
        allowed = Promise(bound, promise.looks + telling).allowed(failure.since, disturbed, sweep)
        if seconds > allowed:
            told = f"{instance_id}: {failure.name}, ended after {seconds:.0f} s, allowed {allowed:.0f} s"
            self.verdicts.leaks.append(told)

    def _allowed(self, promise: Promise, since: float) -> float:
        """The seconds that a promise allows, with what the disturbed ticks add."""
        scene = self._scene
        return promise.allowed(since, scene.noise.disturbed, scene.limits.sweep.total_seconds())

    def claimed(self) -> None:
        """An agent has claimed: it must be the only one that works in its lane."""
        working: Counter[str] = Counter()
        for instance_id, box in self._scene.boxes.items():
            lane = self._scene.instance(instance_id).lane
            if lane and box.claimed and box.life is not AgentRun.GONE and lane not in self._scene.robbed:
                working[lane.name] += instance_id not in self._scene.out_of_reach
        self.verdicts.two_agents += [f"{n} agents work in lane {lane}" for lane, n in working.items() if n > 1]

    def _spent_too_much(self, instance_id: str) -> None:
        """The cap may be passed by one tick."""
        scene = self._scene
        spent = None if Layer.SWEEP in scene.plan.layers_off else scene.spent_at(instance_id)
        if spent is None or instance_id in scene.out_of_reach:
            return
        late = scene.clockwork.seconds - spent
        if late > self._allowed(promises(scene.limits)[PRICED], spent) + scene.plan.list_lag:
            self.verdicts.over_cap.append(f"{instance_id} lived for {late:.0f} s after its run's money was spent")

    def _healthy(self, instance_id: str) -> bool:
        scene, box = self._scene, self._scene.boxes.get(instance_id)
        if instance_id in scene.asked or instance_id in self._failing:
            return False
        if scene.instance(instance_id).lane in scene.robbed:
            return False
        if box is None:
            return self._boots_in_time(instance_id) and not self.near_a_limit(instance_id)
        if not box.claimed or box.last_beat is None or box.life is AgentRun.GONE:
            return False
        now, limits = scene.clockwork.seconds, scene.limits
        # S3 tells when a beat came in whole seconds, so a lease can seem to be over that much too early.
        silent = now - scene.noise.excuse(box.last_beat) > limits.lease.total_seconds() - 1.0
        stalled = box.stalled_since is not None and now - box.stalled_since > limits.progress.total_seconds()
        return not (silent or stalled or self.near_a_limit(instance_id))

    def _was_not_asked(self, instance_id: str) -> bool:
        """Whether it ends for a limit that comes near alone, and its agent had no order to obey."""
        scene, box = self._scene, self._scene.boxes.get(instance_id)
        lane, since = scene.instance(instance_id).lane, scene.clockwork.seconds - _TO_ASK_SECONDS
        run = scene.run_in(lane) if lane else None
        if run is None or run.stop or box is None or box.claimed_at is None or box.claimed_at > since:
            return False
        if Layer.SWEEP in scene.plan.layers_off:
            return False  # nobody looks before the limit
        ill = instance_id in scene.asked | scene.on_hold or lane in scene.spoiled or scene.plan.list_lag
        failure = self._failing.get(instance_id)
        if ill or (failure is not None and failure.name not in (LATE, PRICED)):
            return False
        return box.alive and not box.cut_off and box.stalled_since is None and self.near_a_limit(instance_id)

    def _boots_in_time(self, instance_id: str) -> bool:
        """A fresh instance that the lock names, or may yet name, and whose agent has not had the time to come."""
        scene, box = self._scene, self._scene.instance(instance_id)
        run = scene.run_in(box.lane) if box.lane else None
        if run is None or run.verdict or (run.run_id, run.attempt) != (box.run_id, box.attempt):
            return False
        age = scene.clockwork.now() - box.launched_at
        return run.instance_id in (None, instance_id) and age < scene.limits.boot

    def near_a_limit(self, instance_id: str) -> bool:
        """Whether deadline or cap allow an end now."""
        scene, box = self._scene, self._scene.instance(instance_id)
        soon = scene.clockwork.now() + scene.limits.grace
        if box.deadline and soon >= box.deadline:
            return True
        run = scene.run_in(box.lane) if box.lane else None
        if run is None or run.max_cost_usd is None or run.price_per_hour_usd is None:
            return False
        hours = (soon - box.launched_at).total_seconds() / 3600
        return run.spent_usd + run.price_per_hour_usd * hours >= run.max_cost_usd

    # --- at its end --------------------------------------------------------------------------------------------

    def is_over(self, last_disturbance: float) -> bool:
        """Nothing of ours lives, everything planned has happened, and the watchdog has had its time after that."""
        scene = self._scene
        now = scene.clockwork.seconds
        if now < last_disturbance + 60 or self._somebody_lives():
            self._all_gone_since = None
            return False
        if self._all_gone_since is None:
            self._all_gone_since = now
        waited = now - self._all_gone_since
        left = any(scene.objects.holds(lane.state_key) for lane in scene.lanes) or self._schedules_left()
        quiet = _QUIET_TWICE if any(at.kind is Kind.FORGED_SEQ for at in scene.plan.disturbances) else _QUIET
        return (not left and waited > _SETTLED_SECONDS) or waited > self._allowed(quiet, self._all_gone_since)

    def _somebody_lives(self) -> bool:
        fleet, out_of_reach = self._scene.fleet, self._scene.out_of_reach
        return any(
            fleet.state(instance_id) is not InstanceState.TERMINATED
            and (instance_id not in out_of_reach or instance_id in self._failing or self._holds_its_lane(instance_id))
            for instance_id in fleet.ours
        )

    def _holds_its_lane(self, instance_id: str) -> bool:
        """Whether the agent of an instance that lost its tags works on: its beats keep the lock for it."""
        scene, box = self._scene, self._scene.boxes.get(instance_id)
        lane = scene.instance(instance_id).lane
        run = scene.run_in(lane) if lane and box and box.alive and box.stalled_since is None else None
        return run is not None and run.instance_id == instance_id and run.verdict is None

    def at_the_end(self) -> None:
        """Nothing lives, nothing is locked, everybody was told, and nobody paid more than the cap and one tick."""
        scene = self._scene
        for instance_id in scene.fleet.ours - (scene.out_of_reach - self._failing.keys()):
            if scene.lives(instance_id):
                self.verdicts.leaks.append(f"{instance_id} lives on at {scene.clockwork.seconds:.0f} s")
        for lane in scene.lanes:
            if scene.objects.holds(lane.state_key):
                self.verdicts.stuck.append(f"{lane} is locked at the end")
        self.verdicts.stuck += [f"the schedule of {instance_id} is left" for instance_id in self._schedules_left()]
        self.verdicts.stuck += [f"the upload of {key} is left" for key in self._uploads_left()]
        self.tidings.at_the_end()
        self.verdicts.lost, self.verdicts.duplicates = self.tidings.lost, self.tidings.duplicates

    def after_the_end(self, before: Traces) -> None:
        """Events came that are about what is over: they may have done nothing."""
        if self._scene.traces != before:
            self.verdicts.wrong.append("an event after the end did something")

    def _uploads_left(self) -> list[str]:
        """Unfinished uploads that were there when their run's receipt was written, which does not tell of them.

        What an instance begins that outlives its run is left to the rule of the bucket.
        """
        objects, left = self._scene.objects, []
        for upload, begun in objects.begun.items():
            receipt = run_key(ENVIRONMENT, upload.key.split("/")[1], RECEIPT)
            if objects.holds(receipt) and begun < objects.written_at(receipt):
                states = {
                    one["state"] for one in json.loads(objects.body(receipt))["resources"] if one["kind"] == UPLOAD
                }
                if not any(state.startswith("not ") for state in states):
                    left.append(upload.key)
        return left

    def _schedules_left(self) -> set[str]:
        """Instances that are gone, and whose schedule is not. Of one that lost its tags nobody can know."""
        scene = self._scene
        gone = {instance_id for instance_id in scene.deadlines.schedules if not scene.lives(instance_id)}
        return gone - scene.out_of_reach
