"""What people are told: one message an incident, in words, with the next command to type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from chronos_ec2.domain.lane import Lane
from chronos_ec2.domain.run import Cause, Outcome, Run
from chronos_ec2.domain.text import one_line


class Kind(StrEnum):
    """The kinds of incident."""

    STARTED = "started"
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"
    RESUMED = "resumed"
    STUCK = "stuck"
    ORPHAN = "orphan"
    OVER_BUDGET = "over-budget"
    LEAK = "leak"


_SEVERITY = {
    Kind.STARTED: "info",
    Kind.COMPLETED: "info",
    Kind.KILLED: "warning",
    Kind.RESUMED: "warning",
    Kind.FAILED: "error",
    Kind.STUCK: "error",
    Kind.OVER_BUDGET: "error",
    Kind.ORPHAN: "critical",
    Kind.LEAK: "critical",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A message ready to be published. `attributes` are there so that subscribers can filter."""

    subject: str
    body: str
    attributes: Mapping[str, str]


def kind_of_end(run: Run) -> Kind:
    """The kind of message that tells of a run's end. The run has a verdict."""
    verdict = run.verdict
    if verdict is None:
        raise ValueError("the run has not ended")
    if verdict.outcome is Outcome.SUCCEEDED:
        return Kind.COMPLETED
    if verdict.outcome is Outcome.KILLED:
        return Kind.KILLED
    return {Cause.HUNG: Kind.STUCK, Cause.OVER_BUDGET: Kind.OVER_BUDGET}.get(verdict.cause, Kind.FAILED)


def compose(kind: Kind, lane: Lane, incident: str, text: str, run: Run | None, cost_usd: float | None) -> Message:
    """The message for an incident. `text` says what was seen; `cost_usd` is the money so far, None when unknown."""
    name = f"run {run.run_id}" if run else incident
    lines = [f"{name} ({lane}): {kind}", "", one_line(text)]
    if run:
        lines += ["", f"status    {run.status} ({run.current_step}), attempt {run.attempt}"]
        lines += [f"instance  {run.instance_id or 'none'} ({run.instance_type})"]
        lines += [f"cost      {'unknown' if cost_usd is None else f'about ${cost_usd:.2f} so far'}"]
        lines += ["", f"next      chronos-ec2 monitor {run.run_id} --environment {lane.environment}"]
    else:
        lines += ["", f"next      chronos-ec2 verify --environment {lane.environment}"]
    attributes = {"environment": lane.environment, "lane": lane.name, "kind": kind, "severity": _SEVERITY[kind]}
    if run:
        attributes |= {"run_id": run.run_id}
    subject = one_line(f"[chronos-ec2 {lane.environment}] {name} {kind}", 100)
    return Message(subject, "\n".join(lines) + "\n", attributes)
