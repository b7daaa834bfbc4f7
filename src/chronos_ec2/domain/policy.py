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

from chronos_ec2.domain.decision import Arm, Conclude, Decision, Disarm, Terminate
from chronos_ec2.domain.facts import Absent, Broken, Failed, Held, LaneFacts
from chronos_ec2.domain.held import judge_held
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.lost import belongs
from chronos_ec2.domain.strays import judge_broken, past_its_tag, stray


def decide(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """What to do about one lane. `now` is AWS time, aware UTC."""
    return _with_schedules(_judge(facts, now, limits), facts, now, limits)


def _judge(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    alive = tuple(box for box in facts.instances if box.alive)
    match facts.state:
        case Failed(problem):
            decision = Decision(f"state could not be read ({problem}): only deadlines count")
            return decision.with_each(alive, lambda box: past_its_tag(box, now))
        case Absent():
            return Decision("no run holds the lane").with_each(alive, lambda box: stray(box, facts, now, limits))
        case Broken():
            return judge_broken(facts.state, facts, alive, now, limits)
        case Held(run):
            boxes = tuple(box for box in alive if belongs(box, run))
            others = tuple(box for box in alive if not belongs(box, run))
            decision = judge_held(facts.state, boxes, facts, now, limits)
            return decision.with_each(others, lambda box: stray(box, facts, now, limits))
        case _:
            assert_never(facts.state)


def unused_schedules(
    armed: Mapping[str, datetime], listed: Iterable[Instance], now: datetime, limits: Limits
) -> tuple[Disarm, ...]:
    """The schedules of an environment that can go: EC2 does not list their instances, although they are not new."""
    known = {box.instance_id for box in listed}
    old = sorted(name for name, made_at in armed.items() if now - made_at >= limits.boot)
    return tuple(Disarm(name) for name in old if name not in known)


def _with_schedules(decision: Decision, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Every living instance has a schedule that ends it at its deadline, and no other has one."""
    if isinstance(facts.armed, Failed):
        return decision + Decision(f"the deadline schedules could not be listed ({facts.armed.problem})")
    ended = {action.instance_id for action in decision.actions if isinstance(action, Terminate)}
    gone = {box.instance_id for box in facts.instances if not box.alive}
    missed = {action.run.instance_id for action in decision.actions if isinstance(action, Conclude)}
    disarm = [Disarm(instance_id) for instance_id in sorted(facts.armed & (gone | missed))]
    arm = [
        Arm(box.instance_id, box.deadline)
        for box in facts.instances
        # One that is due within a sweep is the next sweep's: a schedule may not lie in the past.
        if box.alive and box.deadline and box.deadline > now + limits.sweep
        if box.instance_id not in facts.armed | ended
    ]
    return replace(decision, actions=(*disarm, *decision.actions, *arm)) if disarm or arm else decision
