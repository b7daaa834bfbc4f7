"""The deadline schedules: each living instance has one, and no other has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from chronos_ec2.domain.decision import CancelDeadline, Decision, Notify, ScheduleDeadline, Terminate
from chronos_ec2.domain.facts import LaneFacts, ReadFailed
from chronos_ec2.domain.instance import Instance, InstanceLookup
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.rules.termination import deadline_of


def with_schedules(decision: Decision, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """The decision, with a schedule for each living instance and none for those that EC2 says are terminated."""
    if isinstance(facts.scheduled, ReadFailed):
        return decision + Decision(f"the deadline schedules could not be listed ({facts.scheduled.problem})")
    ended = {action.instance_id for action in decision.actions if isinstance(action, Terminate)}
    # An instance that is merely not listed may have lost its tags, see `decide_unlisted`.
    gone = {instance.instance_id for instance in facts.instances if not instance.alive}
    cancel = [CancelDeadline(instance_id) for instance_id in sorted(facts.scheduled & gone)]
    schedule = [
        ScheduleDeadline(instance.instance_id, deadline)
        for instance in facts.instances
        # A schedule may not be in the past; the next sweep terminates what is due before it.
        if instance.alive and (deadline := deadline_of(instance, limits)) and deadline > now + limits.sweep
        if instance.instance_id not in facts.scheduled | ended
    ]
    return replace(decision, actions=(*cancel, *decision.actions, *schedule)) if cancel or schedule else decision


def unlisted(
    scheduled: Mapping[str, datetime], listed: Iterable[Instance], now: datetime, limits: Limits
) -> tuple[str, ...]:
    """The ids of instances that have a schedule older than a boot and that EC2 does not list by tag.

    Tags can be removed, so a living instance may be missing from the list. Look each of these up by its id.
    """
    known = {instance.instance_id for instance in listed}
    old = sorted(instance_id for instance_id, made_at in scheduled.items() if now - made_at >= limits.boot)
    return tuple(instance_id for instance_id in old if instance_id not in known)


def decide_unlisted(instance_ids: Iterable[str], lookups: Iterable[InstanceLookup]) -> Decision:
    """What to do about schedules whose instances are not listed, given what EC2 says about each by its id."""
    alive = {lookup.instance_id: lookup for lookup in lookups if lookup.state.alive}
    decision = Decision("schedules of instances that EC2 does not list")
    for instance_id in instance_ids:
        if (lookup := alive.get(instance_id)) is None:
            decision += Decision(f"{instance_id} is gone", (CancelDeadline(instance_id),))
        elif not lookup.ours:
            text = (
                f"{instance_id} is {lookup.state} and has lost our tags or profile, so the watchdog may not terminate "
                "it; its schedule will at its deadline. Restore them, or terminate it now with `aws ec2 "
                f"terminate-instances --instance-ids {instance_id}`"
            )
            decision += Decision(text, (Notify(Kind.LEAK, instance_id, text),))
    return decision
