"""Instances that no readable record speaks for: judged by tags, lease and age alone."""

from __future__ import annotations

from datetime import datetime

from chronos_ec2.domain.decision import Decision, MarkBroken, MarkStray, Notify, ReleaseBroken, Terminate
from chronos_ec2.domain.dying import lives_on, slow_to_die, telling
from chronos_ec2.domain.facts import Absent, Beat, Broken, Failed, LaneFacts, heard_at
from chronos_ec2.domain.instance import Instance, InstanceState
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import Kind
from chronos_ec2.domain.run import Cause
from chronos_ec2.domain.text import human_span


def past_its_tag(box: Instance, now: datetime, limits: Limits) -> Decision | None:
    """The end of an instance whose own tag says that its time is up, whatever else is known."""
    if box.deadline and now >= box.deadline and box.state is not InstanceState.SHUTTING_DOWN:
        text = f"{box.instance_id} is past the deadline in its tag"
        end = Terminate(box.instance_id, Cause.OVER_DEADLINE)
        return Decision(text, (end, *lives_on(box, now - box.deadline, limits)))
    return None


def stray(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """What to do about an instance that carries our tags and that no run holds."""
    if box.state is InstanceState.SHUTTING_DOWN:
        return _leaving_unrecorded(box, facts, now, limits)
    if late := past_its_tag(box, now, limits):
        return late
    if box.hold:
        return Decision(f"{box.instance_id} carries Hold=true until its deadline")
    age = now - box.launched_at
    if age < limits.grace:
        return Decision(f"{box.instance_id} has no record yet")
    text = f"{box.instance_id} ({box.instance_type}) ran for {human_span(age)} and no run holds it"
    return _in_two_looks(box, Cause.ORPHAN, text, facts, now, limits)


def judge_broken(
    state: Broken, facts: LaneFacts, alive: tuple[Instance, ...], now: datetime, limits: Limits
) -> Decision:
    """Nothing of the record's content counts: instances are judged by tags, lease and age.

    The lock stays as long as one of them lives: its agent goes on as long as it finds the lock, readable or not.
    """
    text = f"{facts.lane.state_key} is unreadable: {state.problem}"
    decision = Decision(text, (Notify(Kind.STUCK, f"unreadable-{''.join(filter(str.isalnum, state.etag))}", text),))
    if not alive and now - state.written_at >= limits.boot:
        return decision + _forsaken(state, facts, now, limits)
    return decision.with_each(alive, lambda box: _unrecorded(box, facts, now, limits))


def _forsaken(state: Broken, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """A list that lags may lack what lives, and whose beat to ask for nobody can tell: the looks are a lease apart."""
    first_seen = facts.suspect_since(state.etag, now, limits)
    if first_seen is None:
        return Decision("suspect: nothing of the lane is alive", (MarkBroken(state.etag),))
    if facts.listed_at - first_seen < limits.lease:
        return Decision("suspect, before the second look: nothing of the lane is alive")
    return Decision("nothing of the lane is alive", (ReleaseBroken(state.etag),))


def _unrecorded(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    """An instance beside an unreadable record: a live one stays, as long as it beats and moves and has time."""
    if box.state is InstanceState.SHUTTING_DOWN:
        return _leaving_unrecorded(box, facts, now, limits)
    if (late := past_its_tag(box, now, limits)) or box.hold:
        return late
    beat = facts.beats.get(box.run_id or "", Absent())
    if isinstance(beat, Failed):
        return None
    last = heard_at(beat, box.instance_id)
    if last is not None and now - last <= limits.lease:
        return _hung_unrecorded(box, beat, facts, now, limits) if isinstance(beat, Beat) else None
    silent, limit = (now - box.launched_at, limits.boot) if last is None else (now - last, limits.lease)
    if silent <= limit and box.state is not InstanceState.STOPPED:
        return None
    text = f"{box.instance_id} is {box.state}, without a readable record and without a beat for {human_span(silent)}"
    return _in_two_looks(box, Cause.ORPHAN, text, facts, now, limits)


def _hung_unrecorded(box: Instance, beat: Beat, facts: LaneFacts, now: datetime, limits: Limits) -> Decision | None:
    stalled = beat.stalled_for(now)
    if stalled <= limits.progress:
        return None
    text = f"no progress on {box.instance_id} for {human_span(stalled)}, and its record is unreadable"
    return _in_two_looks(box, Cause.HUNG, text, facts, now, limits)


def _in_two_looks(box: Instance, cause: Cause, text: str, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    """The end of an instance that was seen like this before, and lately; else a note that it was."""
    first_seen = facts.suspect_since(box.instance_id, now, limits)
    if first_seen is None:
        return Decision(f"suspect: {text}", (MarkStray(box.instance_id),))
    if now - first_seen < limits.second_look:
        return Decision(f"suspect, before the second look: {text}")
    end = Terminate(box.instance_id, cause, once_told=telling(now - first_seen, limits.second_look, limits))
    overdue = now - first_seen - limits.second_look
    return Decision(
        text,
        (Notify(Kind.ORPHAN, box.instance_id, text), end, *lives_on(box, overdue, limits)),
        {box.instance_id: f"suspected since {first_seen:%Y-%m-%dT%H:%M:%SZ}"},
    )


def _leaving_unrecorded(box: Instance, facts: LaneFacts, now: datetime, limits: Limits) -> Decision:
    # However long ago that was: what shuts down never comes back.
    first_seen = facts.suspects.get(box.instance_id)
    if first_seen is None:
        return Decision(f"{box.instance_id} is shutting down", (MarkStray(box.instance_id),))
    return slow_to_die(box, Cause.ORPHAN, first_seen, now, limits, None)
