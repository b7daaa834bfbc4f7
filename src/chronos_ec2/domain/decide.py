"""The watchdog's judgement: `decide(facts, now, limits)` is pure and total, and says why.

Three principles stand above the rules:
  * absence of evidence is not death: a failed read never kills;
  * the ids to act on come from EC2's list by tag, never from a document;
  * an ambiguous case needs two looks, and the second one reads everything again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from chronos_ec2.domain.decision import CancelDeadline, Decision, Notify, ScheduleDeadline, Terminate
from chronos_ec2.domain.facts import Absent, LaneFacts, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.instance import Instance, InstanceLookup
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.rules.active_run import decide_active_run
from chronos_ec2.domain.rules.missing_instance import belongs
from chronos_ec2.domain.rules.orphan import decide_orphan, past_tagged_deadline
from chronos_ec2.domain.rules.unreadable import decide_unreadable


def decide(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """What to do about one lane. `now` is AWS time, aware UTC."""
    return _with_schedules(_judge(facts, now, limits), facts, now, limits)


def _judge(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    alive = tuple(box for box in facts.instances if box.alive)
    match facts.lock:
        case ReadFailed(problem):
            decision = Decision(f"state could not be read ({problem}): only deadlines count")
            return decision.with_each(alive, lambda box: past_tagged_deadline(box, now, limits))
        case Absent():
            return Decision("no run holds the lane").with_each(
                alive, lambda box: decide_orphan(box, facts, now, limits)
            )
        case Unreadable():
            return decide_unreadable(facts.lock, facts, alive, now, limits)
        case LockHeld(run):
            boxes = tuple(box for box in alive if belongs(box, run))
            others = tuple(box for box in alive if not belongs(box, run))
            decision = decide_active_run(facts.lock, boxes, facts, now, limits)
            return decision.with_each(others, lambda box: decide_orphan(box, facts, now, limits))
        case _:
            assert_never(facts.lock)


def unlisted(
    armed: Mapping[str, datetime], listed: Iterable[Instance], now: datetime, limits: Limits
) -> tuple[str, ...]:
    """The instances with a schedule that EC2's list by tag lacks, although the schedule is not new.

    Tags can be taken off, so that the list lacks what lives: EC2 is to be asked for each of them by its id.
    """
    known = {box.instance_id for box in listed}
    old = sorted(name for name, made_at in armed.items() if now - made_at >= limits.boot)
    return tuple(name for name in old if name not in known)


def decide_unlisted(instance_ids: Iterable[str], lookups: Iterable[InstanceLookup]) -> Decision:
    """What to do about schedules whose instances are not listed, given what EC2 says of each by its id."""
    alive = {lookup.instance_id: lookup for lookup in lookups if lookup.state.alive}
    decision = Decision("schedules of instances that EC2 does not list")
    for instance_id in instance_ids:
        if (lookup := alive.get(instance_id)) is None:
            decision += Decision(f"{instance_id} is gone", (CancelDeadline(instance_id),))
        elif not lookup.ours:
            text = (
                f"{instance_id} is {lookup.state} and has lost our tags, so that the watchdog may not end it: its "
                "schedule ends it at its deadline; give it its tags back, or end it now with `aws ec2 "
                f"terminate-instances --instance-ids {instance_id}`"
            )
            decision += Decision(text, (Notify(Kind.LEAK, instance_id, text),))
    return decision


def _with_schedules(decision: Decision, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Every living instance has a schedule that ends it at its deadline, and no other has one."""
    if isinstance(facts.scheduled, ReadFailed):
        return decision + Decision(f"the deadline schedules could not be listed ({facts.scheduled.problem})")
    ended = {action.instance_id for action in decision.actions if isinstance(action, Terminate)}
    # Of those alone that EC2 says are gone: one that it does not list may have lost its tags, see `decide_unlisted`.
    gone = {box.instance_id for box in facts.instances if not box.alive}
    disarm = [CancelDeadline(instance_id) for instance_id in sorted(facts.scheduled & gone)]
    arm = [
        ScheduleDeadline(box.instance_id, box.deadline)
        for box in facts.instances
        # One that is due within a sweep is the next sweep's: a schedule may not lie in the past.
        if box.alive and box.deadline and box.deadline > now + limits.sweep
        if box.instance_id not in facts.scheduled | ended
    ]
    return replace(decision, actions=(*disarm, *decision.actions, *arm)) if disarm or arm else decision
