"""The deadlines and the timetable of EventBridge Scheduler in memory."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.ports import Clock
from chronos_ec2.testing.faults import Faults, Interceptor


class MemoryDeadlines:
    """Schedules that are kept; whoever holds the clock makes them fire."""

    def __init__(self, clock: Clock, faults: Interceptor | None = None) -> None:
        self._clock = clock
        self._faults = faults or Faults()
        self._made: dict[str, datetime] = {}
        self.schedules: dict[str, datetime] = {}
        """When each fires, by instance id."""

    def schedule(self, instance_id: str, at: datetime) -> None:
        """Keep a schedule, unless there is one."""
        self._faults.before("deadlines.schedule", instance_id)
        if instance_id not in self.schedules:
            self.schedules[instance_id], self._made[instance_id] = at, self._clock.now()
        self._faults.after("deadlines.schedule", instance_id)

    def scheduled(self) -> dict[str, datetime]:
        """The ids of all instances that have a schedule, and when each was made."""
        self._faults.before("deadlines.scheduled", "")
        scheduled = {instance_id: self._made[instance_id] for instance_id in self.schedules}
        self._faults.after("deadlines.scheduled", "")
        return scheduled

    def cancel(self, instance_id: str) -> None:
        """Forget a schedule."""
        self._faults.before("deadlines.cancel", instance_id)
        self.schedules.pop(instance_id, None)
        self._faults.after("deadlines.cancel", instance_id)


class MemorySweep:
    """Whether the sweep is switched on; whoever holds the clock sweeps."""

    def __init__(self, faults: Interceptor | None = None) -> None:
        self._faults = faults or Faults()
        self.on = True
        self.switched: list[bool] = []
        """Each state that it was given."""

    def switch(self, *, on: bool) -> None:
        """Switch it on or off."""
        self._faults.before("sweep.switch", str(on))
        self.on = on
        self.switched.append(on)
        self._faults.after("sweep.switch", str(on))


class MemoryTimetable:
    """Times that are kept; whoever holds the clock makes them come."""

    def __init__(self, faults: Interceptor | None = None) -> None:
        self._faults = faults or Faults()
        self.times: dict[str, tuple[str, bool]] = {}
        """The expression by name, and whether it is switched on."""

    def put(self, name: str, expression: str, *, enabled: bool = True) -> None:
        """Keep the times of a schedule."""
        self._faults.before("timetable.put", name)
        self.times[name] = (expression, enabled)
        self._faults.after("timetable.put", name)

    def remove(self, name: str) -> None:
        """Forget the times of a schedule."""
        self._faults.before("timetable.remove", name)
        self.times.pop(name, None)
        self._faults.after("timetable.remove", name)

    def listed(self) -> dict[str, bool]:
        """By name, whether they are switched on."""
        self._faults.before("timetable.listed", "")
        return {name: enabled for name, (_, enabled) in self.times.items()}
