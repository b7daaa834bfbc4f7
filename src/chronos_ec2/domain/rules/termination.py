"""How an instance is terminated: the steps that the rules share."""

from __future__ import annotations

from datetime import datetime, timedelta

from chronos_ec2.domain.decision import Decision, MarkOrphan, Notify, Terminate
from chronos_ec2.domain.facts import LaneFacts
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import HOLD_NOTICE, Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause


def deadline_of(instance: Instance, limits: Limits) -> datetime | None:
    """When an instance has to end whatever else is known: at the deadline in its tag.

    None if it has no such tag, unless it is on hold: nothing else would end it.
    """
    if instance.deadline is None and instance.hold:
        return instance.launched_at + limits.max_runtime
    return instance.deadline


def held(instance: Instance, until: datetime, now: datetime, run: Run | None = None) -> Decision:
    """Leave an instance alone because somebody holds it. People are notified of it after some hours."""
    text = (
        f"{instance.instance_id} is on hold, so nothing but {until:%Y-%m-%d %H:%M:%SZ} ends it, "
        "and it costs money until then"
    )
    if instance.hold_until:
        text += f"; the hold is over at {instance.hold_until:%Y-%m-%d %H:%M:%SZ}"
    decision = Decision(f"{instance.instance_id} is on hold")
    if now - instance.launched_at < HOLD_NOTICE:
        return decision
    return decision + Decision("notified", (Notify(Kind.HELD, run.run_id if run else instance.instance_id, text, run),))


def past_tagged_deadline(instance: Instance, now: datetime, limits: Limits) -> Decision | None:
    """Terminate an instance whose own tag says that its time is up, whatever else is known."""
    deadline = deadline_of(instance, limits)
    if deadline and now >= deadline and instance.state is not InstanceState.SHUTTING_DOWN:
        text = f"{instance.instance_id} is past the deadline in its tag"
        if instance.deadline is None:
            text = f"{instance.instance_id} is on hold without a deadline in its tags, and past the default"
        terminate = Terminate(instance.instance_id, Cause.OVER_DEADLINE)
        return Decision(text, (terminate, *overdue_notice(instance, now - deadline, limits)))
    return None


def decide_without_record(instance: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """What its state and tags decide of an instance that no readable record names; None if they decide nothing."""
    if instance.state is InstanceState.SHUTTING_DOWN:
        return _shutting_down(instance, facts, now, limits)
    if overdue := past_tagged_deadline(instance, now, limits):
        return overdue
    deadline = deadline_of(instance, limits)
    return held(instance, deadline, now) if deadline and instance.on_hold(now) else None


def terminate_when_confirmed(
    instance: Instance, cause: Cause, text: str, facts: LaneFacts, now: datetime, limits: Limits
) -> Decision:
    """Mark an instance without a record at the first observation, terminate it at the second."""
    first_seen = facts.suspect_since(instance.instance_id, now, limits)
    if first_seen is None:
        return Decision(f"suspected: {text}", (MarkOrphan(instance.instance_id),))
    if now - first_seen < limits.confirmation:
        return Decision(f"suspected, not confirmed yet: {text}")
    may_wait = may_wait_for_notification(now - first_seen, limits.confirmation, limits)
    terminate = Terminate(instance.instance_id, cause, after_notification=may_wait)
    overdue = now - first_seen - limits.confirmation
    return Decision(
        text,
        (Notify(Kind.ORPHAN, instance.instance_id, text), terminate, *overdue_notice(instance, overdue, limits)),
        {instance.instance_id: f"suspected since {first_seen:%Y-%m-%dT%H:%M:%SZ}"},
    )


def _shutting_down(instance: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Wait for it to be gone."""
    # The mark never expires here: an instance that shuts down does not come back.
    first_seen = facts.suspects.get(instance.instance_id)
    if first_seen is None:
        return Decision(f"{instance.instance_id} is shutting down", (MarkOrphan(instance.instance_id),))
    return slow_to_terminate(instance, Cause.ORPHAN, first_seen, now, limits, None)


def slow_to_terminate(
    instance: Instance, cause: Cause, since: datetime, now: datetime, limits: Limits, run: Run | None
) -> Decision:
    """Wait for an instance that shuts down, then force it, then notify. Only EC2 says that it is gone."""
    elapsed = now - since
    text = f"{instance.instance_id} has been shutting down for {human_span(elapsed)}"
    decision = Decision(text)
    if elapsed >= limits.force:
        may_wait = may_wait_for_notification(elapsed, limits.alarm, limits)
        terminate = Terminate(instance.instance_id, cause, force=True, after_notification=may_wait)
        decision += Decision("forced termination", (terminate,))
    if elapsed >= limits.alarm:
        incident = instance.instance_id if run is None else run.run_id
        decision = Decision("notified", (Notify(Kind.LEAK, incident, text, run),)) + decision
    return decision


def overdue_notice(
    instance: Instance, overdue: timedelta, limits: Limits, run: Run | None = None
) -> tuple[Notify, ...]:
    """Notify when an instance is still up long after it should have ended: EC2 may be refusing to terminate it."""
    if overdue < limits.alarm:
        return ()
    text = (
        f"{instance.instance_id} is {instance.state} {human_span(overdue)} after it should have ended; "
        "the watchdog keeps trying to terminate it"
    )
    return (Notify(Kind.LEAK, instance.instance_id if run is None else run.run_id, text, run),)


def may_wait_for_notification(elapsed: timedelta, limit: timedelta, limits: Limits) -> bool:
    """Whether a termination due since `limit` may still wait for its notification: for three sweeps, no longer."""
    return elapsed - limit < 3 * limits.sweep
