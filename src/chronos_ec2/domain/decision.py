"""What the watchdog can do, as values, and the decision to do it, which says why."""

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
    """Write this run into the lock, if nobody wrote since it was read."""

    run: Run


@dataclass(frozen=True, slots=True)
class Terminate:
    """End this instance; by force when it does not obey.

    With `after_notification` not before the message that precedes it is out: nothing but the instance tells of the incident.
    """

    instance_id: str
    cause: Cause
    force: bool = False
    after_notification: bool = False

    @property
    def hard(self) -> bool:
        """Whether its reason holds whatever is written meanwhile: time or money are spent, or somebody asked for it."""
        return self.cause in (Cause.OVER_DEADLINE, Cause.OVER_BUDGET, Cause.REQUESTED)


@dataclass(frozen=True, slots=True)
class MarkOrphan:
    """Note that this instance has no record: the first of two looks."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class MarkUnreadable:
    """Note that nothing is alive beside an unreadable lock: the first of two looks."""

    etag: str


@dataclass(frozen=True, slots=True)
class FinishRun:
    """The run's instances are gone: write its receipt and final record, tell people, release the lock."""

    run: Run


@dataclass(frozen=True, slots=True)
class Relaunch:
    """Have an instance started for the run's new attempt; asking again is no harm."""

    run: Run


@dataclass(frozen=True, slots=True)
class ReleaseUnreadable:
    """Set an unreadable lock aside: nothing of this lane is alive any more."""

    etag: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people, once. `incident` is the run id, or what else names the incident."""

    kind: Kind
    incident: str
    text: str
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class ScheduleDeadline:
    """Schedule the end of this instance at its hard deadline, so that it comes without any code of ours."""

    instance_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CancelDeadline:
    """Take the schedule back: the instance is gone."""

    instance_id: str


Deed = (
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
Action = Deed | Notify


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one lane, in this order, and why."""

    reason: str
    actions: tuple[Action, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Decision) -> Decision:
        return Decision(
            f"{self.reason}; {other.reason}", self.actions + other.actions, {**self.evidence, **other.evidence}
        )

    def with_each(self, boxes: Iterable[Instance], judge: Callable[[Instance], Decision | None]) -> Decision:
        """This decision and what `judge` says of each instance."""
        return sum(filter(None, map(judge, boxes)), self)
