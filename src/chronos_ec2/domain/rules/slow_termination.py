"""An instance that has been told to go and is still there: never stop asking, never take it for gone."""

from __future__ import annotations

from datetime import datetime, timedelta

from chronos_ec2.domain.decision import Decision, Notify, Terminate
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause


def slow_to_terminate(
    box: Instance, cause: Cause, since: datetime, now: datetime, limits: Limits, run: Run | None
) -> Decision:
    """Never stop asking, ask by force, tell people; never take it for gone before EC2 says so."""
    text = f"{box.instance_id} has been shutting down for {human_span(now - since)}"
    decision = Decision(text)
    if now - since >= limits.force:
        by_force = Terminate(
            box.instance_id, cause, force=True, after_notification=telling(now - since, limits.alarm, limits)
        )
        decision += Decision("by force", (by_force,))
    if now - since >= limits.alarm:
        incident = box.instance_id if run is None else run.run_id
        decision = Decision("told", (Notify(Kind.LEAK, incident, text, run),)) + decision
    return decision


def overdue_notice(box: Instance, overdue: timedelta, limits: Limits, run: Run | None = None) -> tuple[Notify, ...]:
    """People are told of an instance so long after its end was due: EC2 may be refusing to end it."""
    if overdue < limits.alarm:
        return ()
    text = f"{box.instance_id} is {box.state} {human_span(overdue)} after its end was due; the watchdog goes on asking"
    return (Notify(Kind.LEAK, box.instance_id if run is None else run.run_id, text, run),)


def telling(overdue: timedelta, limit: timedelta, limits: Limits) -> bool:
    """Whether telling people may still put off an end that is due since `limit`: some sweeps long, and no longer."""
    return overdue - limit < 3 * limits.sweep
