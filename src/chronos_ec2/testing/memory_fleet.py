"""EC2 and its deadline schedules in memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from chronos_ec2.domain.errors import CapacityUnavailable
from chronos_ec2.domain.instance import Instance, InstanceLookup, InstanceState, owner_tags, read_tags, run_tags
from chronos_ec2.domain.records.run import Run, client_token
from chronos_ec2.ports import Clock, LaunchOption, Resource
from chronos_ec2.testing.faults import Faults, NoFaults


@dataclass(slots=True)
class _Box:
    instance: Instance
    owned_in: str | None
    """The environment of which it carries all our owner tags."""


@dataclass
class MemoryFleet:
    """EC2. An instance is running at once; `terminate` ends it at once, unless `slow_to_terminate`, when it takes force."""

    clock: Clock
    faults: Faults = field(default_factory=NoFaults)
    project: str = "Chronos-Training"
    cost_center: str = "train"
    slow_to_terminate: bool = False
    no_capacity: set[str] = field(default_factory=set)
    """Subnets or instance types for which there is no capacity."""
    terminate_calls: list[str] = field(default_factory=list)
    user_data: dict[str, str] = field(default_factory=dict)
    left: dict[Resource, str | None] = field(default_factory=dict)
    """Volumes and interfaces that outlived their instance, and the run that owned each."""
    _boxes: dict[str, _Box] = field(default_factory=dict)
    _by_token: dict[str, str] = field(default_factory=dict)

    def instances(self, environment: str, lane: str | None = None) -> tuple[Instance, ...]:
        """Every instance with all our owner tags in this environment, with a lane those whose tag names it."""
        self.faults.before("ec2:DescribeInstances")
        found = self._ours(environment)
        self.faults.after("ec2:DescribeInstances")
        return tuple(box for box in found if lane is None or (box.lane and box.lane.name == lane))

    def _ours(self, environment: str) -> tuple[Instance, ...]:
        return tuple([box.instance for box in self._boxes.values() if box.owned_in == environment])

    def find(self, environment: str, instance_id: str) -> Instance | None:
        """One instance, if it carries our owner tags for this environment."""
        return next((found for found in self.instances(environment) if found.instance_id == instance_id), None)

    def look_up(self, environment: str, instance_ids: Collection[str]) -> tuple[InstanceLookup, ...]:
        """Those of these instances that are there, whatever tags they carry."""
        if not instance_ids:
            return ()
        self.faults.before("ec2:DescribeInstances")
        found = tuple(
            InstanceLookup(box.instance.instance_id, box.instance.state, box.owned_in == environment)
            for box in self._boxes.values()
            if box.instance.instance_id in instance_ids
        )
        self.faults.after("ec2:DescribeInstances")
        return found

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> str:
        """Start one instance for this attempt and return its id; repeating the call never starts a second."""
        self.faults.before("ec2:RunInstances")
        token = client_token(run, option.instance_type, option.subnet_id, option.market)
        if token not in self._by_token:
            if self.no_capacity & {option.instance_type, option.subnet_id}:
                raise CapacityUnavailable(f"no {option.instance_type} in {option.subnet_id}")
            instance_id = self.add(run_tags(run, self.project, self.cost_center), option.instance_type)
            self._by_token[token] = instance_id
            self.user_data[instance_id] = user_data
        self.faults.after("ec2:RunInstances")
        return self._by_token[token]

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask EC2 to end one instance."""
        self.faults.before("ec2:TerminateInstances")
        self.terminate_calls.append(instance_id)
        if instance_id in self._boxes:
            slow = self.slow_to_terminate and not force
            self.move(instance_id, InstanceState.SHUTTING_DOWN if slow else InstanceState.TERMINATED)
        self.faults.after("ec2:TerminateInstances")

    def leftovers(self, environment: str, run_id: str | None = None) -> tuple[Resource, ...]:
        """The volume of each living instance, and what a test left behind; a terminated instance takes its volume."""
        self.faults.before("ec2:DescribeVolumes")
        volumes = [
            Resource("volume", f"vol-{found.instance_id[2:]}", "in-use")
            for found in self._ours(environment)
            if found.alive and run_id in (None, found.run_id)
        ]
        return (*volumes, *(left for left, owner in self.left.items() if run_id in (None, owner)))

    def delete(self, resource: Resource) -> None:
        """Delete a leftover that nothing uses any more."""
        self.faults.before("ec2:DeleteVolume")
        self.left.pop(resource, None)
        self.faults.after("ec2:DeleteVolume")

    # What a test does to EC2 from outside.

    def add(self, tags: dict[str, str], instance_type: str = "g4dn.2xlarge") -> str:
        """Start an instance with these tags and return its id."""
        instance_id = f"i-{len(self._boxes) + 1:017x}"
        lane, run_id, attempt, deadline, hold = read_tags(tags)
        instance = Instance(
            instance_id, InstanceState.RUNNING, self.clock.now(), instance_type, lane, run_id, attempt, deadline, hold
        )
        environment = tags.get("Environment", "")
        ours = owner_tags(self.project, environment).items() <= tags.items()
        self._boxes[instance_id] = _Box(instance, environment if ours else None)
        return instance_id

    def move(self, instance_id: str, state: InstanceState) -> None:
        """Bring an instance into another state."""
        box = self._boxes[instance_id]
        box.instance = replace(box.instance, state=state)

    def untag(self, instance_id: str) -> None:
        """Take our owner tags off an instance."""
        self._boxes[instance_id].owned_in = None

    def forget(self, instance_id: str) -> None:
        """Take an instance out of EC2's list, as happens about an hour after its end."""
        del self._boxes[instance_id]


class MemoryDeadlines:
    """Schedules that are kept, and fire when whoever holds the clock makes them."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock = clock
        self._faults = faults
        self._made: dict[str, datetime] = {}
        self.schedules: dict[str, datetime] = {}
        """When each fires, by instance id."""

    def schedule(self, instance_id: str, at: datetime) -> None:
        """Keep a schedule, unless there is one."""
        self._faults.before("scheduler:CreateSchedule")
        if instance_id not in self.schedules:
            self.schedules[instance_id], self._made[instance_id] = at, self._clock.now()
        self._faults.after("scheduler:CreateSchedule")

    def scheduled(self) -> dict[str, datetime]:
        """The ids of all instances that have a schedule, and when each was made."""
        self._faults.before("scheduler:ListSchedules")
        armed = {instance_id: self._made[instance_id] for instance_id in self.schedules}
        self._faults.after("scheduler:ListSchedules")
        return armed

    def cancel(self, instance_id: str) -> None:
        """Forget a schedule."""
        self._faults.before("scheduler:DeleteSchedule")
        self.schedules.pop(instance_id, None)
        self._faults.after("scheduler:DeleteSchedule")
