"""The watchdog's actions as values, and the decision that lists them with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause


@dataclass(frozen=True, slots=True)
class WriteLock:
    """Write this run into the lock, unless the lock has changed since it was read."""

    run: Run


@dataclass(frozen=True, slots=True)
class Terminate:
    """Terminate this instance; with `force`, skip its shutdown.

    With `after_notification` only once the notification before it is sent, because the instance is the only trace of
    the incident.
    """

    instance_id: str
    cause: Cause
    force: bool = False
    after_notification: bool = False

    @property
    def unconditional(self) -> bool:
        """Whether the reason holds whatever the lock says now: time or money is spent, or a person asked for it."""
        return self.cause in (Cause.OVER_DEADLINE, Cause.OVER_BUDGET, Cause.REQUESTED)


@dataclass(frozen=True, slots=True)
class MarkOrphan:
    """Mark this instance as having no record: the first observation."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class MarkUnreadable:
    """Mark an unreadable lock as having no living instance: the first observation."""

    etag: str


@dataclass(frozen=True, slots=True)
class FinishRun:
    """Write the run's receipt and final record, notify, and release the lock. Its instances are gone."""

    run: Run


@dataclass(frozen=True, slots=True)
class Relaunch:
    """Ask for the instance of the run's current attempt. Asking again is harmless."""

    run: Run


@dataclass(frozen=True, slots=True)
class ReleaseUnreadable:
    """Move an unreadable lock aside. No instance of its lane is alive."""

    etag: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Notify people, once per incident. `incident` is a run id, an instance id or another name.

    With `about`, the incident may recur: people are notified again when `about` has changed, at most once an hour.
    """

    kind: Kind
    incident: str
    text: str
    run: Run | None = None
    about: str | None = None


@dataclass(frozen=True, slots=True)
class ScheduleDeadline:
    """Schedule the termination of this instance at its hard deadline. It then needs no code of ours."""

    instance_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CancelDeadline:
    """Delete the schedule of this instance. It is gone."""

    instance_id: str


Effect = (
    WriteLock
    | Terminate
    | MarkOrphan
    | MarkUnreadable
    | FinishRun
    | Relaunch
    | ReleaseUnreadable
    | ScheduleDeadline
    | CancelDeadline
)
Action = Effect | Notify


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one lane, in this order, and why. `evidence` is for the log."""

    reason: str
    actions: tuple[Action, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Decision) -> Decision:
        return Decision(
            f"{self.reason}; {other.reason}", self.actions + other.actions, {**self.evidence, **other.evidence}
        )

    def with_each(self, instances: Iterable[Instance], rule: Callable[[Instance], Decision | None]) -> Decision:
        """This decision and what `rule` decides about each instance."""
        return sum(filter(None, map(rule, instances)), self)
