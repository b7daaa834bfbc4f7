"""Every threshold of the protocol in one frozen value, and the promises that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from chronos_ec2.domain.errors import InvalidInput

MAX_NOTIFICATION_DELAY = timedelta(hours=2)
"""So long after its verdict a run may hold its lane because SNS refuses the message of its end.

An SNS that does not answer is waited for: that passes, and then the message goes out.

Not a field of Limits: these travel in requests, and an older launcher would not know it.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of lease and watchdog. Each can be overridden in seconds by its name (`LimitOverrides`)."""

    heartbeat: timedelta = timedelta(seconds=15)
    heartbeat_retry: timedelta = timedelta(seconds=5)
    """A failed beat is tried again after this; waiting a whole period killed healthy runs in simulation."""
    lease: timedelta = timedelta(seconds=135)
    """A beat older than this, at two looks, means that the agent is dead: nine missed beats."""
    progress: timedelta = timedelta(seconds=900)
    """No sign of work for this long, the box alive, means that the work hangs."""
    boot: timedelta = timedelta(seconds=900)
    """From launch to claim."""
    sweep: timedelta = timedelta(seconds=60)
    grace: timedelta = timedelta(seconds=120)
    """For an agent to leave by itself, and for a fresh instance to be named by a lock."""
    confirmation: timedelta = timedelta(seconds=30)
    """Between the two looks that an ambiguous case needs."""
    absence: timedelta = timedelta(seconds=60)
    """Between the two looks that say an instance is gone: EC2 lists lag behind."""
    self_fence: timedelta = timedelta(seconds=600)
    """An agent without a successful beat for this long powers off; longer than any S3 outage we want to survive."""
    force: timedelta = timedelta(seconds=600)
    """An instance that takes this long to shut down is ended by force."""
    alarm: timedelta = timedelta(seconds=720)
    """An instance that shuts down for this long, or lives on for so long after its end was due, is told of."""
    max_runtime: timedelta = timedelta(hours=12)

    @classmethod
    def from_overrides(cls, overrides: Mapping[str, Any]) -> Limits:
        """The defaults with some thresholds replaced, given in seconds. Raises InvalidInput."""
        known = {spec.name for spec in fields(cls)}
        changes: dict[str, timedelta] = {}
        for name, value in overrides.items():
            if name not in known:
                raise InvalidInput("limits", f"unknown limit {name!r}", "one of " + ", ".join(sorted(known)))
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 366 * 86400:
                raise InvalidInput("limits", f"{name} must be a number of seconds above zero, not {value!r}")
            changes[name] = timedelta(seconds=value)
        return _checked(replace(cls(), **changes))

    def to_seconds(self) -> dict[str, float]:
        """All thresholds in seconds, by name: what `from_overrides` reads."""
        return {spec.name: getattr(self, spec.name).total_seconds() for spec in fields(self)}

    @property
    def suspicion(self) -> timedelta:
        """How long a note of a first look counts: the second look, ten sweeps that fail or the alarm, and a grace.

        Without an end a suspicion of hours ago would make the next one fatal at its first look. One that is older is
        noted anew, so that what should have been ended all this while is ended a sweep later, and not never.
        """
        return max(self.confirmation, self.lease) + max(10 * self.sweep, self.alarm) + self.grace

    # The promises: the longest time from a failure to the terminate call, or to what is named instead of it, EC2 and S3
    # answering, no event arriving.

    @property
    def dead_agent_bound(self) -> timedelta:
        """Agent or box dead, partitioned or panicked."""
        return self.heartbeat + self.lease + self.sweep + max(self.confirmation, self.sweep) + _CALLS

    @property
    def orphan_bound(self) -> timedelta:
        """An instance that no lock names."""
        return self.grace + self.sweep + max(self.confirmation, self.sweep) + _CALLS

    @property
    def hung_bound(self) -> timedelta:
        """The work hangs, the box lives."""
        return self.heartbeat + self.progress + self.sweep + max(self.confirmation, self.sweep) + _CALLS

    @property
    def vanished_bound(self) -> timedelta:
        """An instance that EC2 does not list any more: until its lane is free, or its next attempt begins."""
        return max(self.lease, self.sweep + self.absence) + self.sweep + _CALLS

    @property
    def boot_bound(self) -> timedelta:
        """The agent never claims."""
        return self.boot + self.sweep + _CALLS

    @property
    def deadline_bound(self) -> timedelta:
        """Past the deadline or the price cap."""
        return self.sweep + _CALLS


_CALLS = timedelta(seconds=30)
"""What the calls of one reconcile may take."""


def _checked(limits: Limits) -> Limits:
    """The limits, if they end no healthy run. Raises InvalidInput."""
    several = 4 * limits.heartbeat + limits.heartbeat_retry
    for name, least, why in (
        ("lease", several, "four beats and a retry"),
        ("self_fence", several, "four beats and a retry"),
        ("progress", 2 * limits.heartbeat, "two beats"),
    ):
        if getattr(limits, name) < least:
            shortest = f"{least.total_seconds():g} s, {why}"
            raise InvalidInput("limits", f"{name} is shorter than {shortest}: it would end healthy runs")
    return limits
