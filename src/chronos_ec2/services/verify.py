"""Check that nothing is left: ask EC2 by tag and the bucket by key, instead of trusting our records."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.facts import Absent, LockHeld, ReadFailed, Unreadable
from chronos_ec2.ports import Deadlines, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.cleanup_receipt import UPLOAD
from chronos_ec2.services.watchdog.deadline_schedules import scheduler_errors


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is left, its state, and the run that it belongs to, if known."""

    kind: str
    name: str
    state: str
    run_id: str | None = None


def verify(environment: str, store: RunStore, fleet: Fleet, deadlines: Deadlines) -> tuple[Finding, ...]:
    """Everything in an environment that costs money or holds a lane. Empty means that nothing is left.

    Raises:
        ServiceUnavailable: a list is incomplete; nothing is proven.
    """
    listed = fleet.instances(environment)
    instances = [
        Finding("instance", f"{each.instance_id} ({each.instance_type})", each.state, each.run_id)
        for each in listed
        if each.alive
    ]
    leftovers = [Finding(each.kind, each.resource_id, each.state) for each in fleet.leftovers(environment)]
    with scheduler_errors():
        scheduled = sorted(deadlines.scheduled())
    # Instances that lost their tags are not listed; those with a schedule are looked up by id.
    unlisted = fleet.look_up(environment, set(scheduled) - {each.instance_id for each in listed})
    instances += [
        Finding("instance", f"{seen.instance_id} ({'not listed' if seen.ours else 'without our tags'})", seen.state)
        for seen in unlisted
        if seen.state.alive
    ]
    schedules = [Finding("schedule", instance_id, "scheduled") for instance_id in scheduled]
    uploads = [Finding(UPLOAD, upload.key, "unfinished") for upload in store.objects.uploads(f"{environment}/")]
    return (*instances, *leftovers, *schedules, *uploads, *_locks(environment, store))


def _locks(environment: str, store: RunStore) -> list[Finding]:
    findings: list[Finding] = []
    for lane in store.lanes(environment):
        match store.read_lock(lane):
            case Absent():
                continue
            case LockHeld(run):
                findings.append(Finding("lock", lane.state_key, run.status, run.run_id))
            case Unreadable(problem) | ReadFailed(problem):
                findings.append(Finding("lock", lane.state_key, f"unreadable: {problem}"))
    return findings
