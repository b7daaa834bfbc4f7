"""A run with living instances. `_RULES` are tried in order; the first that applies decides about the instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chronos_ec2.domain.decision import Decision, Notify, Terminate, WriteLock
from chronos_ec2.domain.facts import HeartbeatReceived, LaneFacts, LockHeld, ReadFailed, Unreadable
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.planning.cost import cost_until
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Stop, Suspect, Verdict
from chronos_ec2.domain.rules.termination import held, overdue_notice, slow_to_terminate


def decide_active_run(
    lock: LockHeld, instances: tuple[Instance, ...], facts: LaneFacts, now: datetime, limits: Limits
) -> Decision:
    """What to do about a run and the living instances of its current attempt."""
    decision = Decision(f"run {lock.run.run_id} is in {lock.run.status}")
    silent = False
    for instance in instances:
        case = _Case(lock, instance, facts, now, limits)
        for rule in _RULES:
            if found := rule(case):
                decision += case.with_overdue_notice(found)
                silent |= rule is _agent_dead
                break
    suspect, writes = lock.run.suspect, any(isinstance(action, WriteLock) for action in decision.actions)
    unknown = silent or isinstance(facts.heartbeat, ReadFailed)
    if suspect and suspect.cause is Cause.INFRA and not unknown and not writes:
        # A suspicion that stayed would count as the first observation the next time the instance is not listed.
        cleared = replace(lock.run, suspect=None, updated_at=now)
        decision += Decision("the instance is listed again", (WriteLock(cleared),))
    return decision


@dataclass(frozen=True, slots=True)
class _Case:
    """One instance of the run that holds the lane, and all that is known about both."""

    lock: LockHeld
    instance: Instance
    facts: LaneFacts
    now: datetime
    limits: Limits

    @property
    def run(self) -> Run:
        return self.lock.run

    @property
    def deadline(self) -> datetime:
        return min(self.run.deadline, self.instance.deadline or self.run.deadline)

    @property
    def heartbeat(self) -> HeartbeatReceived | None:
        """The latest heartbeat, if it is from this run, attempt and instance."""
        received = self.facts.heartbeat
        if not isinstance(received, HeartbeatReceived):
            return None
        own = (self.run.run_id, self.run.attempt, self.instance.instance_id)
        sender = received.heartbeat
        return received if (sender.run_id, sender.attempt, sender.instance_id) == own else None

    def cost_at(self, moment: datetime) -> float | None:
        """USD that the run will have cost by then, if its instances last."""
        return cost_until(moment, self.run, self.limits, self.facts.instances, self.facts.heartbeat)

    @property
    def boot_timed_out(self) -> bool:
        """Whether no agent has claimed the run in time."""
        return not self.run.claimed and self.now - self.instance.launched_at >= self.limits.boot

    def suspect(self, cause: Cause, text: str) -> Decision:
        """Write the first observation into the lock."""
        suspect = Suspect(cause, text, self.now)
        return Decision(f"suspected: {text}", (WriteLock(replace(self.run, suspect=suspect, updated_at=self.now)),))

    def end_with_verdict(self, outcome: Outcome, cause: Cause, message: str) -> Decision:
        """Write the verdict, then terminate. The writes are also the last check that nothing has changed.

        A verdict that exists is not written again: the time of its writing says since when the termination is due.
        """
        verdict = Verdict(outcome, cause, message, DecidedBy.WATCHDOG)
        write = () if self.run.verdict else (WriteLock(self.run.end(verdict, self.now)),)
        return Decision(
            message,
            (*write, Terminate(self.instance.instance_id, cause)),
            {"run_id": self.run.run_id, "attempt": str(self.run.attempt), "instance_id": self.instance.instance_id},
        )

    def with_overdue_notice(self, decision: Decision) -> Decision:
        """Add a notification to a termination that has been due for long, by the verdict or the deadline."""
        if not any(isinstance(action, Terminate) and not action.force for action in decision.actions):
            return decision
        due = self.deadline if self.run.verdict is None else min(self.lock.written_at, self.deadline)
        notice = overdue_notice(self.instance, self.now - due, self.limits, self.run)
        return replace(decision, actions=(*decision.actions, *notice))


def _shutting_down(case: _Case) -> Decision | None:
    if case.instance.state is not InstanceState.SHUTTING_DOWN:
        return None
    if case.run.verdict is not None:
        return slow_to_terminate(
            case.instance, case.run.verdict.cause, case.lock.written_at, case.now, case.limits, case.run
        )
    suspect = case.run.suspect
    if suspect is None or suspect.cause is not Cause.PREEMPTED:
        seen = replace(case.run, suspect=Suspect(Cause.PREEMPTED, "the instance is shutting down", case.now))
        return Decision(f"{case.instance.instance_id} is shutting down without a verdict", (WriteLock(seen),))
    since = case.lock.since(suspect.first_seen)
    return slow_to_terminate(case.instance, Cause.INFRA, since, case.now, case.limits, case.run)


def _past_deadline(case: _Case) -> Decision | None:
    if case.now >= case.deadline:
        return case.end_with_verdict(
            Outcome.FAILED, Cause.OVER_DEADLINE, f"past the deadline {case.deadline:%Y-%m-%d %H:%M:%SZ}"
        )
    return None


def _over_budget(case: _Case) -> Decision | None:
    cap, cost = case.run.max_cost_usd, case.cost_at(case.now)
    if cap is not None and cost is not None and cost >= cap:
        return case.end_with_verdict(Outcome.FAILED, Cause.OVER_BUDGET, f"${cost:.2f} spent, the cap is ${cap:.2f}")
    return None


def _stopped(case: _Case) -> Decision | None:
    if case.instance.state in (InstanceState.STOPPING, InstanceState.STOPPED):
        return case.end_with_verdict(
            Outcome.FAILED, Cause.INFRA, f"the instance is {case.instance.state}, and its volume still costs"
        )
    return None


def _ended_by_watchdog(case: _Case) -> Decision | None:
    verdict = case.run.verdict
    if verdict and verdict.decided_by is DecidedBy.WATCHDOG:
        return Decision(
            f"ended by the watchdog: {verdict.message}", (Terminate(case.instance.instance_id, verdict.cause),)
        )
    return None


def _on_hold(case: _Case) -> Decision | None:
    return held(case.instance, case.deadline, case.now, case.run) if case.instance.on_hold(case.now) else None


def _ended_by_agent(case: _Case) -> Decision | None:
    if case.run.verdict is None:
        return None
    if case.now - _ended_at(case) < case.limits.grace:
        return Decision("the agent has written its verdict and has the grace to power off")
    return Decision(
        f"the run has ended ({case.run.verdict.cause}), but its instance is still up after the grace",
        (Terminate(case.instance.instance_id, case.run.verdict.cause),),
    )


def _ended_at(case: _Case) -> datetime:
    """When the agent ended the run. Its verdict may have come into the record much later."""
    ends = (at for status, at in reversed(case.run.phases) if status is case.run.status)
    return case.lock.since(next(ends, case.lock.written_at))


def _agent_dead(case: _Case) -> Decision | None:
    if case.run.claimed_at is None or isinstance(case.facts.heartbeat, ReadFailed):
        return None
    if case.heartbeat:
        return _silent_since(case, case.heartbeat.received_at)
    if isinstance(case.facts.heartbeat, Unreadable):
        return _silent_since(case, case.facts.heartbeat.written_at)
    return _silent_since(case, case.lock.since(case.run.claimed_at))


def _silent_since(case: _Case, last: datetime) -> Decision | None:
    """End a run whose agent was last heard at `last`.

    After an outage of S3 every heartbeat is old until the next one arrives. The first observation is written to S3, so
    S3 accepts heartbeats from then on, and an agent still silent at the second is dead.
    """
    if (silence := case.now - last) <= case.limits.lease:
        return None
    text = f"no heartbeat for {human_span(silence)}: the agent or its instance is dead"
    suspect = case.run.suspect
    first_seen = case.lock.since(suspect.first_seen) if suspect and suspect.cause is Cause.INFRA else None
    # S3's times are whole seconds: the lock may be dated up to one second before the observation written in it.
    if first_seen is None or first_seen - last <= case.limits.lease - timedelta(seconds=1):
        return case.suspect(Cause.INFRA, text)
    if case.now - first_seen < case.limits.confirmation:
        return Decision(f"suspected, not confirmed yet: {text}")
    return case.end_with_verdict(Outcome.FAILED, Cause.INFRA, text)


def _stop_ignored(case: _Case) -> Decision | None:
    stop = case.run.stop
    if stop is None:
        return None
    if case.boot_timed_out:
        return case.end_with_verdict(stop.outcome, stop.cause, f"{stop.reason}; no agent has claimed the run")
    if case.now - case.lock.since(stop.requested_at) < case.limits.grace:
        return Decision(f"stopping gracefully: {stop.reason}")
    return case.end_with_verdict(stop.outcome, stop.cause, f"{stop.reason}; not stopped within the grace")


def _never_claimed(case: _Case) -> Decision | None:
    if case.run.claimed:
        return None
    if not case.boot_timed_out:
        return Decision(f"booting for {human_span(case.now - case.instance.launched_at)}")
    text = f"no agent claimed the run within {human_span(case.limits.boot)} of its launch"
    return case.end_with_verdict(Outcome.FAILED, Cause.INFRA, text)


def _hung(case: _Case) -> Decision | None:
    received, suspect = case.heartbeat, case.run.suspect
    if received is None:
        return None
    stalled = received.stalled_for(case.now)
    if stalled <= case.limits.progress:
        return None
    step = received.heartbeat.step
    text = f"no progress in {case.run.status} for {human_span(stalled)} (step {step}), the instance alive"
    if suspect is None or suspect.cause is not Cause.HUNG:
        return case.suspect(Cause.HUNG, text)
    if case.now - case.lock.since(suspect.first_seen) < case.limits.confirmation:
        return Decision(f"suspected, not confirmed yet: {text}")
    return case.end_with_verdict(Outcome.FAILED, Cause.HUNG, text)


def _near_a_limit(case: _Case) -> Decision | None:
    """Ask for a graceful stop early enough that the hard limit is rarely needed."""
    soon = case.now + case.limits.grace
    cap, cost = case.run.max_cost_usd, case.cost_at(soon)
    if soon >= case.deadline:
        stop = Stop(Cause.OVER_DEADLINE, f"the deadline {case.deadline:%Y-%m-%d %H:%M:%SZ} is near", case.now)
    elif cap is not None and cost is not None and cost >= cap:
        stop = Stop(Cause.OVER_BUDGET, f"the cap of ${cap:.2f} is near", case.now)
    else:
        return None
    return Decision(stop.reason, (WriteLock(replace(case.run, stop=stop, updated_at=case.now)),))


def _healthy(case: _Case) -> Decision:
    if isinstance(case.facts.heartbeat, ReadFailed):
        return Decision(f"the heartbeat could not be read ({case.facts.heartbeat.problem}): no evidence, no kill")
    if isinstance(case.facts.reports.outcome, ReadFailed):
        return Decision(f"whether it has ended could not be read ({case.facts.reports.outcome.problem})")
    if case.run.suspect:
        cleared = replace(case.run, suspect=None, updated_at=case.now)
        return Decision("suspicion cleared", (WriteLock(cleared),))
    text = f"{case.instance.instance_type} {case.instance.instance_id} has claimed the run"
    kind = Kind.STARTED if case.run.attempt == 1 else Kind.RESUMED
    return Decision("healthy", (Notify(kind, case.run.run_id, text, case.run),))


_RULES: tuple[Callable[[_Case], Decision | None], ...] = (
    _shutting_down,
    _past_deadline,
    _over_budget,
    _stopped,
    _ended_by_watchdog,
    _on_hold,
    _ended_by_agent,
    _agent_dead,
    _stop_ignored,
    _never_claimed,
    _hung,
    _near_a_limit,
    _healthy,
)
