"""One fault of a drill: the run that it happens to, what EC2 and the bucket say of it, and the row of the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from chronos_ec2.domain.facts import HeartbeatReceived
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.planning.cost import cost_of
from chronos_ec2.services.drill.faults import Fault, Since
from chronos_ec2.services.run_queries import RunView

_ENDED = (InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED)


@dataclass(frozen=True, slots=True)
class Row:
    """The result of a fault. Times are EC2's and S3's; `seconds` may be negative, if the end came before the limit."""

    fault: str
    what: str
    since: str
    run_id: str
    instance_id: str | None
    launched_at: str | None
    ended_at: str | None
    seconds: float | None
    guaranteed: float
    outcome: str | None
    cause: str | None
    expected: tuple[str, ...]
    message: str
    state_reason: str
    usd: float | None
    problem: str

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to see."""
        return bool(self.problem) or (self.seconds is not None and (self.cause is not None or not self.expected))

    @property
    def kept(self) -> bool:
        """Whether the instance ended in time and the record says why."""
        in_time = self.seconds is not None and self.seconds <= self.guaranteed
        return in_time and (self.cause in self.expected or not self.expected) and not self.problem

    def as_document(self) -> dict[str, Any]:
        """The row in drill.json."""
        return asdict(self) | {"kept": self.kept}


@dataclass(frozen=True, slots=True)
class Case:
    """A fault that has been launched, and what has been seen of it so far."""

    fault: Fault
    run_id: str
    lane: str
    guaranteed: timedelta
    give_up_at: datetime
    price: float | None
    cap_usd: float | None = None
    instance: Instance | None = None
    ended_at: datetime | None = None
    view: RunView | None = None
    killed: bool = False
    problem: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing is left to see: the instance has ended, and so has its run, or it took too long."""
        released = not self.fault.causes or (self.view is not None and not self.view.active)
        return bool(self.problem) or (self.ended_at is not None and released)

    def seen(self, listed: tuple[Instance, ...], view: RunView | None, now: datetime) -> Case:
        """What EC2 and the bucket say now. An instance's end is EC2's time, or when it was first seen to have ended."""
        found = next((each for each in listed if each.run_id == self.run_id), None)
        case = replace(self, instance=found or self.instance, view=view or self.view)
        if case.ended_at is None and case.instance and (found is None or found.state in _ENDED):
            ended = found.ended_at if found and found.ended_at else now
            case = replace(case, ended_at=ended)
        if not case.over and now >= self.give_up_at:
            where = "the instance is still up" if case.ended_at is None else "its lane is still held"
            case = replace(case, problem=f"{where} after {format_time(now)}")
        return case

    def row(self, now: datetime) -> Row:
        """The row of the table as it stands."""
        instance, run = self.instance, self.view.run if self.view else None
        verdict, since = run.verdict if run else None, self._since()
        seconds = (self.ended_at - since).total_seconds() if self.ended_at and since else None
        cost = run.spent_usd if run else cost_of(instance, self.price, self.ended_at or now) if instance else None
        return Row(
            fault=self.fault.name,
            what=self.fault.what,
            since=self.fault.since.value,
            run_id=self.run_id,
            instance_id=instance.instance_id if instance else None,
            launched_at=format_time(instance.launched_at) if instance else None,
            ended_at=format_time(self.ended_at) if self.ended_at else None,
            seconds=None if seconds is None else round(seconds, 1),
            guaranteed=self.guaranteed.total_seconds(),
            outcome=str(verdict.outcome) if verdict else None,
            cause=str(verdict.cause) if verdict else None,
            expected=tuple(map(str, self.fault.causes)),
            message=verdict.message if verdict else "",
            state_reason=str(instance.state_reason.message) if instance and instance.state_reason else "",
            usd=cost,
            problem=self.problem,
        )

    def _since(self) -> datetime | None:
        """The moment that the guarantee counts from, None while it is not known."""
        launched = self.instance.launched_at if self.instance else None
        if self.fault.since is Since.LAUNCH or self.view is None:
            return launched
        run, received = self.view.run, self.view.heartbeat
        beat = received.received_at if isinstance(received, HeartbeatReceived) else None
        match self.fault.since:
            case Since.HEARTBEAT:
                return beat
            case Since.PROGRESS:
                return (
                    beat - received.heartbeat.stalled_for if isinstance(received, HeartbeatReceived) and beat else None
                )
            case Since.STOP:
                return run.stop.requested_at if run.stop else None
            case Since.DEADLINE:
                return run.deadline
            case Since.CAP:
                hours = self.cap_usd / self.price if self.cap_usd and self.price else None
                return launched + timedelta(hours=hours) if launched and hours is not None else None
            case _:
                return run.phases[-1][1] if run.verdict else None
