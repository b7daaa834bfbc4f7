"""Prove that nothing is left: ask EC2 by tag and the bucket by key, never our own books alone."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.errors import InvalidInput, NotAllowed, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, LockHeld, ReadFailed, Unreadable
from chronos_ec2.ports import Deadlines, Fleet, SetupChecks
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.cleanup_receipt import UPLOAD
from chronos_ec2.services.watchdog.deadline_schedules import asking_scheduler


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
    listed = fleet.instances(environment)
    instances = [
        Finding("instance", f"{box.instance_id} ({box.instance_type})", box.state, box.run_id)
        for box in listed
        if box.alive
    ]
    left = [Finding(left.kind, left.resource_id, left.state) for left in fleet.leftovers(environment)]
    with asking_scheduler():
        scheduled = sorted(deadlines.scheduled())
    # A list by tag lacks what has lost its tags: those with a schedule are asked for by their ids.
    unlisted = fleet.look_up(environment, set(scheduled) - {box.instance_id for box in listed})
    instances += [
        Finding("instance", f"{seen.instance_id} ({'not listed' if seen.ours else 'without our tags'})", seen.state)
        for seen in unlisted
        if seen.state.alive
    ]
    schedules = [Finding("schedule", instance_id, "scheduled") for instance_id in scheduled]
    uploads = [Finding(UPLOAD, upload.key, "not ended") for upload in store.objects.uploads(f"{environment}/")]
    return (*instances, *left, *schedules, *uploads, *_locks(environment, store))


def check_bucket_region(setup_checks: SetupChecks, region: str) -> None:
    """Raise InvalidInput for a bucket elsewhere: EventBridge hears of no object there, and each byte is paid for."""
    if (found := setup_checks.bucket_region()) not in (None, region):
        raise InvalidInput("bucket", f"lies in {found}, the stack in {region}", "bring along a bucket of that region")


def setup_warnings(environment: str, region: str, store: RunStore, setup_checks: SetupChecks) -> tuple[str, ...]:
    """What keeps events from the watchdog, or its messages from people, and what nobody looks at.

    Every promise holds all the same. That it could not be asked is one of them.
    """
    found: list[str] = []
    try:
        check_bucket_region(setup_checks, region)
    except (InvalidInput, ServiceUnavailable, NotAllowed) as error:
        found.append(str(error))
    try:
        if remark := store.list_lanes(environment).remark:
            found.append(remark)
        if not setup_checks.bucket_sends_events():
            found.append(
                "the bucket does not tell EventBridge of its objects, so that what takes seconds takes a minute; "
                "docs/deploying.md says how to switch it on"
            )
        found += [
            f"{subscription} is not confirmed: it hears nothing before somebody opens the link in its first message"
            for subscription in setup_checks.unconfirmed_subscriptions()
        ]
    except (ServiceUnavailable, NotAllowed) as error:
        found.append(str(error))
    return tuple(found)


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
