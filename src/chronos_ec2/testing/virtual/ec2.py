"""EC2 and its deadline schedules in virtual time: instances take their time, lists are stale, schedules fire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random

from chronos_ec2.domain.errors import CapacityUnavailable
from chronos_ec2.domain.instance import Instance, InstanceState, NewInstance
from chronos_ec2.domain.records.capacity import LaunchOption
from chronos_ec2.domain.records.run import Run
from chronos_ec2.testing.clock import ORIGIN, VirtualTime
from chronos_ec2.testing.deadlines import MemoryDeadlines
from chronos_ec2.testing.faults import Interceptor
from chronos_ec2.testing.fleet import MemoryFleet


@dataclass(frozen=True, slots=True)
class Delays:
    """How many seconds EC2 takes."""

    shutting_down: float = 30.0
    by_force: float = 30.0
    """The same when terminated by force."""
    list_lag: float = 0.0
    """Until a change shows in its list."""


@dataclass(frozen=True, slots=True)
class Drought:
    """No capacity for a while: everywhere, or where `place`, an instance type, a subnet or a market, is asked for."""

    after: float
    seconds: float
    place: str = ""


@dataclass(slots=True)
class Billed:
    """What EC2 wrote down of one instance: the tags of its launch, and the seconds between which it costs."""

    instance_id: str
    instance_type: str
    tags: dict[str, str]
    launched: float
    ended: float | None = None
    """When it began to shut down: from then on EC2 bills nothing."""
    gone: float | None = None
    """When it was terminated."""

    @property
    def run_id(self) -> str:
        """The run that it was launched for, empty without one."""
        return self.tags.get("RunId", "")

    @property
    def attempt(self) -> int:
        """The attempt that it was launched for."""
        return int(self.tags.get("Attempt", "0"))


class VirtualFleet(MemoryFleet):
    """EC2 with delays. `on_change` is called for every change of state, `on_terminate` for every TerminateInstances.

    `bill` is EC2's own account of every instance, which no code of ours wrote.
    """

    def __init__(self, time: VirtualTime, faults: Interceptor, delays: Delays, random: Random) -> None:
        super().__init__(time, faults)
        self._time = time
        self.delays = delays
        self._random = random
        self._seen_from: dict[str, list[tuple[float, Instance]]] = {}
        self.ours: set[str] = set()
        self.droughts: tuple[Drought, ...] = ()
        self.bill: dict[str, Billed] = {}
        self.on_change: Callable[[str, InstanceState], None] = lambda _id, _state: None
        self.on_terminate: Callable[[str], None] = lambda _id: None
        self.on_refusal: Callable[[str, int], None] = lambda _run_id, _attempt: None
        self.on_schedule: Callable[[str], None] = lambda _id: None

    def add(self, tags: dict[str, str], instance_type: str = "g4dn.2xlarge") -> str:
        """Start an instance: pending for a while, then running. With our owner tags it is one of `ours`."""
        instance_id = super().add(tags, instance_type)
        self.bill[instance_id] = Billed(instance_id, instance_type, dict(tags), self._time.seconds)
        if "ManagedBy" in tags:
            self.ours.add(instance_id)
        self.move(instance_id, InstanceState.PENDING)

        def running() -> None:
            if self.state(instance_id) is InstanceState.PENDING:
                self.move(instance_id, InstanceState.RUNNING)

        self._time.after(self._random.uniform(5, 20), running)
        return instance_id

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """As EC2 does: shutting down for a while, with force for less."""
        self.faults.before("fleet.terminate", instance_id)
        self.terminate_calls.append(instance_id)
        self.refuse_protected(instance_id)
        self.on_terminate(instance_id)
        delays = self.delays
        self.end_by_call(instance_id, min(delays.shutting_down, delays.by_force) if force else delays.shutting_down)
        self.faults.after("fleet.terminate", instance_id)

    def end_by_call(self, instance_id: str, seconds: float) -> None:
        """Shut an instance down as a call does: EC2 names the time."""
        if self.state(instance_id) not in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED):
            self.name_end(instance_id)
        self.shut_down(instance_id, seconds)

    def shut_down(self, instance_id: str, seconds: float) -> None:
        """Shut an instance down within so many seconds, or earlier if that is under way."""
        state = self.state(instance_id)
        if state is InstanceState.TERMINATED:
            return
        if state is not InstanceState.SHUTTING_DOWN:
            self.move(instance_id, InstanceState.SHUTTING_DOWN)

        def gone() -> None:
            if self.state(instance_id) is not InstanceState.TERMINATED:
                self.move(instance_id, InstanceState.TERMINATED)

        self._time.after(seconds, gone)

    def state(self, instance_id: str) -> InstanceState:
        """The true state, whatever the list says."""
        return self.truth(instance_id).state

    def move(self, instance_id: str, state: InstanceState) -> None:
        """Bring an instance into another state and report it."""
        super().move(instance_id, state)
        billed, now = self.bill[instance_id], self._time.seconds
        if state in (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED) and billed.ended is None:
            billed.ended = now
        if state is InstanceState.TERMINATED:
            billed.gone = now
        # A stale list shows an earlier state.
        self._seen_from.setdefault(instance_id, []).append(
            (self._time.seconds + self.delays.list_lag, self._instances[instance_id].instance)
        )
        self.on_change(instance_id, state)

    def truth(self, instance_id: str) -> Instance:
        """An instance as it is, whatever the list says."""
        return self._instances[instance_id].instance

    def everything(self) -> list[Instance]:
        """Every instance that ever was."""
        return [found.instance for found in self._instances.values()]

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> NewInstance:
        """As EC2 does; `on_refusal` is called with the run and the attempt for which it has no capacity."""
        try:
            return super().launch(run, option, user_data)
        except CapacityUnavailable:
            self.on_refusal(run.run_id, run.attempt)
            raise

    def reclaim(self, instance_id: str) -> None:
        """EC2 says that it reclaims a spot instance."""
        found = self._instances[instance_id]
        found.instance = replace(found.instance, reclaimed=True)

    def _lacks(self, option: LaunchOption) -> bool:
        now, asked = self._time.seconds, ("", option.instance_type, option.subnet_id, option.market)
        dry = any(one.after <= now < one.after + one.seconds and one.place in asked for one in self.droughts)
        return dry or super()._lacks(option)

    def _ours(self, environment: str) -> tuple[Instance, ...]:
        found = super()._ours(environment)
        if not self.delays.list_lag:
            return found
        seen = (self._as_seen(instance) for instance in found)
        return tuple(instance for instance in seen if instance)

    def _as_seen(self, instance: Instance) -> Instance | None:
        now = self._time.seconds
        known = [state for since, state in self._seen_from[instance.instance_id] if since <= now]
        if not known:
            return None
        # Tags do not lag.
        return replace(known[-1], launched_at=instance.launched_at, hold=instance.hold, hold_until=instance.hold_until)


class VirtualDeadlines(MemoryDeadlines):
    """EventBridge Scheduler: a schedule fires within two minutes after its time, unless the layer is `off`."""

    def __init__(self, time: VirtualTime, faults: Interceptor, fleet: VirtualFleet, random: Random) -> None:
        super().__init__(time, faults)
        self._time = time
        self._fleet = fleet
        self._random = random
        self.off = False

    def schedule(self, instance_id: str, at: datetime) -> None:
        """Keep a schedule, unless there is one, and let it fire."""
        new = instance_id not in self.schedules
        try:
            super().schedule(instance_id, at)
        finally:
            # Also if the answer was lost.
            if new and instance_id in self.schedules and not self.off:
                due = (at - ORIGIN).total_seconds() + self._random.uniform(0, 120)
                self._time.at(due, lambda: self._fire(instance_id))

    def _fire(self, instance_id: str) -> None:
        if self.schedules.pop(instance_id, None):
            self._fleet.on_schedule(instance_id)
            self._fleet.end_by_call(instance_id, self._fleet.delays.shutting_down)
