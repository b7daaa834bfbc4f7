"""EC2, S3 and SNS in virtual time: delays, stale lists, lost answers, and somebody who counts what is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from random import Random

from chronos_ec2.domain.errors import LostRace, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.testing import MemoryClock, MemoryDeadlines, MemoryFleet, MemoryObjects
from chronos_ec2.testing.faults import Crash
from verification.simulation.scenario import Layer, Scenario
from verification.simulation.virtual_time import ORIGIN, VirtualTime

_BEAT_SECONDS = 20.0
"""A beat and its second try."""


class Noise:
    """The fate of each call: depends on who makes it, and on the plan."""

    def __init__(self, plan: Scenario, random: Random, clockwork: VirtualTime) -> None:
        # Two fault points a call.
        self._errors = plan.call_errors / 2
        self._crashes = plan.function_crashes / 2
        self._outages = plan.outages
        self._pauses = plan.pauses
        self._paused = False
        self._clockwork = clockwork
        self._random = random
        self._quiet = not (self._errors or self._crashes or self._outages or self._pauses)
        self.in_function = False
        self.in_launch = False
        self.cut_off = False
        """Whether whoever calls now cannot reach AWS."""
        self.calls_to_crash: int | None = None
        """After so many fault points more, whoever calls is gone."""
        self.conditional = False
        """Whether the call is a write with a condition, whose retry may find that the condition does not hold."""
        self.failed_calls = 0
        """Calls of functions that failed, and functions that died."""
        self.failed_by_chance = 0
        """The same without what an outage did, but for one of EC2."""
        self.disturbed: list[float] = []
        """When there was a tick that was lost, or in which a call failed."""
        self.disturbed_by_chance: list[float] = []
        """The same without those that only an outage disturbed, but for one of EC2."""
        self.tick: float | None = None
        """When the tick came that is under way."""
        self.muted = False

    def disturbs(self, tick: float, by_chance: bool) -> None:
        """A tick may be of no use."""
        for ticks in (self.disturbed, self.disturbed_by_chance)[: 1 + by_chance]:
            if tick not in ticks:
                ticks.append(tick)

    @property
    def can_fail(self) -> bool:
        """Whether a call may fail, by chance or in an outage."""
        return bool(self._errors or self._outages) and not self.muted

    @property
    def out(self) -> bool:
        """Whether some service is out now: also a tick in which it was not called may wait for it."""
        now = self._clockwork.seconds
        return any(outage.after <= now < outage.after + outage.seconds for outage in self._outages)

    def excuse(self, last_beat: float) -> float:
        """Since when a box is silent by its own fault: it can do nothing about an outage of S3."""
        for outage in self._outages:
            began_well = outage.after - _BEAT_SECONDS < last_beat < outage.after + outage.seconds
            if outage.service == "s3" and not outage.refuses and began_well and self._clockwork.seconds > outage.after:
                # A beat that failed is tried again after some seconds.
                return min(self._clockwork.seconds, outage.after + outage.seconds + _BEAT_SECONDS)
        return last_beat

    def before(self, call: str) -> None:
        """The request may be lost, and its sender may die."""
        if self.cut_off:
            raise ServiceUnavailable(f"{call}: no route")
        if not self._quiet or self.calls_to_crash is not None:
            self._in_an_outage(call)
            self._maybe(call)

    def after(self, call: str) -> None:
        """The answer may be lost, and its receiver may die."""
        if self._quiet and self.calls_to_crash is None:
            return
        if self.conditional and self._errors and not self.muted and self._random.random() < self._errors / 4:
            # botocore has tried again after an answer that it did not get, and found its own write.
            self._count()
            raise LostRace(f"{call}: 412")
        self._maybe(call)
        if self._pauses and (self.in_function or self.in_launch) and not self.muted:
            self._may_pause()

    def _may_pause(self) -> None:
        """Whoever called is held up, and all others go on. Nobody is held up by somebody who is."""
        if self._paused or self._random.random() >= self._pauses:
            return
        seconds = self._random.uniform(0.1, 20.0)
        if self.in_launch and self._random.random() < 0.2:
            seconds = self._random.uniform(20.0, 2000.0)  # somebody closes a laptop
        self._count()
        if self.in_function and self.tick is not None:
            self.disturbs(self.tick, by_chance=True)
        mine = self.in_function, self.in_launch, self.conditional, self.calls_to_crash, self.tick
        self.in_function = self.in_launch = self.conditional = False
        self._paused, self.calls_to_crash, self.tick = True, None, None
        end = self._clockwork.seconds + seconds
        self._clockwork.run(lambda: False, end)
        self._clockwork.seconds = end
        self.in_function, self.in_launch, self.conditional, self.calls_to_crash, self.tick = mine
        self._paused = False

    def _in_an_outage(self, call: str) -> None:
        now = self._clockwork.seconds
        for outage in self._outages:
            if self.muted or not (call.startswith(outage.service) and outage.after <= now):
                continue
            if now < outage.after + outage.seconds and (self.in_function or not outage.refuses):
                self.failed_calls += self.in_function
                self.failed_by_chance += self.in_function and outage.service == "ec2"
                raise (NotAllowed if outage.refuses else ServiceUnavailable)(f"{call}: an outage")

    def _maybe(self, call: str) -> None:
        if self.calls_to_crash is not None:
            self.calls_to_crash -= 1
            if self.calls_to_crash <= 0:
                self.calls_to_crash = None
                raise Crash
        if self._quiet or self.muted:
            return
        if self._errors and self._random.random() < self._errors:
            self._count()
            raise ServiceUnavailable(f"{call}: 503 SlowDown")
        if self._crashes and self.in_function and self._random.random() < self._crashes:
            self._count()
            raise Crash

    def _count(self) -> None:
        self.failed_calls += self.in_function
        self.failed_by_chance += self.in_function


class SimulatedObjects(MemoryObjects):
    """A bucket that tells of writes of a lock, before and after them, and asks for a beat before it is read."""

    def __init__(self, clockwork: VirtualTime, noise: Noise) -> None:
        super().__init__(_Clock(clockwork), noise)
        self._noise = noise
        self.before_lock: Callable[[str], None] = lambda _key: None
        self.on_lock: Callable[[str], None] = lambda _key: None
        self.on_beat_wanted: Callable[[str], None] = lambda _key: None

    def read(self, key: str, limit: int = 64 * 1024):  # type: ignore[no-untyped-def]
        """As S3 does; beats that nobody has read in between need not have been written."""
        if key.endswith("heartbeat.json"):
            self.on_beat_wanted(key)
        return super().read(key, limit)

    def holds(self, key: str) -> bool:
        """Whether an object is there."""
        return key in self._objects

    def written_at(self, key: str) -> datetime:
        """When an object that is there was written."""
        return self._objects[key].written_at

    def etag_of(self, key: str) -> str | None:
        """The ETag of an object, if it is there."""
        found = self._objects.get(key)
        return None if found is None else found.etag

    def overwrite(self, key: str, body: bytes | None) -> None:
        """Somebody writes, or deletes, without a condition and without noise."""
        if body is not None:
            self._put(key, body)
        elif key in self._objects:
            self.before_lock(key)
            del self._objects[key]
            self.on_lock(key)

    def _put_if(self, key: str, body: bytes, etag: str | None) -> str:
        self._noise.conditional = True
        try:
            return super()._put_if(key, body, etag)
        finally:
            self._noise.conditional = False

    def _put(self, key: str, body: bytes) -> str:
        if not key.endswith("system-state.json"):
            return super()._put(key, body)
        self.before_lock(key)
        etag = super()._put(key, body)
        self.on_lock(key)
        return etag


class _Clock(MemoryClock):
    def __init__(self, clockwork: VirtualTime) -> None:
        super().__init__()
        self.now = clockwork.now  # type: ignore[method-assign]


class SimulatedFleet(MemoryFleet):
    """EC2 with delays. `on_change` hears of every change of state, `on_terminate` of every call of the watchdog."""

    def __init__(self, clockwork: VirtualTime, noise: Noise, plan: Scenario, random: Random) -> None:
        super().__init__(_Clock(clockwork), noise)
        self._clockwork = clockwork
        self._plan = plan
        self._random = random
        self._seen_from: dict[str, list[tuple[float, Instance]]] = {}
        self.ours: set[str] = set()
        self.on_change: Callable[[str, InstanceState], None] = lambda _id, _state: None
        self.on_terminate: Callable[[str], None] = lambda _id: None
        self.on_schedule: Callable[[str], None] = lambda _id: None

    def add(self, tags: dict[str, str], instance_type: str = "g4dn.2xlarge") -> str:
        """Start an instance: pending for a while, then running. With our owner tags it is one of `ours`."""
        instance_id = super().add(tags, instance_type)
        if "ManagedBy" in tags:
            self.ours.add(instance_id)
        self.move(instance_id, InstanceState.PENDING)

        def running() -> None:
            if self.state(instance_id) is InstanceState.PENDING:
                self.move(instance_id, InstanceState.RUNNING)

        self._clockwork.after(self._random.uniform(5, 20), running)
        return instance_id

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """As EC2 does: shutting down for a while, with force for less."""
        self.faults.before("ec2:TerminateInstances")
        self.terminate_calls.append(instance_id)
        self.on_terminate(instance_id)
        plan = self._plan
        self.shut_down(instance_id, min(plan.shutting_down, plan.by_force) if force else plan.shutting_down)
        self.faults.after("ec2:TerminateInstances")

    def shut_down(self, instance_id: str, seconds: float) -> None:
        """Begin the end of an instance, or hasten it."""
        state = self.state(instance_id)
        if state is InstanceState.TERMINATED:
            return
        if state is not InstanceState.SHUTTING_DOWN:
            self.move(instance_id, InstanceState.SHUTTING_DOWN)

        def gone() -> None:
            if self.state(instance_id) is not InstanceState.TERMINATED:
                self.move(instance_id, InstanceState.TERMINATED)

        self._clockwork.after(seconds, gone)

    def state(self, instance_id: str) -> InstanceState:
        """The true state, whatever the list says."""
        return self._boxes[instance_id].instance.state

    def move(self, instance_id: str, state: InstanceState) -> None:
        """Bring an instance into another state and tell of it."""
        super().move(instance_id, state)
        # A stale list shows what was true a while ago.
        self._seen_from.setdefault(instance_id, []).append(
            (self._clockwork.seconds + self._plan.list_lag, self._boxes[instance_id].instance)
        )
        self.on_change(instance_id, state)

    def truth(self, instance_id: str) -> Instance:
        """An instance as it is, whatever the list says."""
        return self._boxes[instance_id].instance

    def everything(self) -> list[Instance]:
        """Every instance that ever was."""
        return [box.instance for box in self._boxes.values()]

    def hold(self, instance_id: str) -> None:
        """Somebody tags an instance Hold=true."""
        box = self._boxes[instance_id]
        box.instance = replace(box.instance, hold=True)

    def _ours(self, environment: str) -> tuple[Instance, ...]:
        found = super()._ours(environment)
        if not self._plan.list_lag:
            return found
        seen = (self._as_seen(instance) for instance in found)
        return tuple(instance for instance in seen if instance)

    def _as_seen(self, instance: Instance) -> Instance | None:
        now = self._clockwork.seconds
        known = [state for since, state in self._seen_from[instance.instance_id] if since <= now]
        return replace(known[-1], launched_at=instance.launched_at, hold=instance.hold) if known else None


class SimulatedDeadlines(MemoryDeadlines):
    """EventBridge Scheduler: what is armed fires within two minutes of its time, unless that layer is off."""

    def __init__(self, clockwork: VirtualTime, noise: Noise, plan: Scenario, fleet: SimulatedFleet) -> None:
        super().__init__(_Clock(clockwork), noise)
        self._clockwork = clockwork
        self._plan = plan
        self._fleet = fleet
        self._random = Random(plan.seed ^ 0xDEAD)

    def schedule(self, instance_id: str, at: datetime) -> None:
        """Keep a schedule, unless there is one, and let it fire."""
        new = instance_id not in self.schedules
        try:
            super().schedule(instance_id, at)
        finally:
            # Also if the answer was lost.
            if new and instance_id in self.schedules and Layer.DEADLINE not in self._plan.layers_off:
                due = (at - ORIGIN).total_seconds() + self._random.uniform(0, 120)
                self._clockwork.at(due, lambda: self._fire(instance_id))

    def _fire(self, instance_id: str) -> None:
        if self.schedules.pop(instance_id, None):
            self._fleet.on_schedule(instance_id)
            self._fleet.shut_down(instance_id, self._plan.shutting_down)
