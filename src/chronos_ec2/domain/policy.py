"""The watchdog's judgement: `decide(facts, now, limits)` is pure and total, and says why.

Three principles stand above the rules:
  * absence of evidence is not death: a failed read never kills;
  * the ids to act on come from EC2's list by tag, never from a document;
  * an ambiguous case needs two looks, and the second one reads everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from chronos_ec2.domain.cost import cost_so_far
from chronos_ec2.domain.facts import Absent, Beat, Broken, Failed, Held, LaneFacts
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.run import Cause, Judge, Outcome, Run, Status, Stop, Suspect, Verdict


@dataclass(frozen=True, slots=True)
class Record:
    """Write this run into the lock, if nobody wrote since it was read."""

    run: Run


@dataclass(frozen=True, slots=True)
class Terminate:
    """End this instance; by force when it does not obey.

    With `once_told` not before the message that precedes it is out: nothing but the instance tells of the incident.
    """

    instance_id: str
    cause: Cause
    force: bool = False
    once_told: bool = False


@dataclass(frozen=True, slots=True)
class MarkStray:
    """Note that this instance has no record: the first of two looks."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class Conclude:
    """The run's instances are gone: write its receipt and final record, tell people, release the lock."""

    run: Run


@dataclass(frozen=True, slots=True)
class Relaunch:
    """Have an instance started for the run's new attempt; asking again is no harm."""

    run: Run


@dataclass(frozen=True, slots=True)
class ReleaseBroken:
    """Set an unreadable lock aside: nothing of this lane is alive any more."""

    etag: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people, once. `incident` is the run id, or what else names the incident."""

    kind: Kind
    incident: str
    text: str
    run: Run | None = None


Deed = Record | Terminate | MarkStray | Conclude | Relaunch | ReleaseBroken
Action = Deed | Notify


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one lane, in this order, and why."""

    reason: str
    actions: tuple[Action, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Decision) -> Decision:
        return Decision(
            f"{self.reason}; {other.reason}", self.actions + other.actions, {**self.evidence, **other.evidence}
        )


def decide(facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """What to do about one lane. `now` is AWS time, aware UTC."""
    alive = tuple(instance for instance in facts.instances if instance.alive)
    match facts.state:
        case Failed(problem):
            decision = Decision(f"state could not be read ({problem}): only deadlines count")
            return _each(decision, alive, lambda box: _past_its_tag(box, now))
        case Absent():
            decision = Decision("no run holds the lane")
            return _each(decision, alive, lambda box: _stray(box, facts, now, limits))
        case Broken():
            return _judge_broken(facts.state, facts, alive, now, limits)
        case Held(run):
            boxes = tuple(box for box in alive if belongs(box, run))
            strays = tuple(box for box in alive if not belongs(box, run))
            decision = _judge_held(facts.state, boxes, facts, now, limits)
            return _each(decision, strays, lambda box: _stray(box, facts, now, limits))
        case _:
            assert_never(facts.state)


def _each(decision: Decision, boxes: tuple[Instance, ...], judge: Callable[[Instance], Decision | None]) -> Decision:
    for box in boxes:
        if judged := judge(box):
            decision += judged
    return decision


def belongs(box: Instance, run: Run) -> bool:
    """Whether this is the instance of the run's current attempt. Tags decide; the record only narrows."""
    return box.run_id == run.run_id and box.attempt == run.attempt and run.instance_id in (None, box.instance_id)


# --- a lane that a run holds -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Case:
    """One instance of the run that holds the lane, and all that is known about both."""

    held: Held
    box: Instance
    facts: LaneFacts
    now: datetime
    limits: Limits

    @property
    def run(self) -> Run:
        return self.held.run

    @property
    def deadline(self) -> datetime:
        return min(self.run.deadline, self.box.deadline or self.run.deadline)

    @property
    def beat(self) -> Beat | None:
        """The newest beat, if it is one of this run, attempt and instance."""
        beat = self.facts.beat
        if not isinstance(beat, Beat):
            return None
        mine = (self.run.run_id, self.run.attempt, self.box.instance_id)
        heartbeat = beat.heartbeat
        return beat if (heartbeat.run_id, heartbeat.attempt, heartbeat.instance_id) == mine else None

    def condemn(self, outcome: Outcome, cause: Cause, message: str) -> Decision:
        """Write the verdict, then terminate. The conditional write is also the last check that nothing changed."""
        verdict = Verdict(outcome, cause, message, Judge.WATCHDOG)
        return Decision(
            message,
            (Record(self.run.end(verdict, self.now)), Terminate(self.box.instance_id, cause)),
            {"run_id": self.run.run_id, "attempt": str(self.run.attempt), "instance_id": self.box.instance_id},
        )


def _judge_held(held: Held, boxes: tuple[Instance, ...], facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    if not boxes:
        return _judge_without_instance(held, facts, now, limits)
    decision = Decision(f"run {held.run.run_id} is in {held.run.status}")
    for box in boxes:
        case = _Case(held, box, facts, now, limits)
        for rule in _RULES:
            if judged := rule(case):
                decision += judged
                break
    suspect = held.run.suspect
    if suspect and suspect.cause is Cause.INFRA and not any(isinstance(action, Record) for action in decision.actions):
        # It is listed again: a suspicion that stayed would be the first of two looks at the next absence.
        found = replace(held.run, suspect=None, updated_at=now)
        decision += Decision("the instance is listed again", (Record(found),))
    return decision


def _leaving(case: _Case) -> Decision | None:
    if case.box.state is not InstanceState.SHUTTING_DOWN:
        return None
    if case.run.verdict is not None:
        return _slow_to_die(case.box, case.run.verdict.cause, case.held.written_at, case.now, case.limits, case.run)
    suspect = case.run.suspect
    if suspect is None or suspect.cause is not Cause.PREEMPTED:
        seen = replace(case.run, suspect=Suspect(Cause.PREEMPTED, "the instance is shutting down", case.now))
        return Decision(f"{case.box.instance_id} is shutting down without a word", (Record(seen),))
    return _slow_to_die(case.box, Cause.INFRA, suspect.first_seen, case.now, case.limits, case.run)


def _slow_to_die(
    box: Instance, cause: Cause, since: datetime, now: datetime, limits: Limits, run: Run | None
) -> Decision:
    """Never stop asking, ask by force, tell people; never take it for gone before EC2 says so."""
    text = f"{box.instance_id} has been shutting down for {_human(now - since)}"
    decision = Decision(text)
    if now - since >= limits.force:
        by_force = Terminate(box.instance_id, cause, force=True, once_told=_telling(now - since, limits.alarm, limits))
        decision += Decision("by force", (by_force,))
    if now - since >= limits.alarm:
        incident = box.instance_id if run is None else run.run_id
        decision = Decision("told", (Notify(Kind.LEAK, incident, text, run),)) + decision
    return decision


def _telling(overdue: timedelta, limit: timedelta, limits: Limits) -> bool:
    """Whether telling people may still put off an end that is due since `limit`: some sweeps long, and no longer."""
    return overdue - limit < 3 * limits.sweep


def _stopped(case: _Case) -> Decision | None:
    if case.box.state in (InstanceState.STOPPING, InstanceState.STOPPED):
        return case.condemn(
            Outcome.FAILED, Cause.INFRA, f"the instance is {case.box.state}, and its volume still costs"
        )
    return None


def _condemned(case: _Case) -> Decision | None:
    verdict = case.run.verdict
    if verdict and verdict.judge is Judge.WATCHDOG:
        return Decision(f"condemned: {verdict.message}", (Terminate(case.box.instance_id, verdict.cause),))
    return None


def _past_deadline(case: _Case) -> Decision | None:
    if case.now >= case.deadline:
        return case.condemn(
            Outcome.FAILED, Cause.OVER_DEADLINE, f"past the deadline {case.deadline:%Y-%m-%d %H:%M:%SZ}"
        )
    return None


def _over_budget(case: _Case) -> Decision | None:
    cap, cost = case.run.max_cost_usd, cost_so_far(case.run, case.box.launched_at, case.now)
    if cap is not None and cost is not None and cost >= cap:
        return case.condemn(Outcome.FAILED, Cause.OVER_BUDGET, f"${cost:.2f} spent, the cap is ${cap:.2f}")
    return None


def _held_for_debugging(case: _Case) -> Decision | None:
    return Decision(f"{case.box.instance_id} carries Hold=true until its deadline") if case.box.hold else None


def _lingering(case: _Case) -> Decision | None:
    if case.run.verdict is None:
        return None
    if case.now - case.held.written_at < case.limits.grace:
        return Decision("the agent has said its last word and has the grace to leave")
    return Decision(
        f"the run ended ({case.run.verdict.cause}), but its instance is still up after the grace",
        (Terminate(case.box.instance_id, case.run.verdict.cause),),
    )


def _stop_ignored(case: _Case) -> Decision | None:
    stop = case.run.stop
    if stop is None:
        return None
    if case.now - stop.requested_at < case.limits.grace:
        return Decision(f"a graceful stop is under way: {stop.reason}")
    return case.condemn(stop.outcome, stop.cause, f"{stop.reason}; not stopped within the grace")


def _never_claimed(case: _Case) -> Decision | None:
    if case.run.claimed:
        return None
    age = case.now - case.box.launched_at
    if age < case.limits.boot:
        return Decision(f"booting for {_human(age)}")
    return case.condemn(
        Outcome.FAILED, Cause.INFRA, f"no agent claimed the run within {_human(case.limits.boot)} of its launch"
    )


def _agent_lost(case: _Case) -> Decision | None:
    if not case.run.claimed or isinstance(case.facts.beat, Failed):
        return None
    if case.beat:
        last = case.beat.received_at
    elif isinstance(case.facts.beat, Broken):
        last = case.facts.beat.written_at
    else:
        last = case.held.written_at
    if (silence := case.now - last) <= case.limits.lease:
        return None
    return case.condemn(
        Outcome.FAILED, Cause.INFRA, f"no heartbeat for {_human(silence)}: the agent or its box is dead"
    )


def _hung(case: _Case) -> Decision | None:
    beat, suspect = case.beat, case.run.suspect
    if beat is None:
        return None
    stalled = beat.heartbeat.stalled_for + max(case.now - beat.received_at, timedelta(0))
    if stalled <= case.limits.progress:
        return None
    text = f"no progress in {case.run.status} for {_human(stalled)} (step {beat.heartbeat.step}), the box alive"
    if suspect is None or suspect.cause is not Cause.HUNG:
        seen = replace(case.run, suspect=Suspect(Cause.HUNG, text, case.now), updated_at=case.now)
        return Decision(f"suspect: {text}", (Record(seen),))
    if case.now - suspect.first_seen < case.limits.second_look:
        return Decision(f"suspect, before the second look: {text}")
    return case.condemn(Outcome.FAILED, Cause.HUNG, text)


def _near_a_limit(case: _Case) -> Decision | None:
    """Ask for a graceful end early enough that the hard limit need not be used."""
    soon = case.now + case.limits.grace
    cap, cost = case.run.max_cost_usd, cost_so_far(case.run, case.box.launched_at, soon)
    if soon >= case.deadline:
        stop = Stop(Cause.OVER_DEADLINE, f"the deadline {case.deadline:%Y-%m-%d %H:%M:%SZ} is near", case.now)
    elif cap is not None and cost is not None and cost >= cap:
        stop = Stop(Cause.OVER_BUDGET, f"the cap of ${cap:.2f} is near", case.now)
    else:
        return None
    return Decision(stop.reason, (Record(replace(case.run, stop=stop, updated_at=case.now)),))


def _healthy(case: _Case) -> Decision | None:
    if isinstance(case.facts.beat, Failed):
        return Decision(f"the heartbeat could not be read ({case.facts.beat.problem}): no evidence, no kill")
    text = f"{case.box.instance_type} {case.box.instance_id} took the run"
    notify = Notify(Kind.STARTED if case.run.attempt == 1 else Kind.RESUMED, case.run.run_id, text, case.run)
    if case.run.suspect:
        return Decision("suspicion cleared", (Record(replace(case.run, suspect=None, updated_at=case.now)),))
    return Decision("healthy", (notify,))


_RULES: tuple[Callable[[_Case], Decision | None], ...] = (
    _leaving,
    _stopped,
    _condemned,
    _past_deadline,
    _over_budget,
    _held_for_debugging,
    _lingering,
    _agent_lost,
    _stop_ignored,
    _never_claimed,
    _hung,
    _near_a_limit,
    _healthy,
)
"""In this order; the first that speaks decides about the instance."""


def _judge_without_instance(held: Held, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
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
        return Decision(f"suspect: {suspect.reason}", (Record(replace(run, suspect=suspect, updated_at=now)),))
    if facts.listed_at - run.suspect.first_seen < limits.absence:
        return Decision(f"suspect, before the second look: {run.suspect.reason}")
    return _end_or_resume(run, facts, now, limits, f"run {run.run_id} has no instance, seen twice")


def _end_or_resume(run: Run, facts: LaneFacts, now: datetime, limits: Limits, reason: str) -> Decision:
    """The attempt is over. It is followed by another if it was lost, left a checkpoint, and time and money allow."""
    ended = _with_verdict(run, now)
    verdict = ended.verdict
    if verdict is None or not _may_resume(run, verdict, facts, now, limits):
        return Decision(reason, (Conclude(ended),))
    if isinstance(facts.beat, Failed):
        return Decision(f"{reason}; whether it left a checkpoint could not be read ({facts.beat.problem})")
    cost = _spent(run, now)
    again = run.next_attempt(verdict.cause, run.spent_usd if cost is None else cost, now)
    text = f"attempt {run.attempt} was lost ({verdict.message}); attempt {again.attempt} goes on from its checkpoint"
    return Decision(f"{reason}; {text}", (Record(again), Notify(Kind.RESUMED, run.run_id, text, again)))


def _spent(run: Run, now: datetime) -> float | None:
    """What all attempts have cost, the one that was lost too; None when the price is not known.

    It counts from the record, because EC2 may not list the instance any more.
    """
    started = max((moment for status, moment in run.phases if status is Status.INITIALIZATION), default=run.created_at)
    return cost_so_far(run, started, now)


def _may_resume(run: Run, verdict: Verdict, facts: LaneFacts, now: datetime, limits: Limits) -> bool:
    left = {Cause.PREEMPTED: run.preemptions_left, Cause.INFRA: run.crashes_left}.get(verdict.cause, 0)
    beat = facts.beat.heartbeat if isinstance(facts.beat, Beat) else None
    has_checkpoint = beat is not None and beat.run_id == run.run_id and beat.checkpoint_age is not None
    # A read that failed says nothing of the checkpoint: the next look may find it.
    may_have_one = has_checkpoint or isinstance(facts.beat, Failed)
    cost, cap = _spent(run, now + limits.boot), run.max_cost_usd
    return (
        left > 0
        and may_have_one
        and run.stop is None
        and now + limits.boot < run.deadline
        and (cap is None or (cost is not None and cost < cap))
    )


def _with_verdict(run: Run, now: datetime) -> Run:
    """The run with a verdict; one whose instance went away without a word gets one here."""
    if run.stop:
        verdict = Verdict(run.stop.outcome, run.stop.cause, run.stop.reason, Judge.WATCHDOG)
    elif not run.claimed:
        verdict = Verdict(Outcome.FAILED, Cause.INFRA, "no agent ever claimed the run", Judge.WATCHDOG)
    else:
        verdict = Verdict(
            Outcome.FAILED, Cause.INFRA, f"the instance went away during {run.status} without a word", Judge.WATCHDOG
        )
    return run.end(verdict, now)


# --- instances without a record, unreadable records ------------------------------------------------------------


def _past_its_tag(box: Instance, now: datetime) -> Decision | None:
    if box.deadline and now >= box.deadline and box.state is not InstanceState.SHUTTING_DOWN:
        text = f"{box.instance_id} is past the deadline in its tag"
        return Decision(text, (Terminate(box.instance_id, Cause.OVER_DEADLINE),))
    return None


def _stray(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    first_seen = facts.suspects.get(box.instance_id)
    if box.state is InstanceState.SHUTTING_DOWN:
        return _leaving_unrecorded(box, facts, now, limits)
    if late := _past_its_tag(box, now):
        return late
    if box.hold:
        return Decision(f"{box.instance_id} carries Hold=true until its deadline")
    age = now - box.launched_at
    if age < limits.grace:
        return Decision(f"{box.instance_id} has no record yet")
    if first_seen is None:
        return Decision(f"suspect: {box.instance_id} has no record", (MarkStray(box.instance_id),))
    if now - first_seen < limits.second_look:
        return Decision(f"suspect, before the second look: {box.instance_id} has no record")
    text = f"{box.instance_id} ({box.instance_type}) ran for {_human(age)} and no run holds it"
    once_told = _telling(now - first_seen, limits.second_look, limits)
    return Decision(
        text,
        (Notify(Kind.ORPHAN, box.instance_id, text), Terminate(box.instance_id, Cause.ORPHAN, once_told=once_told)),
        {"instance_id": box.instance_id, "first_seen": f"{first_seen:%Y-%m-%dT%H:%M:%SZ}"},
    )


def _judge_broken(
    state: Broken, facts: LaneFacts, alive: tuple[Instance, ...], now: datetime, limits: Limits
) -> Decision:
    """Nothing of the record's content counts: instances are judged by tags, lease and age."""
    text = f"{facts.lane.state_key} is unreadable: {state.problem}"
    decision = Decision(text, (Notify(Kind.STUCK, f"unreadable-{''.join(filter(str.isalnum, state.etag))}", text),))
    if not alive and now - state.written_at >= limits.boot:
        return decision + Decision("nothing of the lane is alive", (ReleaseBroken(state.etag),))
    return _each(decision, alive, lambda box: _unrecorded(box, facts, now, limits))


def _unrecorded(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """An instance beside an unreadable record: a live one stays, as long as it beats and moves and has time."""
    if box.state is InstanceState.SHUTTING_DOWN:
        return _leaving_unrecorded(box, facts, now, limits)
    if (late := _past_its_tag(box, now)) or box.hold:
        return late
    beat = facts.beat if isinstance(facts.beat, Beat) and facts.beat.heartbeat.instance_id == box.instance_id else None
    if beat is not None and now - beat.received_at <= limits.lease:
        return _hung_unrecorded(box, beat, facts, now, limits)
    if isinstance(facts.beat, Failed):
        return None
    silent, limit = (now - box.launched_at, limits.boot) if beat is None else (now - beat.received_at, limits.lease)
    if silent <= limit and box.state is not InstanceState.STOPPED:
        return None
    text = f"{box.instance_id} is {box.state}, without a readable record and without a beat for {_human(silent)}"
    end = Terminate(box.instance_id, Cause.ORPHAN, once_told=_telling(silent, limit, limits))
    return Decision(text, (Notify(Kind.ORPHAN, box.instance_id, text), end))


def _hung_unrecorded(box: Instance, beat: Beat, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    stalled = beat.heartbeat.stalled_for + (now - beat.received_at)
    if stalled <= limits.progress:
        return None
    first_seen = facts.suspects.get(box.instance_id)
    text = f"no progress on {box.instance_id} for {_human(stalled)}, and its record is unreadable"
    if first_seen is None:
        return Decision(f"suspect: {text}", (MarkStray(box.instance_id),))
    if now - first_seen < limits.second_look:
        return Decision(f"suspect, before the second look: {text}")
    end = Terminate(box.instance_id, Cause.HUNG, once_told=_telling(now - first_seen, limits.second_look, limits))
    return Decision(text, (Notify(Kind.ORPHAN, box.instance_id, text), end))


def _leaving_unrecorded(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    first_seen = facts.suspects.get(box.instance_id)
    if first_seen is None:
        return Decision(f"{box.instance_id} is shutting down", (MarkStray(box.instance_id),))
    return _slow_to_die(box, Cause.ORPHAN, first_seen, now, limits, None)


def _human(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
