"""Instances that no readable record speaks for: judged by tags, lease and age alone."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.domain.decision import Decision, MarkStray, Notify, ReleaseBroken, Terminate
from chronos_ec2.domain.dying import slow_to_die, telling
from chronos_ec2.domain.facts import Beat, Broken, Failed, LaneFacts
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.run import Cause
from chronos_ec2.domain.text import human_span


def past_its_tag(box: Instance, now: datetime) -> Decision | None:
    """The end of an instance whose own tag says that its time is up, whatever else is known."""
    if box.deadline and now >= box.deadline and box.state is not InstanceState.SHUTTING_DOWN:
        text = f"{box.instance_id} is past the deadline in its tag"
        return Decision(text, (Terminate(box.instance_id, Cause.OVER_DEADLINE),))
    return None


def stray(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """What to do about an instance that carries our tags and that no run holds."""
    first_seen = facts.suspects.get(box.instance_id)
    if box.state is InstanceState.SHUTTING_DOWN:
        return _leaving_unrecorded(box, facts, now, limits)
    if late := past_its_tag(box, now):
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
    text = f"{box.instance_id} ({box.instance_type}) ran for {human_span(age)} and no run holds it"
    once_told = telling(now - first_seen, limits.second_look, limits)
    return Decision(
        text,
        (Notify(Kind.ORPHAN, box.instance_id, text), Terminate(box.instance_id, Cause.ORPHAN, once_told=once_told)),
        {box.instance_id: f"without a record since {first_seen:%Y-%m-%dT%H:%M:%SZ}"},
    )


def judge_broken(
    state: Broken, facts: LaneFacts, alive: tuple[Instance, ...], now: datetime, limits: Limits
) -> Decision:
    """Nothing of the record's content counts: instances are judged by tags, lease and age."""
    text = f"{facts.lane.state_key} is unreadable: {state.problem}"
    decision = Decision(text, (Notify(Kind.STUCK, f"unreadable-{''.join(filter(str.isalnum, state.etag))}", text),))
    if not alive and now - state.written_at >= limits.boot:
        return decision + Decision("nothing of the lane is alive", (ReleaseBroken(state.etag),))
    return decision.with_each(alive, lambda box: _unrecorded(box, facts, now, limits))


def _unrecorded(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """An instance beside an unreadable record: a live one stays, as long as it beats and moves and has time."""
    if box.state is InstanceState.SHUTTING_DOWN:
        return _leaving_unrecorded(box, facts, now, limits)
    if (late := past_its_tag(box, now)) or box.hold:
        return late
    beat = facts.beat if isinstance(facts.beat, Beat) and facts.beat.heartbeat.instance_id == box.instance_id else None
    if beat is not None and now - beat.received_at <= limits.lease:
        return _hung_unrecorded(box, beat, facts, now, limits)
    if isinstance(facts.beat, Failed):
        return None
    silent, limit = (now - box.launched_at, limits.boot) if beat is None else (now - beat.received_at, limits.lease)
    if silent <= limit and box.state is not InstanceState.STOPPED:
        return None
    text = f"{box.instance_id} is {box.state}, without a readable record and without a beat for {human_span(silent)}"
    end = Terminate(box.instance_id, Cause.ORPHAN, once_told=telling(silent, limit, limits))
    return Decision(text, (Notify(Kind.ORPHAN, box.instance_id, text), end))


def _hung_unrecorded(box: Instance, beat: Beat, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    stalled = beat.heartbeat.stalled_for + (now - beat.received_at)
    if stalled <= limits.progress:
        return None
    first_seen = facts.suspects.get(box.instance_id)
    text = f"no progress on {box.instance_id} for {human_span(stalled)}, and its record is unreadable"
    if first_seen is None:
        return Decision(f"suspect: {text}", (MarkStray(box.instance_id),))
    if now - first_seen < limits.second_look:
        return Decision(f"suspect, before the second look: {text}")
    end = Terminate(box.instance_id, Cause.HUNG, once_told=telling(now - first_seen, limits.second_look, limits))
    return Decision(text, (Notify(Kind.ORPHAN, box.instance_id, text), end))


def _leaving_unrecorded(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    first_seen = facts.suspects.get(box.instance_id)
    if first_seen is None:
        return Decision(f"{box.instance_id} is shutting down", (MarkStray(box.instance_id),))
    return slow_to_die(box, Cause.ORPHAN, first_seen, now, limits, None)
