"""A lane whose lock cannot be read: its instances are judged by tags, heartbeat and age alone."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.domain.decision import Decision, MarkUnreadable, Notify, ReleaseUnreadable
from chronos_ec2.domain.facts import Absent, HeartbeatReceived, LaneFacts, ReadFailed, Unreadable, last_heard
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.parsing.times import human_span
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.domain.rules.orphan import _in_two_looks, _leaving_without_record, past_tagged_deadline


def decide_unreadable(
    state: Unreadable, facts: LaneFacts, alive: tuple[Instance, ...], now: datetime, limits: Limits
) -> Decision:
    """Nothing of the record's content counts: instances are judged by tags, lease and age.

    The lock stays as long as one of them lives: its agent goes on as long as it finds the lock, readable or not.
    """
    text = f"{facts.lane.state_key} is unreadable: {state.problem}"
    decision = Decision(text, (Notify(Kind.STUCK, f"unreadable-{''.join(filter(str.isalnum, state.etag))}", text),))
    if not alive and now - state.written_at >= limits.boot:
        return decision + _idle_unreadable(state, facts, now, limits)
    return decision.with_each(alive, lambda box: _without_record(box, facts, now, limits))


def _idle_unreadable(state: Unreadable, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """A list that lags may lack what lives, and whose beat to ask for nobody can tell: the looks are a lease apart."""
    first_seen = facts.suspect_since(state.etag, now, limits)
    if first_seen is None:
        return Decision("suspect: nothing of the lane is alive", (MarkUnreadable(state.etag),))
    if facts.listed_at - first_seen < limits.lease:
        return Decision("suspect, before the second look: nothing of the lane is alive")
    return Decision("nothing of the lane is alive", (ReleaseUnreadable(state.etag),))


def _without_record(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """An instance beside an unreadable record: a live one stays, as long as it beats and moves and has time."""
    if box.state is InstanceState.SHUTTING_DOWN:
        return _leaving_without_record(box, facts, now, limits)
    if (late := past_tagged_deadline(box, now, limits)) or box.hold:
        return late
    beat = facts.heartbeats.get(box.run_id or "", Absent())
    if isinstance(beat, ReadFailed):
        return None
    last = last_heard(beat, box.instance_id)
    if last is not None and now - last <= limits.lease:
        return _hung_without_record(box, beat, facts, now, limits) if isinstance(beat, HeartbeatReceived) else None
    silent, limit = (now - box.launched_at, limits.boot) if last is None else (now - last, limits.lease)
    if silent <= limit and box.state is not InstanceState.STOPPED:
        return None
    text = f"{box.instance_id} is {box.state}, without a readable record and without a beat for {human_span(silent)}"
    return _in_two_looks(box, Cause.ORPHAN, text, facts, now, limits)


def _hung_without_record(
    box: Instance, beat: HeartbeatReceived, facts: LaneFacts, now: datetime, limits: Limits
) -> Decision | None:
    stalled = beat.stalled_for(now)
    if stalled <= limits.progress:
        return None
    text = f"no progress on {box.instance_id} for {human_span(stalled)}, and its record is unreadable"
    return _in_two_looks(box, Cause.HUNG, text, facts, now, limits)
