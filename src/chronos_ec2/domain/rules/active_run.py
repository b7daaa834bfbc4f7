"""The rules for a lane that a run holds and whose instance is there. The first that speaks decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chronos_ec2.domain.cost import cost_so_far
from chronos_ec2.domain.decision import Decision, Notify, Terminate, WriteLock
from chronos_ec2.domain.facts import HeartbeatReceived, LaneFacts, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Stop, Suspect, Verdict
from chronos_ec2.domain.rules.missing_instance import decide_missing_instance
from chronos_ec2.domain.rules.slow_termination import overdue_notice, slow_to_terminate


def decide_active_run(
    held: LockHeld, boxes: tuple[Instance, ...], facts: LaneFacts, now: datetime, limits: Limits
) -> Decision:
    """What to do about a run and `boxes`, the living instances of its current attempt."""
    if not boxes:
        return decide_missing_instance(held, facts, now, limits)
    decision = Decision(f"run {held.run.run_id} is in {held.run.status}")
    silent = False
    for box in boxes:
        case = _Case(held, box, facts, now, limits)
        for rule in _RULES:
            if judged := rule(case):
                decision += case.overdue_notice(judged)
                silent |= rule is _agent_lost
                break
    suspect, written = held.run.suspect, any(isinstance(action, WriteLock) for action in decision.actions)
    unknown = silent or isinstance(facts.heartbeat, ReadFailed)
    if suspect and suspect.cause is Cause.INFRA and not unknown and not written:
        # It is listed again: a suspicion that stayed would be the first of two looks at the next absence.
        found = replace(held.run, suspect=None, updated_at=now)
        decision += Decision("the instance is listed again", (WriteLock(found),))
    return decision


@dataclass(frozen=True, slots=True)
class _Case:
    """One instance of the run that holds the lane, and all that is known about both."""

    held: LockHeld
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
    def beat(self) -> HeartbeatReceived | None:
        """The newest beat, if it is one of this run, attempt and instance."""
        beat = self.facts.heartbeat
        if not isinstance(beat, HeartbeatReceived):
            return None
        mine = (self.run.run_id, self.run.attempt, self.box.instance_id)
        heartbeat = beat.heartbeat
        return beat if (heartbeat.run_id, heartbeat.attempt, heartbeat.instance_id) == mine else None

    def cost_at(self, moment: datetime) -> float | None:
        """What the run will have cost by then; what it costs an hour depends on what EC2 says that the instance is."""
        return cost_so_far(self.run, self.box.launched_at, moment, self.box.instance_type)

    @property
    def boot_is_over(self) -> bool:
        """Whether the time to claim the run has passed, and no agent has."""
        return not self.run.claimed and self.now - self.box.launched_at >= self.limits.boot

    def condemn(self, outcome: Outcome, cause: Cause, message: str) -> Decision:
        """Write the verdict, then terminate. The conditional write is also the last check that nothing changed.

        A verdict that is there stands, and is not written again: when it was written says since when the end is due.
        """
        verdict = Verdict(outcome, cause, message, DecidedBy.WATCHDOG)
        record = () if self.run.verdict else (WriteLock(self.run.end(verdict, self.now)),)
        return Decision(
            message,
            (*record, Terminate(self.box.instance_id, cause)),
            {"run_id": self.run.run_id, "attempt": str(self.run.attempt), "instance_id": self.box.instance_id},
        )

    def overdue_notice(self, judged: Decision) -> Decision:
        """Tell people when the end that was judged is due for long: since the verdict, or since the deadline."""
        if not any(isinstance(action, Terminate) and not action.force for action in judged.actions):
            return judged
        due = self.deadline if self.run.verdict is None else min(self.held.written_at, self.deadline)
        told = overdue_notice(self.box, self.now - due, self.limits, self.run)
        return replace(judged, actions=(*judged.actions, *told))


def _leaving(case: _Case) -> Decision | None:
    if case.box.state is not InstanceState.SHUTTING_DOWN:
        return None
    if case.run.verdict is not None:
        return slow_to_terminate(
            case.box, case.run.verdict.cause, case.held.written_at, case.now, case.limits, case.run
        )
    suspect = case.run.suspect
    if suspect is None or suspect.cause is not Cause.PREEMPTED:
        seen = replace(case.run, suspect=Suspect(Cause.PREEMPTED, "the instance is shutting down", case.now))
        return Decision(f"{case.box.instance_id} is shutting down without a word", (WriteLock(seen),))
    since = case.held.since(suspect.first_seen)
    return slow_to_terminate(case.box, Cause.INFRA, since, case.now, case.limits, case.run)


def _stopped(case: _Case) -> Decision | None:
    if case.box.state in (InstanceState.STOPPING, InstanceState.STOPPED):
        return case.condemn(
            Outcome.FAILED, Cause.INFRA, f"the instance is {case.box.state}, and its volume still costs"
        )
    return None


def _condemned(case: _Case) -> Decision | None:
    verdict = case.run.verdict
    if verdict and verdict.decided_by is DecidedBy.WATCHDOG:
        return Decision(f"condemned: {verdict.message}", (Terminate(case.box.instance_id, verdict.cause),))
    return None


def _past_deadline(case: _Case) -> Decision | None:
    if case.now >= case.deadline:
        return case.condemn(
            Outcome.FAILED, Cause.OVER_DEADLINE, f"past the deadline {case.deadline:%Y-%m-%d %H:%M:%SZ}"
        )
    return None


def _over_budget(case: _Case) -> Decision | None:
    cap, cost = case.run.max_cost_usd, case.cost_at(case.now)
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


def _agent_lost(case: _Case) -> Decision | None:
    if not case.run.claimed or isinstance(case.facts.heartbeat, ReadFailed):
        return None
    if case.beat:
        last = case.beat.received_at
    elif isinstance(case.facts.heartbeat, Unreadable):
        last = case.facts.heartbeat.written_at
    else:
        # The claim counts, which is younger than the record as soon as a first look is noted in it: one look has to do.
        return _dead(case, case.held.written_at, looks=1)
    return _dead(case, last, looks=2)


def _dead(case: _Case, last: datetime, looks: int) -> Decision | None:
    """An agent that was heard of last at this time. After an outage of S3 every beat is old, until the next one comes.

    The first look is noted in S3, so that S3 takes beats from then on: who is silent at the second look is dead.
    """
    if (silence := case.now - last) <= case.limits.lease:
        return None
    text = f"no heartbeat for {human_span(silence)}: the agent or its box is dead"
    suspect = case.run.suspect
    first_look = case.held.since(suspect.first_seen) if suspect and suspect.cause is Cause.INFRA else None
    # S3's times are whole seconds: the note of a first look may be dated up to one before it.
    if looks == 2 and (first_look is None or first_look - last <= case.limits.lease - timedelta(seconds=1)):
        seen = replace(case.run, suspect=Suspect(Cause.INFRA, text, case.now), updated_at=case.now)
        return Decision(f"suspect: {text}", (WriteLock(seen),))
    if looks == 2 and first_look and case.now - first_look < case.limits.confirmation:
        return Decision(f"suspect, before the second look: {text}")
    return case.condemn(Outcome.FAILED, Cause.INFRA, text)


def _stop_ignored(case: _Case) -> Decision | None:
    stop = case.run.stop
    if stop is None:
        return None
    if case.boot_is_over:
        return case.condemn(stop.outcome, stop.cause, f"{stop.reason}; no agent is there to stop")
    if case.now - case.held.since(stop.requested_at) < case.limits.grace:
        return Decision(f"a graceful stop is under way: {stop.reason}")
    return case.condemn(stop.outcome, stop.cause, f"{stop.reason}; not stopped within the grace")


def _never_claimed(case: _Case) -> Decision | None:
    if case.run.claimed:
        return None
    if not case.boot_is_over:
        return Decision(f"booting for {human_span(case.now - case.box.launched_at)}")
    return case.condemn(
        Outcome.FAILED, Cause.INFRA, f"no agent claimed the run within {human_span(case.limits.boot)} of its launch"
    )


def _hung(case: _Case) -> Decision | None:
    beat, suspect = case.beat, case.run.suspect
    if beat is None:
        return None
    stalled = beat.stalled_for(case.now)
    if stalled <= case.limits.progress:
        return None
    text = f"no progress in {case.run.status} for {human_span(stalled)} (step {beat.heartbeat.step}), the box alive"
    if suspect is None or suspect.cause is not Cause.HUNG:
        seen = replace(case.run, suspect=Suspect(Cause.HUNG, text, case.now), updated_at=case.now)
        return Decision(f"suspect: {text}", (WriteLock(seen),))
    if case.now - case.held.since(suspect.first_seen) < case.limits.confirmation:
        return Decision(f"suspect, before the second look: {text}")
    return case.condemn(Outcome.FAILED, Cause.HUNG, text)


def _near_a_limit(case: _Case) -> Decision | None:
    """Ask for a graceful end early enough that the hard limit need not be used."""
    soon = case.now + case.limits.grace
    cap, cost = case.run.max_cost_usd, case.cost_at(soon)
    if soon >= case.deadline:
        stop = Stop(Cause.OVER_DEADLINE, f"the deadline {case.deadline:%Y-%m-%d %H:%M:%SZ} is near", case.now)
    elif cap is not None and cost is not None and cost >= cap:
        stop = Stop(Cause.OVER_BUDGET, f"the cap of ${cap:.2f} is near", case.now)
    else:
        return None
    return Decision(stop.reason, (WriteLock(replace(case.run, stop=stop, updated_at=case.now)),))


def _healthy(case: _Case) -> Decision | None:
    if isinstance(case.facts.heartbeat, ReadFailed):
        return Decision(f"the heartbeat could not be read ({case.facts.heartbeat.problem}): no evidence, no kill")
    text = f"{case.box.instance_type} {case.box.instance_id} took the run"
    notify = Notify(Kind.STARTED if case.run.attempt == 1 else Kind.RESUMED, case.run.run_id, text, case.run)
    if case.run.suspect:
        return Decision("suspicion cleared", (WriteLock(replace(case.run, suspect=None, updated_at=case.now)),))
    return Decision("healthy", (notify,))


_RULES: tuple[Callable[[_Case], Decision | None], ...] = (
    _leaving,
    _past_deadline,
    _over_budget,
    _stopped,
    _condemned,
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
