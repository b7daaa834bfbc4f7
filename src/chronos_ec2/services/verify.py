"""Prove that nothing is left: ask EC2 by tag and the bucket by key, never our own books alone."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.facts import Absent, Broken, Failed, Held
from chronos_ec2.ports import Deadlines, Fleet
from chronos_ec2.services.run_store import RunStore


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is there: what, which, in what state, and the run that it belongs to, if known."""

    kind: str
    name: str
    state: str
    run_id: str | None = None


def verify(environment: str, store: RunStore, fleet: Fleet, deadlines: Deadlines) -> tuple[Finding, ...]:
    """Everything of an environment that costs money or holds a lane now. Empty means: nothing is left.

    Raises:
        ServiceUnavailable: a list could not be read whole; nothing is proven.
    """
    instances = [
        Finding("instance", f"{box.instance_id} ({box.instance_type})", box.state, box.run_id)
        for box in fleet.instances(environment)
        if box.alive
    ]
    left = [Finding(left.kind, left.resource_id, left.state) for left in fleet.leftovers(environment)]
    schedules = [Finding("schedule", instance_id, "armed") for instance_id in sorted(deadlines.armed())]
    return (*instances, *left, *schedules, *_locks(environment, store))


def _locks(environment: str, store: RunStore) -> list[Finding]:
    findings: list[Finding] = []
    for lane in store.lanes(environment):
        match store.read_lock(lane):
            case Absent():
                continue
            case Held(run):
                findings.append(Finding("lock", lane.state_key, run.status, run.run_id))
            case Broken(problem) | Failed(problem):
                findings.append(Finding("lock", lane.state_key, f"unreadable: {problem}"))
    return findings
