"""Whether an invocation of a schedule starts a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from chronos_ec2.domain.facts import Absent, LockHeld, LockRead
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.status import Job
from chronos_ec2.domain.schedules.ledger import Entry, Ledger

TOO_LATE = timedelta(hours=1)
"""After this an invocation is an old one that somebody sends again."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a schedule is invoked.

    The ledger was read first, then the lane's lock, then the final records: of a run that neither counts nor holds
    the lane any more, the ledger has the end here.

    Attributes:
        at: the time that the run is for.
        entry: what would be entered into the ledger.
        now: AWS time, aware UTC.
        enabled: whether the schedule starts runs by itself.
        asked: whether somebody asks for this run now; it then starts also with data that have not changed.
        complete: whether the data set is whole.
    """

    entry: Entry
    ledger: Ledger
    lock: LockRead
    now: datetime
    max_cost_per_month_usd: float | None
    enabled: bool = True
    asked: bool = False
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """Enter the run into the ledger and start it; without `enter`, it was entered by another delivery."""

    entry: Entry
    enter: bool = True


@dataclass(frozen=True, slots=True)
class Nothing:
    """No run starts. With `about` people are told, once for each such text."""

    reason: str
    about: str = ""


def decide(situation: Situation) -> Start | Nothing:
    """Whether a run starts, and why not."""
    entry, now = situation.entry, situation.now
    known = situation.ledger.of(entry.run_id)
    if known and known.succeeded is not None:
        return Nothing(f"run {entry.run_id} is over")
    if not (situation.enabled or situation.asked):
        return Nothing("the schedule is paused")
    if now - entry.at > TOO_LATE:
        return Nothing(f"it is for {entry.at:%Y-%m-%d %H:%M}Z, which is too long ago")
    if not situation.complete:
        text = "the data set has no _SUCCESS: an upload is at work, or was interrupted"
        return Nothing(text, "incomplete")
    if known and known.counts(now):
        return Start(known, enter=False)
    return _unchanged(situation) or _busy(situation) or _spent(situation) or Start(entry)


def _unchanged(situation: Situation) -> Nothing | None:
    """Data that the last successful run was trained on start nothing."""
    if situation.entry.job is not Job.TRAIN or situation.asked:
        return None
    last = next((one for one in reversed(_trainings(situation)) if one.succeeded), None)
    if last is None or last.data_sha256 != situation.entry.data_sha256:
        return None
    return Nothing(f"the data have not changed since run {last.run_id}")


def _busy(situation: Situation) -> Nothing | None:
    """One run at a time: also one that has its reservation, but not yet its lane."""
    waits = next((one for one in _same_job(situation) if one.succeeded is None and one.counts(situation.now)), None)
    match situation.lock:
        case LockHeld(run):
            text = f"run {run.run_id} holds {run.lane} ({run.status})"
            ours = situation.ledger.of(run.run_id)
            same = ours is not None and ours.data_sha256 == situation.entry.data_sha256
            return Nothing(text, "" if same else f"busy {run.run_id}")
        case Absent():
            return Nothing(f"run {waits.run_id} is being started") if waits else None
        case other:
            return Nothing(one_line(f"the lane's lock cannot be read: {other}", 200), "unreadable")


def _spent(situation: Situation) -> Nothing | None:
    limit, entry = situation.max_cost_per_month_usd, situation.entry
    if limit is None:
        return None
    spent = sum(_cost(one, situation) for one in situation.ledger.entries if _month(one.at) == _month(entry.at))
    if spent + (entry.cap_usd or 0.0) <= limit:
        return None
    month = f"{entry.at:%Y-%m}"
    text = f"${spent:.2f} of ${limit:.2f} of {month} are spent, and a run may cost ${entry.cap_usd or 0.0:.2f}"
    return Nothing(text, f"spent {month}")


def _cost(one: Entry, situation: Situation) -> float:
    """What a run has cost; until it has ended, the most that it may."""
    if one.spent_usd is not None:
        return one.spent_usd
    holds = isinstance(situation.lock, LockHeld) and situation.lock.run.run_id == one.run_id
    # A forecast holds a lane of its own, whose lock is not read here.
    alive = holds or one.counts(situation.now) or one.job is not situation.entry.job
    return (one.cap_usd or 0.0) if alive else 0.0


def _month(at: datetime) -> tuple[int, int]:
    return at.year, at.month


def _trainings(situation: Situation) -> list[Entry]:
    return [one for one in situation.ledger.entries if one.job is Job.TRAIN]


def _same_job(situation: Situation) -> list[Entry]:
    job, own = situation.entry.job, situation.entry.run_id
    return [one for one in situation.ledger.entries if one.job is job and one.run_id != own]
