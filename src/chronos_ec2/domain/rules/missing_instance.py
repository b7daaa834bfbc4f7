"""A run whose instance is not there: it is being launched, it is missed, or its attempt is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from chronos_ec2.domain.cost import cost_so_far
from chronos_ec2.domain.decision import Decision, FinishRun, Notify, Relaunch, WriteLock
from chronos_ec2.domain.facts import HeartbeatReceived, LaneFacts, LockHeld, ReadFailed, last_heard
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Suspect, Verdict


def belongs(box: Instance, run: Run) -> bool:
    """Whether this is the instance of the run's current attempt. Tags decide; the record only narrows."""
    return box.run_id == run.run_id and box.attempt == run.attempt and run.instance_id in (None, box.instance_id)


def is_lost(run: Run, instances: Iterable[Instance]) -> bool:
    """Whether the run's instance was there and is not any more, and nobody has said why."""
    of_run = [box for box in instances if belongs(box, run)]
    was_there = run.claimed or run.instance_id is not None or bool(of_run)
    return run.verdict is None and run.stop is None and was_there and not any(box.alive for box in of_run)


def decide_missing_instance(held: LockHeld, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """What to do about a run none of whose instances is alive. Its absence needs two looks, and silence for a lease."""
    run = held.run
    if any(box.alive and box.run_id == run.run_id for box in facts.instances):
        return Decision(f"run {run.run_id} still has an instance of an earlier attempt")
    if any(not box.alive and belongs(box, run) for box in facts.instances):
        return _end_or_resume(run, facts, now, limits, f"run {run.run_id}: its instance is terminated")
    # A suspicion was written, so from then on `written_at` tells nothing of the launch any more.
    unlaunched = not run.claimed and run.instance_id is None and run.verdict is None and run.suspect is None
    if unlaunched and now - held.written_at < limits.boot:
        text = f"attempt {run.attempt} goes on from the checkpoint of the one before"
        resumed = (Notify(Kind.RESUMED, run.run_id, text, run), Relaunch(run))
        again = resumed if run.attempt > 1 and run.stop is None else ()
        return Decision(f"run {run.run_id} is being launched", again)
    if run.suspect is None or run.suspect.cause is not Cause.INFRA:
        suspect = Suspect(Cause.INFRA, "no instance of the run in EC2's list", now)
        return Decision(f"suspect: {suspect.reason}", (WriteLock(replace(run, suspect=suspect, updated_at=now)),))
    if facts.listed_at - held.since(run.suspect.first_seen) < limits.absence:
        return Decision(f"suspect, before the second look: {run.suspect.reason}")
    if isinstance(facts.heartbeat, ReadFailed):
        return Decision(f"suspect, whose beat could not be read ({facts.heartbeat.problem}): {run.suspect.reason}")
    if _works(run, facts, now, limits):
        return Decision(f"suspect, whose agent beats: {run.suspect.reason}")
    return _end_or_resume(run, facts, now, limits, f"run {run.run_id} has no instance, seen twice")


def _works(run: Run, facts: LaneFacts, now: datetime, limits: Limits) -> bool:
    """Whether this attempt works wherever it is: lists of EC2 lag, tags get lost. Nothing can end it there but itself.

    That it beats is not enough: one that hangs, or is past its deadline, is fenced by the lock that is released.
    """
    last = last_heard(facts.heartbeat, run.instance_id) if run.instance_id else None
    hangs = isinstance(facts.heartbeat, HeartbeatReceived) and facts.heartbeat.stalled_for(now) > limits.progress
    return last is not None and now - last <= limits.lease and now < run.deadline and not hangs


def _end_or_resume(run: Run, facts: LaneFacts, now: datetime, limits: Limits, reason: str) -> Decision:
    """The attempt is over. It is followed by another if it was lost, and time and money allow.

    What died may die again: it has to have left a checkpoint. What EC2 took back may as well begin anew.
    """
    ended = _with_verdict(run, facts, now)
    verdict = ended.verdict
    if verdict is None or not _may_resume(run, verdict, facts, now, limits):
        return Decision(reason, (FinishRun(ended),))
    if isinstance(facts.heartbeat, ReadFailed):
        return Decision(f"{reason}; whether it left a checkpoint could not be read ({facts.heartbeat.problem})")
    cost = _spent(run, facts, now)
    again = run.next_attempt(verdict.cause, run.spent_usd if cost is None else cost, now)
    begins = "goes on from its checkpoint" if _has_checkpoint(run, facts) else "begins anew, without a checkpoint"
    text = f"attempt {run.attempt} was lost ({verdict.message}); attempt {again.attempt} {begins}"
    return Decision(f"{reason}; {text}", (WriteLock(again), Notify(Kind.RESUMED, run.run_id, text, again)))


def _spent(run: Run, facts: LaneFacts, now: datetime) -> float | None:
    """What all attempts have cost, the one that was lost too; None when the price is not known.

    It counts from the record, because EC2 may not list the instance any more.
    """
    instance_type = next((box.instance_type for box in facts.instances if belongs(box, run)), None)
    return cost_so_far(run, run.began, now, instance_type)


def _may_resume(run: Run, verdict: Verdict, facts: LaneFacts, now: datetime, limits: Limits) -> bool:
    left = {Cause.PREEMPTED: run.preemptions_left, Cause.INFRA: run.crashes_left}.get(verdict.cause, 0)
    # A read that failed says nothing of the checkpoint: the next look may find it.
    may_have_one = _has_checkpoint(run, facts) or isinstance(facts.heartbeat, ReadFailed)
    cost, cap = _spent(run, facts, now + limits.boot), run.max_cost_usd
    return (
        left > 0
        and (may_have_one or verdict.cause is Cause.PREEMPTED)
        and run.stop is None
        and now + limits.boot < run.deadline
        and (cap is None or (cost is not None and cost < cap))
    )


def _has_checkpoint(run: Run, facts: LaneFacts) -> bool:
    beat = facts.heartbeat.heartbeat if isinstance(facts.heartbeat, HeartbeatReceived) else None
    return beat is not None and beat.run_id == run.run_id and beat.checkpoint_age is not None


def _with_verdict(run: Run, facts: LaneFacts, now: datetime) -> Run:
    """The run with a verdict; one whose instance went away without a verdict gets one here.

    That it went is no sign of who took it: a spot instance whose agent died powers off by itself. EC2 says who did.
    """
    said = f": {one_line(facts.exit_report, 300)}" if facts.exit_report else ""
    if run.stop:
        verdict = Verdict(run.stop.outcome, run.stop.cause, run.stop.reason, DecidedBy.WATCHDOG)
    elif any(box.reclaimed and belongs(box, run) for box in facts.instances):
        text = f"EC2 took the spot instance back during {run.status}"
        verdict = Verdict(Outcome.FAILED, Cause.PREEMPTED, text, DecidedBy.WATCHDOG)
    elif not run.claimed:
        verdict = Verdict(Outcome.FAILED, Cause.INFRA, f"no agent ever claimed the run{said}", DecidedBy.WATCHDOG)
    else:
        message = f"the instance went away during {run.status}{said or ' without a word'}"
        verdict = Verdict(Outcome.FAILED, Cause.INFRA, message, DecidedBy.WATCHDOG)
    return run.end(verdict, now)
