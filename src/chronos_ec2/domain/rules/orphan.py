"""Instances that no readable record speaks for: judged by tags, lease and age alone."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.domain.decision import Decision, MarkOrphan, Notify, Terminate
from chronos_ec2.domain.facts import LaneFacts
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.domain.rules.slow_termination import overdue_notice, slow_to_terminate, telling


def past_tagged_deadline(box: Instance, now: datetime, limits: Limits) -> Decision | None:
    """The end of an instance whose own tag says that its time is up, whatever else is known."""
    if box.deadline and now >= box.deadline and box.state is not InstanceState.SHUTTING_DOWN:
        text = f"{box.instance_id} is past the deadline in its tag"
        end = Terminate(box.instance_id, Cause.OVER_DEADLINE)
        return Decision(text, (end, *overdue_notice(box, now - box.deadline, limits)))
    return None


def decide_orphan(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """What to do about an instance that carries our tags and that no run holds."""
    if box.state is InstanceState.SHUTTING_DOWN:
        return _leaving_without_record(box, facts, now, limits)
    if late := past_tagged_deadline(box, now, limits):
        return late
    if box.hold:
        return Decision(f"{box.instance_id} carries Hold=true until its deadline")
    age = now - box.launched_at
    if age < limits.grace:
        return Decision(f"{box.instance_id} has no record yet")
    text = f"{box.instance_id} ({box.instance_type}) ran for {human_span(age)} and no run holds it"
    return _in_two_looks(box, Cause.ORPHAN, text, facts, now, limits)


def _in_two_looks(box: Instance, cause: Cause, text: str, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """The end of an instance that was seen like this before, and lately; else a note that it was."""
    first_seen = facts.suspect_since(box.instance_id, now, limits)
    if first_seen is None:
        return Decision(f"suspect: {text}", (MarkOrphan(box.instance_id),))
    if now - first_seen < limits.confirmation:
        return Decision(f"suspect, before the second look: {text}")
    end = Terminate(box.instance_id, cause, after_notification=telling(now - first_seen, limits.confirmation, limits))
    overdue = now - first_seen - limits.confirmation
    return Decision(
        text,
        (Notify(Kind.ORPHAN, box.instance_id, text), end, *overdue_notice(box, overdue, limits)),
        {box.instance_id: f"suspected since {first_seen:%Y-%m-%dT%H:%M:%SZ}"},
    )


def _leaving_without_record(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    # However long ago that was: what shuts down never comes back.
    first_seen = facts.suspects.get(box.instance_id)
    if first_seen is None:
        return Decision(f"{box.instance_id} is shutting down", (MarkOrphan(box.instance_id),))
    return slow_to_terminate(box, Cause.ORPHAN, first_seen, now, limits, None)
