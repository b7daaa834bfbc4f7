"""A run without a living instance: it is being launched, its instance is missing, or its attempt has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from chronos_ec2.domain.decision import Decision, FinishRun, Notify, WriteLock
from chronos_ec2.domain.facts import HeartbeatReceived, LaneFacts, LockHeld, ReadFailed, last_heard
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.planning.cost import cost_until, settled
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Suspect, Verdict
from chronos_ec2.domain.rules.not_launched import decide_not_launched, verdict_without_instance

_HOUR = timedelta(hours=1)


def is_lost(run: Run, instances: Iterable[Instance]) -> bool:
    """Whether the run had an instance, has none now, and neither a verdict nor a stop explains it."""
    own = [instance for instance in instances if instance.belongs_to(run)]
    return (
        run.verdict is None
        and run.stop is None
        and (run.launched or bool(own))
        and not any(instance.alive for instance in own)
    )


def decide_missing_instance(lock: LockHeld, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """Finish or resume a run whose instance is gone.

    A terminated instance is gone at once; one that is merely not listed after a second observation and a lease without
    a heartbeat.
    """
    run = lock.run
    if any(instance.alive and instance.run_id == run.run_id for instance in facts.instances):
        return Decision(f"run {run.run_id} still has an instance of an earlier attempt")
    if any(not instance.alive and instance.belongs_to(run) for instance in facts.instances):
        return _finish_or_resume(run, facts, now, limits, f"run {run.run_id}: its instance is terminated")
    if not run.launched and (decision := decide_not_launched(lock, now, limits)):
        return decision
    if run.suspect is None or run.suspect.cause is not Cause.INFRA:
        suspect = Suspect(Cause.INFRA, "EC2 lists no instance of the run", now)
        return Decision(f"suspected: {suspect.reason}", (WriteLock(replace(run, suspect=suspect, updated_at=now)),))
    if facts.listed_at - lock.since(run.suspect.first_seen) < limits.absence:
        return Decision(f"suspected, not confirmed yet: {run.suspect.reason}")
    if isinstance(facts.heartbeat, ReadFailed) and now < run.deadline:
        return Decision(
            f"suspected, but the heartbeat could not be read ({facts.heartbeat.problem}): {run.suspect.reason}"
        )
    if _works(run, facts, now, limits):
        return Decision(f"suspected, but the agent sends heartbeats: {run.suspect.reason}")
    reason = f"run {run.run_id} has no instance, confirmed by a second observation"
    return _finish_or_resume(run, facts, now, limits, reason)


def _works(run: Run, facts: LaneFacts, now: datetime, limits: Limits) -> bool:
    """Whether the attempt works although EC2 does not list its instance: lists lag, tags get lost.

    The watchdog cannot terminate such an instance. A fresh heartbeat alone does not keep the lock: if the work hangs or
    the deadline is past, releasing the lock makes the agent fence itself.
    """
    last = last_heard(facts.heartbeat, run.instance_id) if run.claimed and run.instance_id else None
    hangs = isinstance(facts.heartbeat, HeartbeatReceived) and facts.heartbeat.stalled_for(now) > limits.progress
    return last is not None and now - last <= limits.lease and now < run.deadline and not hangs


def _finish_or_resume(run: Run, facts: LaneFacts, now: datetime, limits: Limits, reason: str) -> Decision:
    """Start another attempt if this one was lost and time, money and the attempts left allow it; else finish the run.

    After a crash only a checkpoint justifies another attempt, because the crash may repeat. A preempted attempt may
    start over.
    """
    ended = _with_verdict(run, facts, now)
    verdict = ended.verdict
    if verdict is None or not _may_resume(run, verdict, facts, now, limits):
        return Decision(reason, (FinishRun(ended),))
    if isinstance(facts.heartbeat, ReadFailed):
        return Decision(f"{reason}; whether it left a checkpoint could not be read ({facts.heartbeat.problem})")
    spent = settled(now, ended, limits, facts.instances, facts.heartbeat).spent_usd
    again = ended.next_attempt(verdict.cause, spent, now)
    how = "resumes from its checkpoint" if _has_checkpoint(run, facts) else "starts over without a checkpoint"
    text = f"attempt {run.attempt} was lost ({verdict.message}); attempt {again.attempt} {how}"
    # Its verdict comes first, so that the lost instance can neither claim nor end anything any more.
    writes = (WriteLock(again),) if run.verdict else (WriteLock(ended), WriteLock(again))
    return Decision(f"{reason}; {text}", (*writes, Notify(Kind.RESUMED, run.run_id, text, again)))


def _may_resume(run: Run, verdict: Verdict, facts: LaneFacts, now: datetime, limits: Limits) -> bool:
    left = {Cause.PREEMPTED: run.preemptions_left, Cause.INFRA: run.crashes_left}.get(verdict.cause, 0)
    # A failed read says nothing about the checkpoint; the next observation may find it.
    may_have_checkpoint = _has_checkpoint(run, facts) or isinstance(facts.heartbeat, ReadFailed)
    return (
        left > 0
        and _had_instance(run, facts)
        and (may_have_checkpoint or verdict.cause is Cause.PREEMPTED)
        and run.stop is None
        and now + limits.boot < run.deadline
        and _can_pay_for_boot(run, facts, now, limits)
    )


def _had_instance(run: Run, facts: LaneFacts) -> bool:
    return run.launched or any(instance.belongs_to(run) for instance in facts.instances)


def _can_pay_for_boot(run: Run, facts: LaneFacts, now: datetime, limits: Limits) -> bool:
    """Whether the next attempt could do anything before it has reached the cap."""
    if run.max_cost_usd is None:
        return True
    spent = cost_until(now, run, limits, facts.instances, facts.heartbeat)
    price = max((usd for _, usd in run.prices), default=run.price_per_hour_usd)  # of whatever type it gets
    return spent is not None and price is not None and spent + price * (limits.boot / _HOUR) < run.max_cost_usd


def _has_checkpoint(run: Run, facts: LaneFacts) -> bool:
    heartbeat = facts.heartbeat.heartbeat if isinstance(facts.heartbeat, HeartbeatReceived) else None
    return heartbeat is not None and heartbeat.run_id == run.run_id and heartbeat.checkpoint_age is not None


def _with_verdict(run: Run, facts: LaneFacts, now: datetime) -> Run:
    """The run with its verdict, or with the watchdog's if its instance disappeared without one.

    Only EC2's own word makes it a preemption: a spot instance whose agent died powers off by itself.
    """
    report = f": {one_line(facts.exit_report, 300)}" if facts.exit_report else ""
    own = [instance for instance in facts.instances if instance.belongs_to(run)]
    says = next((f"; EC2 says {instance.state_reason}" for instance in own if instance.state_reason), "")
    if run.stop:
        verdict = Verdict(run.stop.outcome, run.stop.cause, run.stop.reason, DecidedBy.WATCHDOG)
    elif any(instance.reclaimed for instance in own):
        text = f"EC2 reclaimed the spot instance during {run.status}"
        verdict = Verdict(Outcome.FAILED, Cause.PREEMPTED, text, DecidedBy.WATCHDOG)
    elif not _had_instance(run, facts):
        verdict = verdict_without_instance(run, now)
    elif not run.claimed:
        verdict = Verdict(
            Outcome.FAILED, Cause.INFRA, f"no agent ever claimed the run{report}{says}", DecidedBy.WATCHDOG
        )
    else:
        message = f"the instance disappeared during {run.status}{report or ', without an exit report'}{says}"
        verdict = Verdict(Outcome.FAILED, Cause.INFRA, message, DecidedBy.WATCHDOG)
    return run.end(verdict, now)
