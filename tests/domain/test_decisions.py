"""Every rule of the watchdog just before and just at its threshold, with all that the decision says and does.

The decisions are kept in golden/decisions.txt. After a change of the rules: `python -m tests.domain.test_decisions`
writes the file anew; what differs is to be read like code.
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
from chronos_ec2.domain.facts import Absent, Broken, Failed, Held, LaneFacts
from chronos_ec2.domain.instance import InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import Run
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
SHUTTING_DOWN, TERMINATED = InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED
STOPPING, STOPPED, PENDING = InstanceState.STOPPING, InstanceState.STOPPED, InstanceState.PENDING


def ago(span: timedelta) -> datetime:
    return NOW - span


def said(judge: DecidedBy, outcome: Outcome = Outcome.SUCCEEDED, cause: Cause = Cause.COMPLETED) -> Verdict:
    return Verdict(outcome, cause, "so it was", judge)


def silent_since(first_look: timedelta) -> LaneFacts:
    """An agent that is silent, and was found so this long ago."""
    run = a_run(suspect=Suspect(Cause.INFRA, "no heartbeat", ago(first_look)))
    return some_facts(beat=a_beat(LIMITS.lease + SECOND + first_look), state=held(run, ago(first_look)))


def claimed(since: timedelta = LIMITS.lease, **changes: Any) -> Held:
    return held(a_run(**changes), ago(since))


def stopping(since: timedelta, cause: Cause = Cause.REQUESTED) -> Held:
    return held(a_run(stop=Stop(cause, "by hand", ago(since))), ago(since))


def suspected(cause: Cause, since: timedelta, **changes: Any) -> Held:
    return held(a_run(suspect=Suspect(cause, "seen before", ago(since)), **changes), ago(since))


def lost(run: Run | None = None, beat: Any = None, **instance: Any) -> LaneFacts:
    """The run's instance is terminated; two crashes and two preemptions are left, and a checkpoint."""
    run = run or resumable()
    gone = an_instance(state=TERMINATED, attempt=run.attempt, **instance)
    beat = a_beat(checkpoint_age=seconds(60)) if beat is None else beat
    return some_facts(instances=(gone,), state=held(run), beat=beat)


def resumable(**changes: Any) -> Run:
    return a_run(**({"preemptions_left": 2, "crashes_left": 2} | changes))


def absent(**changes: Any) -> LaneFacts:
    return some_facts(**({"instances": (), "beat": a_beat(LIMITS.lease + SECOND)} | changes))


def missed(beat: Any, **run: Any) -> LaneFacts:
    """The run's instance is not listed, and was not when it was looked for before."""
    return absent(state=suspected(Cause.INFRA, LIMITS.absence, **run), beat=beat)


def stray(since: timedelta | None = None, beat: Any = None, **instance: Any) -> LaneFacts:
    suspects = {} if since is None else {INSTANCE_ID: ago(since)}
    return some_facts(instances=(an_instance(**instance),), state=Absent(), beat=beat or Absent(), suspects=suspects)


def unreadable(beat: Any = None, since: timedelta | None = None, **instance: Any) -> LaneFacts:
    suspects = {} if since is None else {INSTANCE_ID: ago(since)}
    return some_facts(
        instances=(an_instance(**instance),),
        state=Broken("not JSON", '"e-1"', UNREADABLE_AT),
        beat=Absent(),
        beats={RUN_ID: beat or a_beat()},
        suspects=suspects,
    )


def nothing_but_an_unreadable_record(age: timedelta, since: timedelta | None = None, **changes: Any) -> LaneFacts:
    broken = Broken("not JSON", '"e-1"', ago(age))
    suspects = {} if since is None else {broken.etag: ago(since)}
    return some_facts(**({"instances": (), "state": broken, "beat": Absent(), "suspects": suspects} | changes))


RUNS: dict[str, LaneFacts] = {
    "a healthy run is announced": some_facts(),
    "a healthy second attempt is announced as resumed": some_facts(
        state=claimed(attempt=2), instances=(an_instance(attempt=2),), beat=a_beat(attempt=2)
    ),
    "a suspicion is cleared when the work moves again": some_facts(state=suspected(Cause.HUNG, LIMITS.progress)),
    "an instance that boots and was missed is found again": some_facts(
        state=held(launching(suspect=Suspect(Cause.INFRA, "not in the list", ago(SECOND)))),
        instances=(an_instance(launched_at=ago(SECOND)),),
        beat=Absent(),
    ),
    "an agent is given the lease": some_facts(beat=a_beat(LIMITS.lease)),
    "an agent is suspected one second after the lease": some_facts(beat=a_beat(LIMITS.lease + SECOND)),
    "an agent that is silent is not judged before the second look": silent_since(LIMITS.second_look - SECOND),
    "an agent is lost at the second look": silent_since(LIMITS.second_look),
    "without any beat the claim counts: the lease": some_facts(beat=Absent(), state=claimed(LIMITS.lease)),
    "without any beat the claim counts: one second over": some_facts(
        beat=Absent(), state=claimed(LIMITS.lease + SECOND)
    ),
    "an unreadable beat is still a beat: the lease": some_facts(beat=Broken("not JSON", '"b"', ago(LIMITS.lease))),
    "an unreadable beat is still a beat: one second over": some_facts(
        beat=Broken("not JSON", '"b"', ago(LIMITS.lease + SECOND))
    ),
    "the beat of another run is none": some_facts(beat=a_beat(run_id=OTHER_RUN)),
    "the beat of another attempt is none": some_facts(beat=a_beat(attempt=2)),
    "the beat of another instance is none": some_facts(beat=a_beat(instance_id=OTHER_ID)),
    "a beat that could not be read kills nobody": some_facts(beat=Failed("503")),
    "a beat that could not be read clears no suspicion": some_facts(
        beat=Failed("503"), state=suspected(Cause.HUNG, LIMITS.progress)
    ),
    "work may rest for its limit": some_facts(beat=a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(5))),
    "work that rests one second longer is suspected": some_facts(
        beat=a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(4))
    ),
    "a beat from the future takes nothing from the time of a hang": some_facts(
        beat=a_beat(seconds(-60), stalled_for=LIMITS.progress + SECOND)
    ),
    "a suspicion of another kind does not count for a hang": some_facts(
        beat=a_beat(stalled_for=LIMITS.progress), state=suspected(Cause.INFRA, LIMITS.second_look)
    ),
    "a hang that was seen in a time to come was seen when the record was written": some_facts(
        beat=a_beat(stalled_for=LIMITS.progress),
        state=held(a_run(suspect=Suspect(Cause.HUNG, "forged", ago(timedelta(days=-3650)))), ago(LIMITS.second_look)),
    ),
    "a hang has until the second look": some_facts(
        beat=a_beat(stalled_for=LIMITS.progress), state=suspected(Cause.HUNG, LIMITS.second_look - SECOND)
    ),
    "a hang ends at the second look": some_facts(
        beat=a_beat(stalled_for=LIMITS.progress), state=suspected(Cause.HUNG, LIMITS.second_look)
    ),
    "a boot has its time": some_facts(
        state=held(launching()), beat=Absent(), instances=(an_instance(launched_at=ago(LIMITS.boot - SECOND)),)
    ),
    "a boot that takes longer has failed": some_facts(
        state=held(launching()), beat=Absent(), instances=(an_instance(launched_at=ago(LIMITS.boot)),)
    ),
    "a stop of what should have booted by now has nobody to wait for": some_facts(
        state=held(launching(stop=Stop(Cause.REQUESTED, "by hand", NOW)), NOW),
        beat=Absent(),
        instances=(an_instance(launched_at=ago(LIMITS.boot)),),
    ),
    "a stop of what boots has its grace": some_facts(
        state=held(launching(stop=Stop(Cause.REQUESTED, "by hand", NOW)), NOW),
        beat=Absent(),
        instances=(an_instance(launched_at=ago(LIMITS.boot - SECOND)),),
    ),
    "an instance is booting while it is pending too": some_facts(
        state=held(launching()), beat=Absent(), instances=(an_instance(state=PENDING, launched_at=ago(seconds(5))),)
    ),
    "a deadline is near one grace before": some_facts(state=claimed(deadline=NOW + LIMITS.grace)),
    "a deadline is not near one second earlier": some_facts(state=claimed(deadline=NOW + LIMITS.grace + SECOND)),
    "a deadline is past": some_facts(state=claimed(deadline=NOW)),
    "a deadline is past in the tag alone": some_facts(instances=(an_instance(deadline=NOW),)),
    "an instance without a deadline in its tags has that of the record": some_facts(
        state=claimed(deadline=NOW), instances=(an_instance(deadline=None),)
    ),
    "a cap is near": some_facts(state=claimed(max_cost_usd=1.0625, price_per_hour_usd=1.03125)),
    "a cap is not near": some_facts(state=claimed(max_cost_usd=1.0667, price_per_hour_usd=1.03125)),
    "a cap is reached exactly one grace from now": some_facts(
        state=claimed(max_cost_usd=30.0, price_per_hour_usd=30.0),
        instances=(an_instance(launched_at=ago(timedelta(hours=1) - LIMITS.grace)),),
    ),
    "a cap is reached exactly": some_facts(state=claimed(max_cost_usd=30.0, price_per_hour_usd=30.0)),
    "a cap of an instance without a price cannot be judged": some_facts(
        state=claimed(max_cost_usd=0.01, price_per_hour_usd=None)
    ),
    "a stop has its grace": some_facts(state=stopping(LIMITS.grace - SECOND)),
    "a stop by a person is enforced": some_facts(state=stopping(LIMITS.grace)),
    "a stop that was asked for in a time to come was asked for when the record was written": some_facts(
        state=held(a_run(stop=Stop(Cause.REQUESTED, "forged", ago(timedelta(days=-3650)))), ago(LIMITS.grace))
    ),
    "a stop by a limit is enforced": some_facts(state=stopping(LIMITS.grace, Cause.OVER_BUDGET)),
    "an agent that died is not given the grace of a stop": some_facts(
        state=stopping(SECOND), beat=a_beat(LIMITS.lease + SECOND)
    ),
    "an agent that is through has its grace": some_facts(
        state=claimed(LIMITS.grace - SECOND, status=Status.CLEANUP, verdict=said(DecidedBy.AGENT))
    ),
    "an agent that stays longer is ended": some_facts(
        state=claimed(LIMITS.grace, status=Status.CLEANUP, verdict=said(DecidedBy.AGENT))
    ),
    "the condemned are terminated until they are gone": some_facts(
        state=claimed(status=Status.FAILED, verdict=said(DecidedBy.WATCHDOG, Outcome.FAILED, Cause.HUNG))
    ),
    "a stopping instance is terminated": some_facts(instances=(an_instance(state=STOPPING),)),
    "a stopped instance is terminated": some_facts(instances=(an_instance(state=STOPPED),)),
    "hold keeps a dead agent's instance": some_facts(
        instances=(an_instance(hold=True),), beat=a_beat(LIMITS.lease + SECOND)
    ),
    "hold does not keep an instance past the deadline": some_facts(instances=(an_instance(hold=True, deadline=NOW),)),
}

ENDS: dict[str, LaneFacts] = {
    "an instance that shuts down without a word is noted": some_facts(instances=(an_instance(state=SHUTTING_DOWN),)),
    "a suspicion of a hang is not one of shutting down": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),), state=suspected(Cause.HUNG, LIMITS.alarm)
    ),
    **{
        f"an instance without a word has been shutting down {name}": some_facts(
            instances=(an_instance(state=SHUTTING_DOWN),), state=suspected(Cause.PREEMPTED, since)
        )
        for name, since in {
            "for less than the time of force": LIMITS.force - SECOND,
            "for the time of force": LIMITS.force,
            "for less than the time of the alarm": LIMITS.alarm - SECOND,
            "for the time of the alarm": LIMITS.alarm,
            "for three sweeps more": LIMITS.alarm + 3 * LIMITS.sweep,
        }.items()
    },
    "an instance without a word has been shutting down since a time to come": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),),
        state=held(a_run(suspect=Suspect(Cause.PREEMPTED, "forged", ago(timedelta(days=-3650)))), ago(LIMITS.force)),
    ),
    "an instance with a verdict has been shutting down for the time of force": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),), state=claimed(LIMITS.force, verdict=said(DecidedBy.AGENT))
    ),
    "an instance with a verdict that does not shut down is told": some_facts(
        instances=(an_instance(state=SHUTTING_DOWN),), state=claimed(LIMITS.alarm, verdict=said(DecidedBy.AGENT))
    ),
    "the end of a run that had a verdict": lost(a_run(verdict=said(DecidedBy.AGENT))),
    "the end of a run whose instance went without a word": lost(a_run()),
    "the end of a run that nobody claimed": lost(launching(instance_id=INSTANCE_ID)),
    "the end of a run that was being stopped": lost(a_run(stop=Stop(Cause.REQUESTED, "by hand", NOW))),
    "an instance that is not listed is missed": absent(),
    "an instance that is not listed is missed anew after a hang": absent(state=suspected(Cause.HUNG, LIMITS.absence)),
    "a terminated instance of an earlier attempt says nothing of this one": absent(
        state=held(a_run(attempt=2)), instances=(an_instance(state=TERMINATED),)
    ),
    "a terminated instance that the record does not name says nothing of the one that it names": absent(
        instances=(an_instance(instance_id=OTHER_ID, state=TERMINATED),)
    ),
    "an instance that is missed has until the second look": absent(
        state=suspected(Cause.INFRA, LIMITS.absence - SECOND)
    ),
    "an instance that is missed at the second look is gone": absent(state=suspected(Cause.INFRA, LIMITS.absence)),
    "an instance that is missed and beats is not gone": missed(a_beat(LIMITS.lease)),
    "an instance that is missed and whose beat is unreadable is not gone": missed(
        Broken("not JSON", '"b"', ago(LIMITS.lease))
    ),
    "an instance that is missed and whose beat could not be read is not gone": missed(Failed("503")),
    "an instance that is missed is not gone as long as its work may rest": missed(
        a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(5))
    ),
    "an instance that is missed and hangs is gone": missed(
        a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(4))
    ),
    "an instance that is missed and beats past its deadline is gone": missed(a_beat(), deadline=NOW),
    "an instance that is missed while another one beats is gone": missed(a_beat(instance_id=OTHER_ID)),
    "an instance that is missed and beats is not followed by another": missed(
        a_beat(checkpoint_age=seconds(60)), crashes_left=1
    ),
    "an instance that is missed since a time to come is missed since the record was written": absent(
        state=held(a_run(suspect=Suspect(Cause.INFRA, "forged", ago(timedelta(days=-3650)))), ago(LIMITS.absence))
    ),
    "a launch has the time of a boot to name its instance": absent(
        state=held(launching(), ago(LIMITS.boot - SECOND)), beat=Absent()
    ),
    "a launch that names none is missed": absent(state=held(launching(), ago(LIMITS.boot)), beat=Absent()),
    "a launch that was missed once is not one under way": absent(
        state=held(launching(suspect=Suspect(Cause.INFRA, "seen before", ago(LIMITS.absence))), ago(LIMITS.absence)),
        beat=Absent(),
    ),
    "a launch with a verdict is not one under way": absent(
        state=held(launching(verdict=said(DecidedBy.AGENT)), NOW), beat=Absent()
    ),
    "a launch that named its instance is not one under way": absent(
        state=held(launching(instance_id=INSTANCE_ID), NOW), beat=Absent()
    ),
    "a second attempt is launched, again and again": absent(state=held(launching(attempt=2), NOW), beat=Absent()),
    "a second attempt that is to stop is not launched": absent(
        state=held(launching(attempt=2, stop=Stop(Cause.REQUESTED, "by hand", NOW)), NOW), beat=Absent()
    ),
    "a lock is kept for an instance of an earlier attempt": some_facts(
        state=held(a_run(attempt=2)),
        instances=(an_instance(state=TERMINATED, attempt=2), an_instance(instance_id=OTHER_ID, launched_at=NOW)),
    ),
}

RESUMES: dict[str, LaneFacts] = {
    "a lost attempt goes on": lost(),
    "a lost attempt adds to the money spent": lost(resumable(spent_usd=1.0)),
    "a preempted attempt goes on": lost(resumable(verdict=said(DecidedBy.AGENT, Outcome.FAILED, Cause.PREEMPTED))),
    "an attempt whose instance EC2 took back without a word was preempted": lost(reclaimed=True),
    "an attempt whose instance EC2 took back spends no crash": lost(resumable(crashes_left=0), reclaimed=True),
    "an attempt whose instance EC2 took back during its boot was preempted too": lost(
        resumable(status=Status.INITIALIZATION, current_step="launching", attempt=2),
        beat=a_beat(attempt=1, checkpoint_age=seconds(60)),
        reclaimed=True,
    ),
    "an attempt whose instance EC2 took back after its last word ended as it said": lost(
        a_run(verdict=said(DecidedBy.AGENT)), reclaimed=True
    ),
    "what EC2 took back of an earlier attempt is not this one": some_facts(
        instances=(an_instance(state=TERMINATED, reclaimed=True), an_instance(attempt=2, state=TERMINATED)),
        state=held(resumable(attempt=2)),
        beat=a_beat(attempt=2, checkpoint_age=seconds(60)),
    ),
    "an attempt without a price goes on": lost(resumable(price_per_hour_usd=None, spent_usd=1.0)),
    "an attempt that is not listed any more goes on": absent(
        state=suspected(Cause.INFRA, LIMITS.absence, crashes_left=1),
        beat=a_beat(LIMITS.lease + SECOND, checkpoint_age=seconds(0)),
    ),
    "the last crash of the budget": lost(resumable(crashes_left=1)),
    "one crash more than the budget": lost(resumable(crashes_left=0)),
    "one preemption more than the budget": lost(
        resumable(preemptions_left=0, verdict=said(DecidedBy.AGENT, Outcome.FAILED, Cause.PREEMPTED))
    ),
    "a hang is not resumed": lost(resumable(verdict=said(DecidedBy.WATCHDOG, Outcome.FAILED, Cause.HUNG))),
    "without a checkpoint nothing is resumed": lost(beat=a_beat()),
    "without a beat nothing is resumed": lost(beat=Absent()),
    "what EC2 took back begins anew without a checkpoint": lost(beat=a_beat(), reclaimed=True),
    "what EC2 took back before its first beat begins anew": lost(beat=Absent(), reclaimed=True),
    "the checkpoint of another run is none": lost(beat=a_beat(run_id=OTHER_RUN, checkpoint_age=seconds(60))),
    "the checkpoint of an earlier attempt will do": lost(
        resumable(attempt=2), beat=a_beat(attempt=1, checkpoint_age=seconds(60))
    ),
    "whether there is a checkpoint could not be read": lost(beat=Failed("503")),
    "whether there is a checkpoint does not matter without a budget": lost(a_run(), beat=Failed("503")),
    "a run that is to stop is not resumed": lost(resumable(stop=Stop(Cause.OVER_BUDGET, "cap", NOW))),
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
    "a run without phases has cost since it was made": lost(
        resumable(price_per_hour_usd=4.0, phases=((Status.TRAINING, NOW),))
    ),
    "there is money for a boot": lost(resumable(max_cost_usd=9.0, price_per_hour_usd=4.0, spent_usd=2.0)),
}

STRAYS: dict[str, LaneFacts] = {
    "nothing at all": some_facts(instances=(), state=Absent(), beat=Absent()),
    "an instance without a record has its grace": stray(launched_at=ago(LIMITS.grace - SECOND)),
    "an instance without a record is suspected": stray(launched_at=ago(LIMITS.grace)),
    "a stray has until the second look": stray(LIMITS.second_look - SECOND),
    "a stray ends at the second look": stray(LIMITS.second_look),
    "the message about a stray may delay its end for three sweeps": stray(
        LIMITS.second_look + 3 * LIMITS.sweep - SECOND
    ),
    "a stray ends without a message after three sweeps": stray(LIMITS.second_look + 3 * LIMITS.sweep),
    "a first look at a stray counts for so long": stray(LIMITS.suspicion),
    "a first look at a stray that is older is none": stray(LIMITS.suspicion + SECOND),
    "hold keeps a stray": stray(LIMITS.second_look, hold=True),
    "a stray past its deadline has no second look": stray(deadline=NOW),
    "a stray one second before its deadline has": stray(deadline=NOW + SECOND),
    "hold does not keep a stray past its deadline": stray(deadline=NOW, hold=True),
    "a stray that shuts down is noted": stray(state=SHUTTING_DOWN, deadline=NOW),
    "a stray that is slow to shut down is ended by force": stray(LIMITS.force, state=SHUTTING_DOWN),
    "a stray that does not shut down is told": stray(LIMITS.alarm, state=SHUTTING_DOWN),
    "a stray that shuts down is never noted anew": stray(LIMITS.suspicion + SECOND, state=SHUTTING_DOWN),
    "a terminated instance is no stray": stray(LIMITS.second_look, state=TERMINATED),
    "two strays are judged one by one": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID, hold=True)), state=Absent(), beat=Absent()
    ),
    "an instance of another run is a stray beside a healthy run": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID, run_id=OTHER_RUN))
    ),
    "a stray beside a dead run is judged too, and the evidence of both is kept": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID, run_id=OTHER_RUN)), beat=Absent()
    ),
    "an instance of another attempt is a stray beside a healthy run": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID, attempt=2))
    ),
    "an instance that the record does not name is a stray beside the one that it names": some_facts(
        instances=(an_instance(), an_instance(instance_id=OTHER_ID))
    ),
    "without a readable state a deadline in a tag counts": some_facts(
        state=Failed("503"), instances=(an_instance(deadline=NOW),)
    ),
    "without a readable state nothing else counts": some_facts(
        state=Failed("503"), beat=Absent(), instances=(an_instance(deadline=None), an_instance(instance_id=OTHER_ID))
    ),
    "without a readable state what shuts down is left alone": some_facts(
        state=Failed("503"), instances=(an_instance(deadline=NOW, state=SHUTTING_DOWN),)
    ),
}

UNREADABLE: dict[str, LaneFacts] = {
    "a live agent beside an unreadable record stays": unreadable(),
    "a live agent beside an unreadable record has the lease": unreadable(a_beat(LIMITS.lease)),
    "work that rests is suspected as long as the agent has the lease": unreadable(
        a_beat(LIMITS.lease, stalled_for=LIMITS.progress)
    ),
    "a silent agent beside an unreadable record is suspected": unreadable(a_beat(LIMITS.lease + SECOND)),
    "a silent agent beside an unreadable record has until the second look": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.second_look - SECOND
    ),
    "a silent agent beside an unreadable record is ended at the second look": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.second_look
    ),
    "the message about it may delay the end for three sweeps": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.second_look + 3 * LIMITS.sweep - SECOND
    ),
    "the end comes without a message after three sweeps": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.second_look + 3 * LIMITS.sweep
    ),
    "a silence of long ago is no first look at this one": unreadable(
        a_beat(LIMITS.lease + SECOND), LIMITS.suspicion + SECOND
    ),
    "without a beat it has the time of a boot": unreadable(Absent(), launched_at=ago(LIMITS.boot)),
    "without a beat it is suspected one second later": unreadable(Absent(), launched_at=ago(LIMITS.boot + SECOND)),
    "without a beat it is ended at the second look": unreadable(
        Absent(), LIMITS.second_look, launched_at=ago(LIMITS.boot + SECOND)
    ),
    "without the id of a run in its tags it has the time of a boot too": unreadable(
        since=LIMITS.second_look, run_id=None, launched_at=ago(LIMITS.boot)
    ),
    "the beat of another instance is none here either": unreadable(a_beat(instance_id=OTHER_ID)),
    "a beat that could not be read ends nobody here either": unreadable(Failed("503"), LIMITS.second_look),
    "a beat that is unreadable too is a sign of life": unreadable(
        Broken("schema_version 2", '"b"', ago(LIMITS.lease)), LIMITS.second_look
    ),
    "a beat that is unreadable too has the lease": unreadable(
        Broken("schema_version 2", '"b"', ago(LIMITS.lease + SECOND)), LIMITS.second_look
    ),
    "of two instances beside an unreadable record each is judged by its own beat": some_facts(
        instances=(an_instance(instance_id=OTHER_ID, run_id=OTHER_RUN), an_instance()),
        state=Broken("not JSON", '"e-1"', UNREADABLE_AT),
        beat=Absent(),
        beats={OTHER_RUN: Absent(), RUN_ID: a_beat()},
        suspects={OTHER_ID: ago(LIMITS.second_look), INSTANCE_ID: ago(LIMITS.second_look)},
    ),
    "work beside an unreadable record may rest for its limit": unreadable(
        a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(5))
    ),
    "work beside an unreadable record that rests longer is suspected": unreadable(
        a_beat(seconds(5), stalled_for=LIMITS.progress - seconds(4))
    ),
    "a hang beside an unreadable record has until the second look": unreadable(
        a_beat(stalled_for=LIMITS.progress), LIMITS.second_look - SECOND
    ),
    "a hang beside an unreadable record ends at the second look": unreadable(
        a_beat(stalled_for=LIMITS.progress), LIMITS.second_look
    ),
    "the message about that hang may not delay the end for ever": unreadable(
        a_beat(stalled_for=LIMITS.progress), LIMITS.second_look + 3 * LIMITS.sweep
    ),
    "hold keeps an instance beside an unreadable record": unreadable(Absent(), hold=True),
    "a deadline in the tag counts beside an unreadable record": unreadable(deadline=NOW),
    "hold does not keep it past its deadline": unreadable(deadline=NOW, hold=True),
    "a stopped instance beside an unreadable record is suspected": unreadable(Absent(), state=STOPPED, launched_at=NOW),
    "an instance that shuts down beside an unreadable record is noted": unreadable(state=SHUTTING_DOWN),
    "an instance that does not shut down beside an unreadable record is told": unreadable(
        since=LIMITS.alarm, state=SHUTTING_DOWN
    ),
    "an unreadable record is kept for the time of a boot": nothing_but_an_unreadable_record(LIMITS.boot - SECOND),
    "an unreadable record beside which nothing lives is suspected": nothing_but_an_unreadable_record(LIMITS.boot),
    "an unreadable record has the lease until the second look": nothing_but_an_unreadable_record(
        LIMITS.boot, LIMITS.lease - SECOND
    ),
    "an unreadable record is set aside when nothing lives at the second look": nothing_but_an_unreadable_record(
        LIMITS.boot, LIMITS.lease
    ),
    "what nobody found alive long ago is looked for twice again": nothing_but_an_unreadable_record(
        LIMITS.boot, LIMITS.suspicion + SECOND
    ),
    "an unreadable record is not set aside as long as something lives": unreadable(
        a_beat(instance_id=OTHER_ID), launched_at=NOW
    ),
    "an unreadable record of another lane names that lane": nothing_but_an_unreadable_record(
        LIMITS.boot, lane=Lane("dev", "second")
    ),
    "a terminated instance does not keep an unreadable record": nothing_but_an_unreadable_record(
        LIMITS.boot, LIMITS.lease, instances=(an_instance(state=TERMINATED),)
    ),
}

SCHEDULES: dict[str, LaneFacts] = {
    "an instance without a schedule is given one": some_facts(armed=frozenset()),
    "the schedule of another is not its own": some_facts(armed=frozenset({OTHER_ID})),
    "an instance that is being ended is not scheduled any more": some_facts(
        armed=frozenset(), beat=a_beat(LIMITS.lease + SECOND)
    ),
    "one that is due within a sweep is not scheduled any more": some_facts(
        armed=frozenset(), instances=(an_instance(deadline=NOW + LIMITS.sweep),)
    ),
    "one that is due a second later is": some_facts(
        armed=frozenset(), instances=(an_instance(deadline=NOW + LIMITS.sweep + SECOND),)
    ),
    "one without a deadline in its tag cannot be scheduled": some_facts(
        armed=frozenset(), instances=(an_instance(deadline=None),)
    ),
    "an instance without a record is scheduled like any other": some_facts(
        state=Absent(), beat=Absent(), armed=frozenset(), suspects={INSTANCE_ID: NOW}
    ),
    "the schedule of a terminated instance is taken back": some_facts(
        state=Absent(),
        beat=Absent(),
        instances=(an_instance(state=TERMINATED),),
        armed=frozenset({INSTANCE_ID, OTHER_ID}),
    ),
    "the schedule of an instance that is missed for good stays until EC2 is asked for it": some_facts(
        instances=(), beat=Absent(), state=suspected(Cause.INFRA, LIMITS.absence), armed=frozenset({INSTANCE_ID})
    ),
    "schedules that cannot be listed keep nobody from the rest": some_facts(
        armed=Failed("503"), beat=a_beat(LIMITS.lease + SECOND)
    ),
}

BOOTS = (seconds(0), seconds(119.9), seconds(120), seconds(179))
SILENCES = (seconds(7199), seconds(7200), seconds(3.75 * 3600))
LENGTHS: dict[str, LaneFacts] = {
    f"a boot of {span}": some_facts(
        state=held(launching()), beat=Absent(), instances=(an_instance(launched_at=ago(span)),)
    )
    for span in BOOTS
} | {f"a silence of {span}": some_facts(beat=a_beat(span)) for span in SILENCES}

CASES = RUNS | ENDS | RESUMES | STRAYS | UNREADABLE | SCHEDULES | LENGTHS


@cache
def golden() -> dict[str, str]:
    blocks = GOLDEN.read_text().split("\n\n")
    return {block.split("\n")[0]: block.strip() for block in blocks}


@pytest.mark.parametrize("name", CASES)
def test_a_decision_is_the_golden_one(name: str) -> None:
    assert spelled(name) == golden().get(name)


def test_there_is_no_golden_decision_without_a_case() -> None:
    assert golden().keys() == CASES.keys()


def spelled(name: str) -> str:
    facts = CASES[name]
    decision = decide(facts, NOW, LIMITS)
    lines = [name, f"  because {decision.reason}", *(f"  {spell(action, facts)}" for action in decision.actions)]
    evidence = " ".join(f"{key}={value}" for key, value in decision.evidence.items())
    return "\n".join([*lines, f"  evidence {evidence}"] if evidence else lines)


def spell(action: Action, facts: LaneFacts) -> str:
    before = facts.state.run if isinstance(facts.state, Held) else None
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
