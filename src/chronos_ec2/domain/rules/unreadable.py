"""A lane whose lock cannot be read. Nothing of its content counts: tags, heartbeat and age decide."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.domain.decision import Decision, MarkUnreadable, Notify, ReleaseUnreadable
from chronos_ec2.domain.facts import Absent, HeartbeatReceived, LaneFacts, ReadFailed, Unreadable, last_heard
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.domain.rules.termination import decide_without_record, terminate_when_confirmed


def decide_unreadable(
    lock: Unreadable, alive: tuple[Instance, ...], facts: LaneFacts, now: datetime, limits: Limits
) -> Decision:
    """Notify, terminate the instances that are dead or hung, and release the lock once none is alive.

    The lock stays while an instance lives: its agent keeps working as long as it finds the lock, readable or not.
    """
    text = f"{facts.lane.state_key} is unreadable: {lock.problem}"
    decision = Decision(text, (Notify(Kind.STUCK, f"unreadable-{facts.lane.name}", text, about=lock.etag),))
    if not alive and now - lock.written_at >= limits.boot:
        return decision + _idle(lock, facts, now, limits)
    return decision.with_each(alive, lambda instance: _beside_unreadable_lock(instance, facts, now, limits))


def _idle(lock: Unreadable, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Release the lock at the second observation.

    The observations are a lease apart, because EC2's list may lag and no record says whose heartbeat to read.
    """
    first_seen = facts.suspect_since(lock.etag, now, limits)
    if first_seen is None:
        return Decision("suspected: no instance is alive in the lane", (MarkUnreadable(lock.etag),))
    if facts.listed_at - first_seen < limits.lease:
        return Decision("suspected, not confirmed yet: no instance is alive in the lane")
    return Decision("no instance is alive in the lane", (ReleaseUnreadable(lock.etag),))


def _beside_unreadable_lock(instance: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """Keep an instance while its heartbeat is fresh, its work moves and its time is not up."""
    if decision := decide_without_record(instance, facts, now, limits):
        return decision
    heartbeat = facts.heartbeats.get(instance.run_id or "", Absent())
    if isinstance(heartbeat, ReadFailed):
        return None
    last = last_heard(heartbeat, instance.instance_id)
    if last is not None and now - last <= limits.lease:
        return _hung(instance, heartbeat, facts, now, limits) if isinstance(heartbeat, HeartbeatReceived) else None
    silent, limit = (now - instance.launched_at, limits.boot) if last is None else (now - last, limits.lease)
    if silent <= limit and instance.state is not InstanceState.STOPPED:
        return None
    text = (
        f"{instance.instance_id} is {instance.state}, its lock is unreadable, "
        f"and it has sent no heartbeat for {human_span(silent)}"
    )
    return terminate_when_confirmed(instance, Cause.ORPHAN, text, facts, now, limits)


def _hung(
    instance: Instance, heartbeat: HeartbeatReceived, facts: LaneFacts, now: datetime, limits: Limits
) -> Decision | None:
    stalled = heartbeat.stalled_for(now)
    if stalled <= limits.progress:
        return None
    text = f"no progress on {instance.instance_id} for {human_span(stalled)}, and its lock is unreadable"
    return terminate_when_confirmed(instance, Cause.HUNG, text, facts, now, limits)
