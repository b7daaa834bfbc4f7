"""An instance with our tags that no run names."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.domain.decision import Decision
from chronos_ec2.domain.facts import LaneFacts
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.domain.rules.termination import decide_without_record, terminate_when_confirmed


def decide_orphan(instance: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """Terminate an instance that no run names, after a grace and a second observation."""
    if decision := decide_without_record(instance, facts, now, limits):
        return decision
    age = now - instance.launched_at
    if age < limits.grace:
        return Decision(f"{instance.instance_id} has no run yet")
    text = f"{instance.instance_id} ({instance.instance_type}) has been up for {human_span(age)} and belongs to no run"
    return terminate_when_confirmed(instance, Cause.ORPHAN, text, facts, now, limits)
