"""Every rule of the watchdog just before and just at its threshold, with everything the decision says and does.

The decisions are kept in golden/decisions.txt. After a change of the rules: `python -m tests.domain.test_decisions`
rewrites the file; review the diff like code.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chronos_ec2.domain.decide import decide
from chronos_ec2.domain.decision import Action
from chronos_ec2.domain.facts import Absent, LaneFacts, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import TAKE_OVER_AFTER, Limits
from chronos_ec2.domain.records.capacity import Launching, LaunchOption, Refusal, Waiting
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import WAITING, Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Status, Stop, Suspect, Verdict
from chronos_ec2.testing.builders import (
    INSTANCE_ID,
    NOW,
    RUN_ID,
    a_beat,
    a_run,
    an_instance,
    held,
    launching,
    seconds,
    some_facts,
)

GOLDEN = Path(__file__).with_name("golden") / "decisions.txt"
LIMITS = Limits()
OTHER_ID = "i-bbbbbbbb"
OTHER_RUN = "20260101T000000Z-ffffff"
UNREADABLE_AT = NOW - LIMITS.boot
SECOND = seconds(1)
KILLED = Stop(Cause.REQUESTED, "by hand", NOW)
SHUTTING_DOWN, TERMINATED = InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED
STOPPING, STOPPED, PENDING = InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.PENDING


def ago(span: timedelta) -> datetime:
    return NOW - span


def verdict_of(decided_by: DecidedBy, outcome: Outcome = Outcome.SUCCEEDED, cause: Cause = Cause.COMPLETED) -> Verdict:
    return Verdict(outcome, cause, "the message", decided_by)


def silent_since(first_look: timedelta) -> LaneFacts:
    """A silent agent whose first observation was this long ago."""
    run = a_run(suspect=Suspect(Cause.INFRA, "no heartbeat", ago(first_look)))
    return some_facts(heartbeat=a_beat(LIMITS.lease + SECOND + first_look), lock=held(run, ago(first_look)))


def not_launched(begun: timedelta = SECOND, asked: timedelta | None = None, **changes: Any) -> LaneFacts:
    """An attempt without an instance: begun so long ago, its option in work so old; the lock was just written."""
    phases = ((Status.INITIALIZATION, ago(begun)),)
    option = LaunchOption("g5.xlarge", "subnet-a")
    launcher = None if asked is None else Launching(option, ago(asked))
    run = launching(phases=phases, created_at=ago(begun), launching=launcher, **changes)
    heartbeat = a_beat(checkpoint_age=seconds(60)) if run.attempt > 1 else Absent()
    written_at = NOW if run.suspect is None else ago(LIMITS.absence)
    return some_facts(instances=(), lock=held(run, written_at), heartbeat=heartbeat)


def waiting(
    due: timedelta = timedelta(0), left: timedelta = timedelta(hours=1), refused: int = 3, **changes: Any
) -> LaneFacts:
    """An attempt that has waited for an hour."""
    refusals = (Refusal(LaunchOption("g5.xlarge", "subnet-a"), "InsufficientInstanceCapacity", "none"),) * bool(refused)
    wait = Waiting(ago(timedelta(hours=1)), NOW + left, refused, ago(due), refusals)
    step = WAITING if refused else "launching"
    return not_launched(begun=timedelta(hours=1), waiting=wait, current_step=step, **changes)


def claimed(since: timedelta = LIMITS.lease, **changes: Any) -> LockHeld:
    return held(a_run(**changes), ago(since))


def stopping(since: timedelta, cause: Cause = Cause.REQUESTED) -> LockHeld:
    return held(a_run(stop=Stop(cause, "by hand", ago(since))), ago(since))


def suspected(cause: Cause, since: timedelta, **changes: Any) -> LockHeld:
    return held(a_run(suspect=Suspect(cause, "seen before", ago(since)), **changes), ago(since))


def lost(run: Run | None = None, heartbeat: Any = None, **instance: Any) -> LaneFacts:
    """The run's instance is terminated; two crashes and two preemptions are left, and a checkpoint."""
    run = run or resumable()
    gone = an_instance(state=TERMINATED, attempt=run.attempt, **instance)
    heartbeat = a_beat(checkpoint_age=seconds(60)) if heartbeat is None else heartbeat
    return some_facts(instances=(gone,), lock=held(run), heartbeat=heartbeat)


def resumable(**changes: Any) -> Run:
    return a_run(**({"preemptions_left": 2, "crashes_left": 2} | changes))


def absent(**changes: Any) -> LaneFacts:
    return some_facts(**({"instances": (), "heartbeat": a_beat(LIMITS.lease + SECOND)} | changes))


def missed(heartbeat: Any, **run: Any) -> LaneFacts:
    """The instance of the run is missing at a second observation."""
    return absent(lock=suspected(Cause.INFRA, LIMITS.absence, **run), heartbeat=heartbeat)


def orphan(since: timedelta | None = None, heartbeat: Any = None, **instance: Any) -> LaneFacts:
    suspects = {} if since is None else {INSTANCE_ID: ago(since)}
    return some_facts(
        instances=(an_instance(**instance),), lock=Absent(), heartbeat=heartbeat or Absent(), suspects=suspects
    )


def unreadable(heartbeat: Any = None, since: timedelta | None = None, **instance: Any) -> LaneFacts:
    suspects = {} if since is None else {INSTANCE_ID: ago(since)}
    return some_facts(
        instances=(an_instance(**instance),),
        lock=Unreadable("not JSON", '"e-1"', UNREADABLE_AT),
        heartbeat=Absent(),
        heartbeats={RUN_ID: heartbeat or a_beat()},
        suspects=suspects,
    )


def unreadable_lock_alone(age: timedelta, since: timedelta | None = None, **changes: Any) -> LaneFacts:
    broken = Unreadable("not JSON", '"e-1"', ago(age))
    suspects = {} if since is None else {broken.etag: ago(since)}
    return some_facts(**({"instances": (), "lock": broken, "heartbeat": Absent(), "suspects": suspects} | changes))


RUNS: dict[str, LaneFacts] = {
    "a healthy run is announced": some_facts(),
    "a healthy second attempt is announced as resumed": some_facts(
        lock=claimed(attempt=2), instances=(an_instance(attempt=2),), heartbeat=a_beat(attempt=2)
    ),
    "a suspicion is cleared when the work progresses again": some_facts(lock=suspected(Cause.HUNG, LIMITS.progress)),
    "a booting instance that was missing is listed again": some_facts(
        lock=held(launching(suspect=Suspect(Cause.INFRA, "not in the list", ago(SECOND)))),
        instances=(an_instance(launched_at=ago(SECOND)),),
        heartbeat=Absent(),
    ),
    "an agent may be silent for the lease": some_facts(heartbeat=a_beat(LIMITS.lease)),
    "an agent is suspected one second after the lease": some_facts(heartbeat=a_beat(LIMITS.lease + SECOND)),
    "a silent agent is not dead before the second observation": silent_since(LIMITS.confirmation - SECOND),
    "a silent agent is dead at the second observation": silent_since(LIMITS.confirmation),
    "without any heartbeat the claim counts: the lease": some_facts(
        heartbeat=Absent(), lock=claimed(SECOND, claimed_at=ago(LIMITS.lease))
    ),
    "without any heartbeat the claim counts: one second over": some_facts(
        heartbeat=Absent(), lock=claimed(SECOND, claimed_at=ago(LIMITS.lease + SECOND))
    ),
    "an unreadable heartbeat is still a heartbeat: the lease": some_facts(
        heartbeat=Unreadable("not JSON", '"b"', ago(LIMITS.lease))
    ),
    "an unreadable heartbeat is still a heartbeat: one second over": some_facts(
        heartbeat=Unreadable("not JSON", '"b"', ago(LIMITS.lease + SECOND))
    ),
    "the heartbeat of another run is none": some_facts(heartbeat=a_beat(run_id=OTHER_RUN)),
    "the heartbeat of another attempt is none": some_facts(heartbeat=a_beat(attempt=2)),
    "the heartbeat of another instance is none": some_facts(heartbeat=a_beat(instance_id=OTHER_ID)),
    "a heartbeat that could not be read kills nobody": some_facts(heartbeat=ReadFailed("503")),
    "a heartbeat that could not be read clears no suspicion": some_facts(
        heartbeat=ReadFailed("503"), lock=suspected(Cause.HUNG, LIMITS.progress)
    ),
    "work may stall for the progress limit": some_facts(
        heartbeat=a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(5))
    ),
    "work stalled one second longer is suspected": some_facts(
        heartbeat=a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(4))
    ),
    "a heartbeat from the future does not shorten a stall": some_facts(
        heartbeat=a_beat(seconds(-60), stalled_for=LIMITS.progress + SECOND)
    ),
    "another suspicion is no first observation of a hang": some_facts(
        heartbeat=a_beat(stalled_for=LIMITS.progress), lock=suspected(Cause.INFRA, LIMITS.confirmation)
    ),
    "a first observation of a hang in the future counts from the write of the record": some_facts(
        heartbeat=a_beat(stalled_for=LIMITS.progress),
        lock=held(a_run(suspect=Suspect(Cause.HUNG, "forged", ago(timedelta(days=-3650)))), ago(LIMITS.confirmation)),
    ),
    "a hang is not confirmed before the second observation": some_facts(
        heartbeat=a_beat(stalled_for=LIMITS.progress), lock=suspected(Cause.HUNG, LIMITS.confirmation - SECOND)
    ),
    "a hang is ended at the second observation": some_facts(
        heartbeat=a_beat(stalled_for=LIMITS.progress), lock=suspected(Cause.HUNG, LIMITS.confirmation)
    ),
    "an instance may boot for the boot limit": some_facts(
        lock=held(launching()), heartbeat=Absent(), instances=(an_instance(launched_at=ago(LIMITS.boot - SECOND)),)
    ),
    "a boot over the limit has failed": some_facts(
        lock=held(launching()), heartbeat=Absent(), instances=(an_instance(launched_at=ago(LIMITS.boot)),)
    ),
    "a stop does not wait for a boot over the limit": some_facts(
        lock=held(launching(stop=Stop(Cause.REQUESTED, "by hand", NOW)), NOW),
        heartbeat=Absent(),
        instances=(an_instance(launched_at=ago(LIMITS.boot)),),
    ),
    "a stop during the boot has its grace": some_facts(
        lock=held(launching(stop=Stop(Cause.REQUESTED, "by hand", NOW)), NOW),
        heartbeat=Absent(),
        instances=(an_instance(launched_at=ago(LIMITS.boot - SECOND)),),
    ),
    "a pending instance is booting": some_facts(
        lock=held(launching()), heartbeat=Absent(), instances=(an_instance(state=PENDING, launched_at=ago(seconds(5))),)
    ),
    "a deadline is near one grace before": some_facts(lock=claimed(deadline=NOW + LIMITS.grace)),
    "a deadline is not near one second earlier": some_facts(lock=claimed(deadline=NOW + LIMITS.grace + SECOND)),
    "a deadline is past": some_facts(lock=claimed(deadline=NOW)),
    "the deadline in the tag alone is past": some_facts(instances=(an_instance(deadline=NOW),)),
    "without a deadline in the tags the record's counts": some_facts(
        lock=claimed(deadline=NOW), instances=(an_instance(deadline=None),)
    ),
    "a cap is near": some_facts(lock=claimed(max_cost_usd=1.0625, price_per_hour_usd=1.03125)),
    "a cap is not near": some_facts(lock=claimed(max_cost_usd=1.0667, price_per_hour_usd=1.03125)),
    "a cap is reached exactly one grace from now": some_facts(
        lock=claimed(max_cost_usd=30.0, price_per_hour_usd=30.0),
        instances=(an_instance(launched_at=ago(timedelta(hours=1) - LIMITS.grace)),),
    ),
    "a cap is reached exactly": some_facts(lock=claimed(max_cost_usd=30.0, price_per_hour_usd=30.0)),
    "a cap cannot be checked without a price": some_facts(lock=claimed(max_cost_usd=0.01, price_per_hour_usd=None)),
    "a stop has its grace": some_facts(lock=stopping(LIMITS.grace - SECOND)),
    "a stop by a person is enforced": some_facts(lock=stopping(LIMITS.grace)),
    "a stop requested in the future counts from the write of the record": some_facts(
        lock=held(a_run(stop=Stop(Cause.REQUESTED, "forged", ago(timedelta(days=-3650)))), ago(LIMITS.grace))
    ),
    "a stop by a limit is enforced": some_facts(lock=stopping(LIMITS.grace, Cause.OVER_BUDGET)),
    "a dead agent has no grace to stop": some_facts(lock=stopping(SECOND), heartbeat=a_beat(LIMITS.lease + SECOND)),
    "a finished agent has its grace": some_facts(
        lock=claimed(LIMITS.grace - SECOND, status=Status.CLEANUP, verdict=verdict_of(DecidedBy.AGENT))
    ),
    "a finished agent is terminated after its grace": some_facts(
        lock=claimed(LIMITS.grace, status=Status.CLEANUP, verdict=verdict_of(DecidedBy.AGENT))
    ),
    "a run ended by the watchdog is terminated until it is gone": some_facts(
        lock=claimed(status=Status.FAILED, verdict=verdict_of(DecidedBy.WATCHDOG, Outcome.FAILED, Cause.HUNG))
    ),
    "a stopping instance is terminated": some_facts(instances=(an_instance(state=STOPPING),)),
    "a stopped instance is terminated": some_facts(instances=(an_instance(state=STOPPED),)),
    "hold keeps a dead agent's instance": some_facts(
        instances=(an_instance(hold=True),), heartbeat=a_beat(LIMITS.lease + SECOND)
    ),
    "hold does not keep an instance past the deadline": some_facts(instances=(an_instance(hold=True, deadline=NOW),)),
}

ENDS: dict[str, LaneFacts] = {
    "an instance that shuts down without a verdict is recorded": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),)
    ),
    "a suspicion of a hang is no first observation of a shutdown": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),), lock=suspected(Cause.HUNG, LIMITS.alarm)
    ),
    **{
        f"an instance without a verdict has been shutting down {name}": some_facts(
            instances=(an_instance(state=SHUTTING_DOWN),), lock=suspected(Cause.PREEMPTED, since)
        )
        for name, since in {
            "for less than the force limit": LIMITS.force - SECOND,
            "for the force limit": LIMITS.force,
            "for less than the alarm limit": LIMITS.alarm - SECOND,
            "for the alarm limit": LIMITS.alarm,
            "for three sweeps more": LIMITS.alarm + 3 * LIMITS.sweep,
        }.items()
    },
    "an instance without a verdict has been shutting down since a future time": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),),
        lock=held(a_run(suspect=Suspect(Cause.PREEMPTED, "forged", ago(timedelta(days=-3650)))), ago(LIMITS.force)),
    ),
    "an instance with a verdict is forced after the force limit": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),), lock=claimed(LIMITS.force, verdict=verdict_of(DecidedBy.AGENT))
    ),
    "an instance with a verdict that does not shut down is notified": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),), lock=claimed(LIMITS.alarm, verdict=verdict_of(DecidedBy.AGENT))
    ),
    "the end of a run that had a verdict": lost(a_run(verdict=verdict_of(DecidedBy.AGENT))),
    "the end of a run whose instance disappeared without an exit report": lost(a_run()),
    "the end of a run that no agent claimed": lost(launching(instance_id=INSTANCE_ID)),
    "the end of a run that was being stopped": lost(a_run(stop=Stop(Cause.REQUESTED, "by hand", NOW))),
    "an instance that is not listed is missing": absent(),
    "an instance that is not listed is missing again after a hang": absent(lock=suspected(Cause.HUNG, LIMITS.absence)),
    "a terminated instance of an earlier attempt does not count": absent(
        lock=held(a_run(attempt=2)), instances=(an_instance(state=TERMINATED),)
    ),
    "a terminated instance that the record does not name does not count": absent(
        instances=(an_instance(instance_id=OTHER_ID, state=TERMINATED),)
    ),
    "a missing instance is not gone before the second observation": absent(
        lock=suspected(Cause.INFRA, LIMITS.absence - SECOND)
    ),
    "a missing instance is gone at the second observation": absent(lock=suspected(Cause.INFRA, LIMITS.absence)),
    "a missing instance that sends heartbeats is not gone": missed(a_beat(LIMITS.lease)),
    "a missing instance with an unreadable heartbeat is not gone": missed(
        Unreadable("not JSON", '"b"', ago(LIMITS.lease))
    ),
    "a missing instance whose heartbeat could not be read is not gone": missed(ReadFailed("503")),
    "a missing instance is not gone while its work may stall": missed(
        a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(5))
    ),
    "a missing instance that hangs is gone": missed(a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(4))),
    "a missing instance that sends heartbeats past its deadline is gone": missed(a_beat(), deadline=NOW),
    "a missing instance is gone although another sends heartbeats": missed(a_beat(instance_id=OTHER_ID)),
    "a missing instance that sends heartbeats is not replaced": missed(
        a_beat(checkpoint_age=seconds(60)), crashes_left=1
    ),
    "an instance missing since the future counts from the write of the record": absent(
        lock=held(a_run(suspect=Suspect(Cause.INFRA, "forged", ago(timedelta(days=-3650)))), ago(LIMITS.absence))
    ),
    "a launch has the boot limit to name its instance": not_launched(begun=LIMITS.boot - SECOND),
    "a launch that names no instance is missing": not_launched(begun=LIMITS.boot),
    "a launch that was missing once is over": not_launched(
        begun=LIMITS.boot, suspect=Suspect(Cause.INFRA, "seen before", ago(LIMITS.absence))
    ),
    "a launch with a verdict is over": not_launched(verdict=verdict_of(DecidedBy.AGENT)),
    "a launcher is at work on its option": not_launched(asked=TAKE_OVER_AFTER - SECOND),
    "a launcher that does not come back is missed": not_launched(asked=TAKE_OVER_AFTER),
    "the last write of the lock does not extend the launch": not_launched(begun=LIMITS.boot, attempt=2),
    "a launcher in the future has begun with its record": not_launched(asked=-timedelta(days=1)),
    "a run that EC2 has refused waits": waiting(due=-SECOND),
    "a run that waits is launched when that is due": waiting(),
    "a later attempt that waits is resumed and waits": waiting(due=-SECOND, attempt=2),
    "a launcher is at work for a run that waits": waiting(asked=TAKE_OVER_AFTER - SECOND),
    "a launcher that crashed is replaced": waiting(asked=TAKE_OVER_AFTER),
    "a wait goes on until its end": waiting(left=SECOND),
    "a wait ends without an instance": waiting(left=timedelta(0)),
    "a wait ends at the deadline": waiting(deadline=NOW),
    "a wait does not end while a launcher is at work": waiting(left=timedelta(0), asked=TAKE_OVER_AFTER - SECOND),
    "a wait ends at a second look if a launcher has crashed": waiting(left=timedelta(0), asked=TAKE_OVER_AFTER),
    "a wait ended at a second look": waiting(
        left=timedelta(0), asked=TAKE_OVER_AFTER, suspect=Suspect(Cause.INFRA, "seen before", ago(LIMITS.absence))
    ),
    "a run that has not been refused yet is launched by the next launcher": waiting(refused=0),
    "a run that was killed while it waited is over": waiting(stop=KILLED),
    "a run that was killed while a launcher is at work is suspected": waiting(stop=KILLED, asked=SECOND),
    "a run that was killed while a launcher is at work is over": waiting(
        stop=KILLED, asked=seconds(90), suspect=Suspect(Cause.INFRA, "seen before", ago(LIMITS.absence))
    ),
    "a launch that named its instance is over": absent(
        lock=held(launching(instance_id=INSTANCE_ID), NOW), heartbeat=Absent()
    ),
    "a second attempt is launched, again and again": not_launched(attempt=2),
    "a second attempt with a stop is not launched": not_launched(attempt=2, stop=KILLED),
    "a second attempt that no launcher takes up is over, without another": not_launched(
        attempt=2,
        begun=LIMITS.boot,
        crashes_left=1,
        preemptions_left=1,
        suspect=Suspect(Cause.INFRA, "seen before", ago(LIMITS.absence)),
    ),
    "a lock is kept for an instance of an earlier attempt": some_facts(
        lock=held(a_run(attempt=2)),
        instances=(an_instance(state=TERMINATED, attempt=2), an_instance(instance_id=OTHER_ID, launched_at=NOW)),
    ),
}

RESUMES: dict[str, LaneFacts] = {
    "a lost attempt is resumed": lost(),
    "a lost attempt adds to the money spent": lost(resumable(spent_usd=1.0)),
    "a preempted attempt is resumed": lost(
        resumable(verdict=verdict_of(DecidedBy.AGENT, Outcome.FAILED, Cause.PREEMPTED))
    ),
    "an attempt whose instance was reclaimed was preempted": lost(reclaimed=True),
    "a reclaimed instance spends no crash": lost(resumable(crashes_left=0), reclaimed=True),
    "an attempt whose instance was reclaimed during its boot was preempted": lost(
        resumable(status=Status.INITIALIZATION, current_step="launching", claimed_at=None, attempt=2),
        heartbeat=a_beat(attempt=1, checkpoint_age=seconds(60)),
        reclaimed=True,
    ),
    "an instance reclaimed after the agent's verdict does not change it": lost(
        a_run(verdict=verdict_of(DecidedBy.AGENT)), reclaimed=True
    ),
    "a reclaimed instance of an earlier attempt does not count": some_facts(
        instances=(an_instance(state=TERMINATED, reclaimed=True), an_instance(attempt=2, state=TERMINATED)),
        lock=held(resumable(attempt=2)),
        heartbeat=a_beat(attempt=2, checkpoint_age=seconds(60)),
    ),
    "an attempt without a price is resumed": lost(resumable(price_per_hour_usd=None, spent_usd=1.0)),
    "an attempt that is no longer listed is resumed": absent(
        lock=suspected(Cause.INFRA, LIMITS.absence, crashes_left=1),
        heartbeat=a_beat(LIMITS.lease + SECOND, checkpoint_age=seconds(0)),
    ),
    "the last crash of the budget": lost(resumable(crashes_left=1)),
    "one crash more than the budget": lost(resumable(crashes_left=0)),
    "one preemption more than the budget": lost(
        resumable(preemptions_left=0, verdict=verdict_of(DecidedBy.AGENT, Outcome.FAILED, Cause.PREEMPTED))
    ),
    "a hang is not resumed": lost(resumable(verdict=verdict_of(DecidedBy.WATCHDOG, Outcome.FAILED, Cause.HUNG))),
    "without a checkpoint nothing is resumed": lost(heartbeat=a_beat()),
    "without a heartbeat nothing is resumed": lost(heartbeat=Absent()),
    "a reclaimed instance starts over without a checkpoint": lost(heartbeat=a_beat(), reclaimed=True),
    "an instance reclaimed before its first heartbeat starts over": lost(heartbeat=Absent(), reclaimed=True),
    "the checkpoint of another run is none": lost(heartbeat=a_beat(run_id=OTHER_RUN, checkpoint_age=seconds(60))),
    "the checkpoint of an earlier attempt counts": lost(
        resumable(attempt=2), heartbeat=a_beat(attempt=1, checkpoint_age=seconds(60))
    ),
    "whether there is a checkpoint could not be read": lost(heartbeat=ReadFailed("503")),
    "whether there is a checkpoint does not matter without a budget": lost(a_run(), heartbeat=ReadFailed("503")),
    "a run with a stop is not resumed": lost(resumable(stop=Stop(Cause.OVER_BUDGET, "cap", NOW))),
    "there is time for a boot and one second": lost(resumable(deadline=NOW + LIMITS.boot + SECOND)),
    "there is time for a boot and no more": lost(resumable(deadline=NOW + LIMITS.boot)),
    "there is no money for a boot": lost(resumable(max_cost_usd=3.0, price_per_hour_usd=4.0, spent_usd=2.0)),
    "a cap without a price cannot be kept": lost(resumable(max_cost_usd=9.0, price_per_hour_usd=None)),
    "the money would be gone before the boot is over": lost(
        resumable(max_cost_usd=6.5, price_per_hour_usd=4.0, spent_usd=2.0)
    ),
    "the money would be gone just when the boot is over": lost(
        resumable(max_cost_usd=7.0, price_per_hour_usd=4.0, spent_usd=2.0)
    ),
    "a run without phases costs money since its creation": lost(
        resumable(price_per_hour_usd=4.0, phases=((Status.TRAINING, NOW),))
    ),
    "there is money for a boot": lost(resumable(max_cost_usd=9.0, price_per_hour_usd=4.0, spent_usd=2.0)),
}

ORPHANS: dict[str, LaneFacts] = {
    "nothing at all": some_facts(instances=(), lock=Absent(), heartbeat=Absent()),
    "a new instance without a run has its grace": orphan(launched_at=ago(LIMITS.grace - SECOND)),
    "an instance without a run is suspected after its grace": orphan(launched_at=ago(LIMITS.grace)),
    "an orphan has until the second observation": orphan(LIMITS.confirmation - SECOND),
    "an orphan ends at the second observation": orphan(LIMITS.confirmation),
    "the message about an orphan may delay its end for three sweeps": orphan(
        LIMITS.confirmation + 3 * LIMITS.sweep - SECOND
    ),
    "an orphan ends without a message after three sweeps": orphan(LIMITS.confirmation + 3 * LIMITS.sweep),
    "a first observation of an orphan is valid until it expires": orphan(LIMITS.suspicion),
    "an expired first observation of an orphan does not count": orphan(LIMITS.suspicion + SECOND),
    "hold keeps an orphan": orphan(LIMITS.confirmation, hold=True),
    "an orphan past its deadline needs no second observation": orphan(deadline=NOW),
    "an orphan one second before its deadline does": orphan(deadline=NOW + SECOND),
    "hold does not keep an orphan past its deadline": orphan(deadline=NOW, hold=True),
    "an orphan that shuts down is marked": orphan(state=SHUTTING_DOWN, deadline=NOW),
    "an orphan that is slow to shut down is ended by force": orphan(LIMITS.force, state=SHUTTING_DOWN),
    "an orphan that does not shut down is notified": orphan(LIMITS.alarm, state=SHUTTING_DOWN),
    "an orphan that shuts down is never marked again": orphan(LIMITS.suspicion + SECOND, state=SHUTTING_DOWN),
    "a terminated instance is no orphan": orphan(LIMITS.confirmation, state=TERMINATED),
    "two orphans are decided one by one": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID, hold=True)), lock=Absent(), heartbeat=Absent()
    ),
    "an instance of another run is an orphan beside a healthy run": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID, run_id=OTHER_RUN))
    ),
    "an orphan beside a dead run is decided too, and both give evidence": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID, run_id=OTHER_RUN)),
        heartbeat=Absent(),
        lock=suspected(Cause.INFRA, LIMITS.confirmation),
    ),
    "an instance of another attempt is an orphan beside a healthy run": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID, attempt=2))
    ),
    "an instance that the record does not name is an orphan beside the one that it names": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID))
    ),
    "if the lock cannot be read, a deadline in a tag counts": some_facts(
        lock=ReadFailed("503"), instances=(an_instance(deadline=NOW),)
    ),
    "if the lock cannot be read, nothing else counts": some_facts(
        lock=ReadFailed("503"),
        heartbeat=Absent(),
        instances=(an_instance(deadline=None), an_instance(instance_id=OTHER_ID)),
    ),
    "if the lock cannot be read, an instance that shuts down is left alone": some_facts(
        lock=ReadFailed("503"), instances=(an_instance(deadline=NOW, state=SHUTTING_DOWN),)
    ),
}

UNREADABLE: dict[str, LaneFacts] = {
    "a live agent beside an unreadable lock stays": unreadable(),
    "a live agent beside an unreadable lock has the lease": unreadable(a_beat(LIMITS.lease)),
    "stalled work is suspected while the heartbeat is fresh": unreadable(
        a_beat(LIMITS.lease, stalled_for=LIMITS.progress)
    ),
    "a silent agent beside an unreadable lock is suspected": unreadable(a_beat(LIMITS.lease + SECOND)),
    "a silent agent beside an unreadable lock has until the second observation": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.confirmation - SECOND
    ),
    "a silent agent beside an unreadable lock is ended at the second observation": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.confirmation
    ),
    "the message about it may delay the end for three sweeps": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.confirmation + 3 * LIMITS.sweep - SECOND
    ),
    "the end comes without a message after three sweeps": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.confirmation + 3 * LIMITS.sweep
    ),
    "an expired first observation of silence does not count": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.suspicion + SECOND
    ),
    "without a heartbeat it has the boot limit": unreadable(Absent(), launched_at=ago(LIMITS.boot)),
    "without a heartbeat it is suspected one second later": unreadable(Absent(), launched_at=ago(LIMITS.boot + SECOND)),
    "without a heartbeat it is ended at the second observation": unreadable(
        Absent(), LIMITS.confirmation, launched_at=ago(LIMITS.boot + SECOND)
    ),
    "without a run id in its tags it has the boot limit too": unreadable(
        since=LIMITS.confirmation, run_id=None, launched_at=ago(LIMITS.boot)
    ),
    "the heartbeat of another instance does not count here either": unreadable(a_beat(instance_id=OTHER_ID)),
    "a heartbeat that could not be read ends nobody here either": unreadable(ReadFailed("503"), LIMITS.confirmation),
    "an unreadable heartbeat is a sign of life": unreadable(
        Unreadable("schema_version 2", '"b"', ago(LIMITS.lease)), LIMITS.confirmation
    ),
    "an unreadable heartbeat is valid for the lease": unreadable(
        Unreadable("schema_version 2", '"b"', ago(LIMITS.lease + SECOND)), LIMITS.confirmation
    ),
    "two instances beside an unreadable lock are decided by their own heartbeats": some_facts(
        instances=(an_instance(instance_id=OTHER_ID, run_id=OTHER_RUN), an_instance()),
        lock=Unreadable("not JSON", '"e-1"', UNREADABLE_AT),
        heartbeat=Absent(),
        heartbeats={OTHER_RUN: Absent(), RUN_ID: a_beat()},
        suspects={OTHER_ID: ago(LIMITS.confirmation), INSTANCE_ID: ago(LIMITS.confirmation)},
    ),
    "work beside an unreadable lock may stall for the progress limit": unreadable(
        a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(5))
    ),
    "work beside an unreadable lock that stalls longer is suspected": unreadable(
        a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(4))
    ),
    "a hang beside an unreadable lock is not confirmed before the second observation": unreadable(
        a_beat(stalled_for=LIMITS.progress), LIMITS.confirmation - SECOND
    ),
    "a hang beside an unreadable lock ends at the second observation": unreadable(
        a_beat(stalled_for=LIMITS.progress), LIMITS.confirmation
    ),
    "the message about that hang may not delay the end indefinitely": unreadable(
        a_beat(stalled_for=LIMITS.progress), LIMITS.confirmation + 3 * LIMITS.sweep
    ),
    "hold keeps an instance beside an unreadable lock": unreadable(Absent(), hold=True),
    "a deadline in the tag counts beside an unreadable lock": unreadable(deadline=NOW),
    "hold does not keep it past its deadline": unreadable(deadline=NOW, hold=True),
    "a stopped instance beside an unreadable lock is suspected": unreadable(Absent(), state=STOPPED, launched_at=NOW),
    "an instance that shuts down beside an unreadable lock is marked": unreadable(state=SHUTTING_DOWN),
    "an instance that does not shut down beside an unreadable lock is notified": unreadable(
        since=LIMITS.alarm, state=SHUTTING_DOWN
    ),
    "an unreadable lock is kept for the boot limit": unreadable_lock_alone(LIMITS.boot - SECOND),
    "an unreadable lock without a living instance is suspected": unreadable_lock_alone(LIMITS.boot),
    "an unreadable lock is kept for the lease before the second observation": unreadable_lock_alone(
        LIMITS.boot, LIMITS.lease - SECOND
    ),
    "an unreadable lock without a living instance is released at the second observation": unreadable_lock_alone(
        LIMITS.boot, LIMITS.lease
    ),
    "an expired first observation of an unreadable lock does not count": unreadable_lock_alone(
        LIMITS.boot, LIMITS.suspicion + SECOND
    ),
    "an unreadable lock is not released while an instance lives": unreadable(
        a_beat(instance_id=OTHER_ID), launched_at=NOW
    ),
    "an unreadable lock of another lane names that lane": unreadable_lock_alone(
        LIMITS.boot, lane=Lane("dev", "second")
    ),
    "a terminated instance does not keep an unreadable lock": unreadable_lock_alone(
        LIMITS.boot, LIMITS.lease, instances=(an_instance(state=TERMINATED),)
    ),
}

SCHEDULES: dict[str, LaneFacts] = {
    "an instance without a schedule gets one": some_facts(scheduled=frozenset()),
    "the schedule of another instance does not count": some_facts(scheduled=frozenset({OTHER_ID})),
    "an instance that is being terminated gets no schedule": some_facts(
        scheduled=frozenset(), heartbeat=a_beat(LIMITS.lease + SECOND)
    ),
    "an instance that is due within a sweep gets no schedule": some_facts(
        scheduled=frozenset(), instances=(an_instance(deadline=NOW + LIMITS.sweep),)
    ),
    "an instance that is due a second later gets one": some_facts(
        scheduled=frozenset(), instances=(an_instance(deadline=NOW + LIMITS.sweep + SECOND),)
    ),
    "an instance without a deadline in its tag gets no schedule": some_facts(
        scheduled=frozenset(), instances=(an_instance(deadline=None),)
    ),
    "an orphan gets a schedule like any other instance": some_facts(
        lock=Absent(), heartbeat=Absent(), scheduled=frozenset(), suspects={INSTANCE_ID: NOW}
    ),
    "the schedule of a terminated instance is cancelled": some_facts(
        lock=Absent(),
        heartbeat=Absent(),
        instances=(an_instance(state=TERMINATED),),
        scheduled=frozenset({INSTANCE_ID, OTHER_ID}),
    ),
    "the schedule of a missing instance stays until EC2 is asked by id": some_facts(
        instances=(),
        heartbeat=Absent(),
        lock=suspected(Cause.INFRA, LIMITS.absence),
        scheduled=frozenset({INSTANCE_ID}),
    ),
    "schedules that cannot be listed stop nothing else": some_facts(
        scheduled=ReadFailed("503"), heartbeat=a_beat(LIMITS.lease + SECOND)
    ),
}

BOOTS = (seconds(0), seconds(119.9), seconds(120), seconds(179))
SILENCES = (seconds(7199), seconds(7200), seconds(3.75 * 3600))
LENGTHS: dict[str, LaneFacts] = {
    f"a boot of {span}": some_facts(
        lock=held(launching()), heartbeat=Absent(), instances=(an_instance(launched_at=ago(span)),)
    )
    for span in BOOTS
} | {f"a silence of {span}": some_facts(heartbeat=a_beat(span)) for span in SILENCES}

CASES = RUNS | ENDS | RESUMES | ORPHANS | UNREADABLE | SCHEDULES | LENGTHS


@cache
def golden() -> dict[str, str]:
    blocks = GOLDEN.read_text().split("\n\n")
    return {block.split("\n")[0]: block.strip() for block in blocks}


@pytest.mark.golden
@pytest.mark.parametrize("name", CASES)
def test_a_decision_is_the_golden_one(name: str) -> None:
    assert spelled(name) == golden().get(name)


@pytest.mark.golden
def test_there_is_no_golden_decision_without_a_case() -> None:
    assert golden().keys() == CASES.keys()


def spelled(name: str) -> str:
    facts = CASES[name]
    decision = decide(facts, NOW, LIMITS)
    lines = [name, f"  because {decision.reason}", *(f"  {spell(action, facts)}" for action in decision.actions)]
    evidence = " ".join(f"{key}={value}" for key, value in decision.evidence.items())
    return "\n".join([*lines, f"  evidence {evidence}"] if evidence else lines)


def spell(action: Action, facts: LaneFacts) -> str:
    before = facts.lock.run if isinstance(facts.lock, LockHeld) else None
    parts = [
        changes(before, value) if isinstance(value, Run) and before else f"{spec.name}={plain(value)}"
        for spec in fields(action)
        if (value := getattr(action, spec.name)) is not None and value is not False
    ]
    return f"{type(action).__name__} {', '.join(parts)}"


def changes(before: Run, after: Run) -> str:
    pairs = [(spec.name, getattr(before, spec.name), getattr(after, spec.name)) for spec in fields(Run)]
    changed = [f"{name}: {plain(was)} -> {plain(now)}" for name, was, now in pairs if was != now and name != "phases"]
    if after.phases != before.phases:
        kept = len(before.phases) if after.phases[: len(before.phases)] == before.phases else 0
        changed.append(f"phases from {kept}: {plain(after.phases[kept:])}")
    return f"run({'; '.join(changed) or 'as it was'})"


def plain(value: object) -> str:
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, datetime):
        return f"{value:%H:%M:%S}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(plain, value))}]"
    if isinstance(value, (Verdict, Stop, Suspect)):
        return f"{type(value).__name__}({', '.join(plain(getattr(value, spec.name)) for spec in fields(value))})"
    return repr(value)


if __name__ == "__main__":
    GOLDEN.write_text("\n\n".join(map(spelled, CASES)) + "\n")
