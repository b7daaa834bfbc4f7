"""EC2 in memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from chronos_ec2.domain.errors import CapacityUnavailable, TerminationProtected
from chronos_ec2.domain.instance import (
    Instance,
    InstanceLookup,
    InstanceState,
    NewInstance,
    StateReason,
    client_token,
    owner_tags,
    read_tags,
    run_tags,
)
from chronos_ec2.domain.records.capacity import LaunchOption
from chronos_ec2.domain.records.run import Run
from chronos_ec2.ports import Clock, Resource
from chronos_ec2.testing.faults import Faults, Interceptor


@dataclass(slots=True)
class _Listed:
    instance: Instance
    owned_in: str | None
    """The environment whose owner tags it carries, if all of them."""
    lane_tag: str | None


@dataclass
class MemoryFleet:
    """EC2. An instance runs at once; `terminate` ends it at once, unless `slow_to_terminate`, when only force does."""

    clock: Clock
    faults: Interceptor = field(default_factory=Faults)
    project: str = "Chronos-Training"
    cost_center: str = "train"
    slow_to_terminate: bool = False
    no_capacity: set[str] = field(default_factory=set)
    """Subnets, instance types or markets for which there is no capacity."""
    lists_nothing: bool = False
    """Whether `instances` is empty whatever runs, as when EC2's list lags."""
    protected: set[str] = field(default_factory=set)
    """Instances with termination protection."""
    terminate_calls: list[str] = field(default_factory=list)
    user_data: dict[str, str] = field(default_factory=dict)
    left: dict[Resource, str | None] = field(default_factory=dict)
    """Volumes and interfaces that outlived their instance, and the run that owned each."""
    _instances: dict[str, _Listed] = field(default_factory=dict)
    _by_token: dict[str, str] = field(default_factory=dict)

    def instances(self, environment: str, lane: str | None = None) -> tuple[Instance, ...]:
        """Every instance with all our owner tags in this environment, with a lane those whose tag names it."""
        self.faults.before("fleet.instances", lane or "")
        found = self._ours(environment)
        self.faults.after("fleet.instances", lane or "")
        if self.lists_nothing:
            return ()
        return tuple(one for one in found if lane is None or self._instances[one.instance_id].lane_tag == lane)

    def _ours(self, environment: str) -> tuple[Instance, ...]:
        return tuple([one.instance for one in self._instances.values() if one.owned_in == environment])

    def find(self, environment: str, instance_id: str) -> Instance | None:
        """One instance, if it carries our owner tags for this environment."""
        return next((found for found in self.instances(environment) if found.instance_id == instance_id), None)

    def look_up(self, environment: str, instance_ids: Collection[str]) -> tuple[InstanceLookup, ...]:
        """Those of these instances that exist, whatever tags they carry."""
        if not instance_ids:
            return ()
        self.faults.before("fleet.look_up", "")
        found = tuple(
            InstanceLookup(one.instance.instance_id, one.instance.state, one.owned_in == environment)
            for one in self._instances.values()
            if one.instance.instance_id in instance_ids
        )
        self.faults.after("fleet.look_up", "")
        return found

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> NewInstance:
        """Start one instance for this attempt; repeating the call never starts a second, and names the first."""
        self.faults.before("fleet.launch", run.run_id)
        token = client_token(run, option.instance_type, option.subnet_id, option.market)
        if token not in self._by_token:
            if self._lacks(option):
                problem = f"no {option.instance_type} in {option.subnet_id}"
                raise CapacityUnavailable(problem, code="InsufficientInstanceCapacity", words=problem)
            instance_id = self.add(run_tags(run, self.project, self.cost_center), option.instance_type)
            self._by_token[token] = instance_id
            self.user_data[instance_id] = user_data
        self.faults.after("fleet.launch", run.run_id)
        instance_id = self._by_token[token]
        return NewInstance(instance_id, self._instances[instance_id].instance.launched_at)

    def _lacks(self, option: LaunchOption) -> bool:
        return bool(self.no_capacity & {option.instance_type, option.subnet_id, option.market})

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask EC2 to end one instance."""
        self.faults.before("fleet.terminate", instance_id)
        self.terminate_calls.append(instance_id)
        self.refuse_protected(instance_id)
        if instance_id in self._instances:
            self.explain(instance_id, StateReason("Client.UserInitiatedShutdown", "User initiated shutdown"))
            slow = self.slow_to_terminate and not force
            self.name_end(instance_id)
            self.move(instance_id, InstanceState.SHUTTING_DOWN if slow else InstanceState.TERMINATED)
        self.faults.after("fleet.terminate", instance_id)

    def refuse_protected(self, instance_id: str) -> None:
        """Raise TerminationProtected for an instance that is."""
        if instance_id in self.protected:
            raise TerminationProtected(f"{instance_id} may not be terminated")

    def lift_protection(self, instance_id: str) -> None:
        """Let one instance be terminated."""
        self.faults.before("fleet.lift_protection", instance_id)
        self.protected.discard(instance_id)
        self.faults.after("fleet.lift_protection", instance_id)

    def hold(self, instance_id: str, until: datetime | None = None) -> None:
        """Keep one instance until a time, or until its deadline; an earlier hold is replaced."""
        self.faults.before("fleet.hold", instance_id)
        self.set_hold(instance_id, hold=True, until=until)
        self.faults.after("fleet.hold", instance_id)

    def release(self, instance_id: str) -> None:
        """Take the hold off one instance."""
        self.faults.before("fleet.release", instance_id)
        self.set_hold(instance_id, hold=False)
        self.faults.after("fleet.release", instance_id)

    def leftovers(self, environment: str, run_id: str | None = None) -> tuple[Resource, ...]:
        """The volume of each living instance, and what a test put in `left`."""
        self.faults.before("fleet.leftovers", run_id or "")
        volumes = [
            Resource("volume", f"vol-{found.instance_id[2:]}", "in-use")
            for found in self._ours(environment)
            if found.alive and run_id in (None, found.run_id)
        ]
        return (*volumes, *(left for left, owner in self.left.items() if run_id in (None, owner)))

    def delete(self, resource: Resource) -> None:
        """Delete a leftover that nothing uses any more."""
        self.faults.before("fleet.delete", resource.resource_id)
        self.left.pop(resource, None)
        self.faults.after("fleet.delete", resource.resource_id)

    # What a test does to EC2.

    def add(self, tags: dict[str, str], instance_type: str = "g4dn.2xlarge") -> str:
        """Start an instance with these tags and return its id."""
        instance_id = f"i-{len(self._instances) + 1:017x}"
        lane, run_id, attempt, deadline, hold, hold_until = read_tags(tags)
        instance = Instance(
            instance_id, InstanceState.RUNNING, self.clock.now(), instance_type, lane, run_id, attempt, deadline, hold,
            hold_until=hold_until,
        )  # fmt: skip
        environment = tags.get("Environment", "")
        ours = owner_tags(self.project, environment).items() <= tags.items()
        self._instances[instance_id] = _Listed(instance, environment if ours else None, tags.get("Lane"))
        return instance_id

    def move(self, instance_id: str, state: InstanceState) -> None:
        """Bring an instance into another state."""
        found = self._instances[instance_id]
        found.instance = replace(found.instance, state=state)

    def explain(self, instance_id: str, reason: StateReason) -> None:
        """Keep EC2's reason for the end of an instance; the first one counts."""
        found = self._instances[instance_id]
        if found.instance.state_reason is None:
            found.instance = replace(found.instance, state_reason=reason, reclaimed=reason.reclaimed)

    def name_end(self, instance_id: str) -> None:
        """Keep now as the end of an instance, as EC2 does when a call ends it; the first call counts."""
        found = self._instances[instance_id]
        if found.instance.ended_at is None:
            found.instance = replace(found.instance, ended_at=self.clock.now())

    def set_hold(self, instance_id: str, *, hold: bool, until: datetime | None = None) -> None:
        """Tag an instance as held, or take the tag off."""
        found = self._instances[instance_id]
        found.instance = replace(found.instance, hold=hold, hold_until=until)

    def untag(self, instance_id: str) -> None:
        """Take our owner tags off an instance."""
        self._instances[instance_id].owned_in = None

    def forget(self, instance_id: str) -> None:
        """Take an instance out of EC2's list, as EC2 does about an hour after its end."""
        del self._instances[instance_id]
