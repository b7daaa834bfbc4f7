"""What the watchdog does about one lane: `decide(facts, now, limits)` is pure and total, and gives its reason.

Three principles hold for every rule:
  * absence of evidence is not death: a failed read never terminates an instance;
  * the ids to act on come from EC2's list by tag, never from a document;
  * an ambiguous case is suspected at a first observation and acted on at a second, which reads everything again.
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from chronos_ec2.domain.decision import Decision
from chronos_ec2.domain.facts import Absent, LaneFacts, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.rules.active_run import decide_active_run
from chronos_ec2.domain.rules.missing_instance import decide_missing_instance
from chronos_ec2.domain.rules.orphan import decide_orphan
from chronos_ec2.domain.rules.schedules import with_schedules
from chronos_ec2.domain.rules.termination import past_tagged_deadline
from chronos_ec2.domain.rules.unreadable import decide_unreadable


def decide(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """What to do about one lane. `now` is AWS time, aware UTC."""
    return with_schedules(_by_situation(facts, now, limits), facts, now, limits)


def _by_situation(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    alive = tuple(instance for instance in facts.instances if instance.alive)
    match facts.lock:
        case ReadFailed(problem):
            decision = Decision(f"the lock could not be read ({problem}): only deadlines count")
            return decision.with_each(alive, lambda instance: past_tagged_deadline(instance, now, limits))
        case Unreadable() as lock:
            return decide_unreadable(lock, alive, facts, now, limits)
        case Absent():
            decision, others = Decision("no run holds the lane"), alive
        case LockHeld(run) as lock:
            own = tuple(instance for instance in alive if instance.belongs_to(run))
            others = tuple(instance for instance in alive if instance not in own)
            if own:
                decision = decide_active_run(lock, own, facts, now, limits)
            else:
                decision = decide_missing_instance(lock, facts, now, limits)
        case _:
            assert_never(facts.lock)
    return decision.with_each(others, lambda instance: decide_orphan(instance, facts, now, limits))
