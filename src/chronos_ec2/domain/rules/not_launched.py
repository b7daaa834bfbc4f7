"""An attempt without an instance so far: a launcher is at work, it waits for capacity, or it is over."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.domain.decision import Action, Decision, FinishRun, Notify, Relaunch
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.limits import TAKE_OVER_AFTER, Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.capacity import Waiting
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Verdict


def decide_not_launched(lock: LockHeld, now: datetime, limits: Limits) -> Decision | None:
    """What to do about an attempt that has no instance; None if its launcher may have started one that is not listed.

    No clock here starts with the last write of the lock: a kill or a first observation must not extend the launch.
    """
    run, waiting = lock.run, lock.run.waiting
    over = run.verdict is not None or run.stop is not None or gave_up(run, now)
    if over and run.launching is None:
        # EC2 has refused whatever was asked for, and a launcher must write the lock before it asks again.
        ended = run if run.verdict else run.end(verdict_without_instance(run, now), now)
        return Decision(f"run {run.run_id} has no instance", (FinishRun(ended),))
    if run.verdict or run.stop:
        return None
    if run.launching and now - lock.since(run.launching.since) < TAKE_OVER_AFTER:
        return Decision(f"run {run.run_id} is being launched", _messages(run))
    if over:
        return None
    if waiting:
        launch = (Relaunch(run),) if now >= waiting.next_try_at else ()
        return Decision(f"run {run.run_id} waits for capacity", (*_messages(run), *launch))
    if now - lock.since(run.attempt_started_at) < limits.boot and (run.attempt > 1 or run.launching is None):
        launch = (Relaunch(run),) if run.attempt > 1 else ()
        return Decision(f"run {run.run_id} is to be launched", (*_messages(run), *launch))
    return None


def gave_up(run: Run, now: datetime) -> bool:
    """Whether the run has waited for capacity for as long as it may."""
    return run.waiting is not None and now >= min(run.waiting.until, run.deadline)


def verdict_without_instance(run: Run, now: datetime) -> Verdict:
    """The verdict on a run whose last attempt never had an instance."""
    if run.stop:
        return Verdict(run.stop.outcome, run.stop.cause, run.stop.reason, DecidedBy.WATCHDOG)
    if run.waiting and gave_up(run, now):
        waited = human_span(now - run.waiting.since)
        text = f"no capacity for {waited}: {last_words(run.waiting)}"
        return Verdict(Outcome.FAILED, Cause.NO_CAPACITY, text, DecidedBy.WATCHDOG)
    text = "no instance was started: no launcher has finished its work"
    return Verdict(Outcome.FAILED, Cause.INFRA, text, DecidedBy.WATCHDOG)


def last_words(waiting: Waiting) -> str:
    """EC2's last words, the last first, in one line. The message about the end lists them all."""
    return "; ".join(map(str, reversed(waiting.refusals))) or "EC2 did not answer"


def _messages(run: Run) -> tuple[Action, ...]:
    """The messages about an attempt that waits for its instance, each sent once."""
    found: list[Action] = []
    if run.attempt > 1:
        text = f"attempt {run.attempt} resumes from the checkpoint of the previous attempt"
        found.append(Notify(Kind.RESUMED, run.run_id, text, run))
    if run.waiting and run.waiting.tries:
        text = (
            f"EC2 has no capacity for attempt {run.attempt}; it is asked again and again until "
            f"{run.waiting.until:%Y-%m-%d %H:%M:%SZ}. Until then the run costs nothing"
        )
        found.append(Notify(Kind.WAITING, run.run_id, text, run))
    return tuple(found)
