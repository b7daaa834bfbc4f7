"""Time, and what starts and ends instances."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chronos_ec2.domain.instance import Instance, InstanceLookup, NewInstance
from chronos_ec2.domain.records.capacity import LaunchOption
from chronos_ec2.domain.records.run import Run


class Clock(Protocol):
    """AWS time. No decision depends on the clock of a laptop or a training instance."""

    def now(self) -> datetime:
        """The time, aware UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Resource:
    """A leftover of a run that may cost money, with its state in EC2."""

    kind: str
    resource_id: str
    state: str

    @property
    def unused(self) -> bool:
        """Whether nothing is attached to it, so nothing else will delete it."""
        return self.state == "available"


class Fleet(Protocol):
    """EC2, limited to what carries our tags, except for `look_up`."""

    def instances(self, environment: str, lane: str | None = None) -> tuple[Instance, ...]:
        """Every instance with all our owner tags in this environment, including those terminated recently.

        `lane` limits them to those with its tag. Not for the main lane, which also has the instances without the tag.

        Raises:
            ServiceUnavailable: the list is incomplete; conclude nothing.
        """
        ...

    def find(self, environment: str, instance_id: str) -> Instance | None:
        """One instance, if it carries our owner tags for this environment."""
        ...

    def look_up(self, environment: str, instance_ids: Collection[str]) -> tuple[InstanceLookup, ...]:
        """Those of these instances that EC2 knows, whatever their tags. Without ids, EC2 is not asked.

        Raises:
            ServiceUnavailable: the answer is incomplete; conclude nothing.
        """
        ...

    def launch(self, run: Run, option: LaunchOption, user_data: str) -> NewInstance:
        """Start one instance for this attempt. Repeating the call never starts a second, and names the first.

        Raises:
            CapacityUnavailable: not available with this option now; another may work.
            LaunchRefused: EC2 refuses.
            ServiceUnavailable: no answer; an instance may exist.
        """
        ...

    def terminate(self, instance_id: str, *, force: bool = False) -> None:
        """Ask EC2 to terminate one instance; `force` skips its shutdown. Asking again is no error.

        Raises:
            TerminationProtected: its protection has to be lifted first.
        """
        ...

    def lift_protection(self, instance_id: str) -> None:
        """Let one instance be terminated although it was protected. A missing one is no error."""
        ...

    def hold(self, instance_id: str, until: datetime | None = None) -> None:
        """Keep one instance until a time, or until its deadline, with the tag `Hold`; an earlier hold is replaced."""
        ...

    def release(self, instance_id: str) -> None:
        """Take the tag `Hold` off one instance. Without it, nothing changes."""
        ...

    def leftovers(self, environment: str, run_id: str | None = None) -> tuple[Resource, ...]:
        """Volumes, network interfaces and spot requests with our tags that may cost money."""
        ...

    def delete(self, resource: Resource) -> None:
        """Delete an unused leftover. A missing one is no error."""
        ...


class Deadlines(Protocol):
    """EventBridge Scheduler: a one-time schedule per instance that terminates it without our code.

    Every method raises ServiceUnavailable and NotAllowed.
    """

    def schedule(self, instance_id: str, at: datetime) -> None:
        """Schedule the termination of an instance within two minutes after `at`. An existing schedule is kept."""
        ...

    def scheduled(self) -> Mapping[str, datetime]:
        """The ids of the instances that have a schedule, and when each was created, aware UTC."""
        ...

    def cancel(self, instance_id: str) -> None:
        """Delete the schedule of an instance. A missing one is no error."""
        ...


class Relauncher(Protocol):
    """Starts instances and runs for the watchdog, which may not start them itself."""

    def relaunch(self, run: Run) -> None:
        """Ask for the instance of a run's current attempt. Raises ServiceUnavailable."""
        ...

    def follow(self, run: Run, schedule: str) -> None:
        """Ask for what a schedule does after a run; its register says when that was done. Raises ServiceUnavailable."""
        ...

    def advance(self, run: Run, group: str) -> None:
        """Ask a group to go on after one of its members; the same register says so. Raises ServiceUnavailable."""
        ...
