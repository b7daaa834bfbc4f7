"""All thresholds of the protocol in one frozen value, and the guarantees that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.domain.parsing.names import one_line

MAX_LIMIT = timedelta(days=366)
"""No threshold is longer than this, and no run."""
MAX_NOTIFICATION_DELAY = timedelta(hours=2)
"""How long after its verdict a run may hold its lane because SNS refuses the message about its end.

An SNS that does not answer is waited for without limit, because that passes.
Not a field of Limits, which travels in requests: an older launcher would reject it.
"""
HOLD_NOTICE = timedelta(hours=4)
"""How long an instance with the tag Hold=true runs until people are notified of it."""
MAX_RECEIPT_DELAY = timedelta(minutes=30)
"""How long after its verdict a run may hold its lane because AWS does not say what is left of it."""
MAX_IDLE_LANES = 500
"""How many lanes without an instance a sweep looks at. The others follow in turn."""
MAX_SWEEP = timedelta(seconds=40)
"""How long after its begin a sweep begins with another lane without a living instance. The function has a minute."""
MAX_MESSAGES_PER_HOUR = 60
"""How many messages of the kinds in `WITHHELD` an environment sends in an hour of the clock. The rest waits."""
REPEAT_AFTER = timedelta(hours=1)
"""How long after a message about an incident that recurs the next one may follow."""

LAUNCHER_TIMEOUT = timedelta(seconds=300)
"""How long the launcher function may run; the template has the same number."""
LAUNCH_SLOT = LAUNCHER_TIMEOUT
"""How long after it has recorded an option a launcher may still ask EC2 for it."""
TAKE_OVER_AFTER = LAUNCHER_TIMEOUT + timedelta(seconds=60)
"""A recorded option this old has no launcher any more, so another may take over."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of lease and watchdog. Each can be overridden by name, in seconds (`LimitOverrides`)."""

    heartbeat: timedelta = timedelta(seconds=15)
    heartbeat_retry: timedelta = timedelta(seconds=5)
    """Until a failed heartbeat is retried. Waiting a whole period ended healthy runs in simulation."""
    lease: timedelta = timedelta(seconds=135)
    """A latest heartbeat older than this means that the agent is dead, once confirmed: nine missed ones."""
    progress: timedelta = timedelta(seconds=900)
    """No progress for this long on a living instance means that the work hangs."""
    boot: timedelta = timedelta(seconds=900)
    """From launch to claim."""
    sweep: timedelta = timedelta(seconds=60)
    grace: timedelta = timedelta(seconds=120)
    """For an agent to power off by itself, and for a new instance to be named by a lock."""
    confirmation: timedelta = timedelta(seconds=30)
    """Between the first observation of an ambiguous case and the one that confirms it."""
    absence: timedelta = timedelta(seconds=60)
    """The same for an instance that EC2 does not list: its lists lag behind."""
    self_fence: timedelta = timedelta(seconds=600)
    """An agent without a successful heartbeat for this long powers off. Longer than any S3 outage to survive."""
    force: timedelta = timedelta(seconds=600)
    """An instance that takes this long to shut down is terminated by force."""
    alarm: timedelta = timedelta(seconds=720)
    """Notify about an instance that shuts down for this long, or is up this long after it should have ended."""
    max_runtime: timedelta = timedelta(hours=12)

    @classmethod
    def from_overrides(cls, overrides: Mapping[str, Any]) -> Limits:
        """The defaults with some thresholds replaced, in seconds. Raises InvalidInput."""
        known = {spec.name for spec in fields(cls)}
        changes: dict[str, timedelta] = {}
        for name, value in overrides.items():
            if name not in known:
                raise InvalidInput("limits", f"unknown limit {name!r}", "one of " + ", ".join(sorted(known)))
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 < value <= MAX_LIMIT.total_seconds()
            ):
                problem = f"{name} must be a number of seconds above zero, not {value!r}"
                raise InvalidInput("limits", problem, f"at most {MAX_LIMIT.total_seconds():.0f}, such as {name}: 900")
            changes[name] = timedelta(seconds=value)
        return _checked(replace(cls(), **changes))

    def to_seconds(self) -> dict[str, float]:
        """All thresholds in seconds, by name, as `from_overrides` reads them."""
        return {spec.name: getattr(self, spec.name).total_seconds() for spec in fields(self)}

    @property
    def suspicion(self) -> timedelta:
        """How long a first observation counts: the confirmation, then ten failed sweeps or the alarm, and a grace.

        If it never expired, one from hours ago would make the next case fatal at its first observation. An expired one
        is renewed, so an instance that should have ended by then still does, a sweep later.
        """
        return max(self.confirmation, self.lease) + max(10 * self.sweep, self.alarm) + self.grace

    # Guarantees: the longest time from a failure to the terminate call, unless something else is named. EC2 and S3
    # answer, and no event arrives.

    @property
    def dead_agent_bound(self) -> timedelta:
        """Agent or instance dead, partitioned or panicked."""
        return self.heartbeat + self.lease + self.sweep + max(self.confirmation, self.sweep) + _CALLS

    @property
    def orphan_bound(self) -> timedelta:
        """An instance that no lock names."""
        return self.grace + self.sweep + max(self.confirmation, self.sweep) + _CALLS

    @property
    def hung_bound(self) -> timedelta:
        """The work hangs, the instance is alive."""
        return self.heartbeat + self.progress + self.sweep + max(self.confirmation, self.sweep) + _CALLS

    @property
    def vanished_bound(self) -> timedelta:
        """EC2 no longer lists the instance: until its lane is free or its next attempt begins."""
        return max(self.lease, self.sweep + self.absence) + self.sweep + _CALLS

    @property
    def boot_bound(self) -> timedelta:
        """The agent never claims."""
        return self.boot + self.sweep + _CALLS

    @property
    def ended_bound(self) -> timedelta:
        """The run has ended or was asked to stop, and its instance does not power off."""
        return self.grace + self.sweep + _CALLS

    @property
    def deadline_bound(self) -> timedelta:
        """Past the deadline or the price cap."""
        return self.sweep + _CALLS


@dataclass(frozen=True, slots=True)
class StackBounds:
    """What a stack allows any run, whatever the run's own documents ask for.

    `instance_types` are patterns such as `g5.*`; the policies of the stack have the same.
    """

    instance_types: tuple[str, ...]
    max_types: int
    max_runtime: timedelta

    def allows(self, instance_type: str) -> bool:
        """Whether a run may ask for this type."""
        return any(fnmatchcase(instance_type, pattern) for pattern in self.instance_types)

    def check(self, instance_types: Sequence[str], runtime: timedelta) -> None:
        """Raise InvalidInput unless a run may ask for these types and last that long."""
        if len(instance_types) > self.max_types:
            raise InvalidInput(
                "--instance-type",
                f"{len(instance_types)} instance types are more than the {self.max_types} that the stack allows a run",
                "name fewer, or deploy the stack with a larger MaxTypesPerRun",
            )
        for kind in instance_types:
            if not self.allows(kind):
                allowed = ", ".join(self.instance_types)
                remedy = f"one of {allowed}, or deploy the stack with it in AllowedInstanceTypes"
                raise InvalidInput("--instance-type", f"the stack does not allow {one_line(kind, 80)}", remedy)
        if runtime > self.max_runtime:
            hours, most = (span.total_seconds() / 3600 for span in (runtime, self.max_runtime))
            remedy = f"at most {most:g}, or deploy the stack with a larger MaxRunHours"
            raise InvalidInput("--max-hours", f"{hours:.2f} is longer than the stack allows", remedy)


_CALLS = timedelta(seconds=30)
"""What the calls of one reconcile may take."""


def _checked(limits: Limits) -> Limits:
    """The limits, unless they would end healthy runs. Raises InvalidInput."""
    several = 4 * limits.heartbeat + limits.heartbeat_retry
    for name, least, why in (
        ("lease", several, "four heartbeats and a retry"),
        ("self_fence", several, "four heartbeats and a retry"),
        ("progress", 2 * limits.heartbeat, "two heartbeats"),
    ):
        if getattr(limits, name) < least:
            shortest = f"{least.total_seconds():g} s"
            problem = f"{name} is shorter than {shortest}, {why}: it would end healthy runs"
            raise InvalidInput("limits", problem, f"at least {shortest}, or a shorter heartbeat")
    return limits
