"""Queries about runs: active ones from their locks, past ones from their final records.

What could not be read is told apart from what does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from chronos_ec2.domain.errors import InvalidDocument, InvalidInput, NotAllowed, RunNotFound, ServiceUnavailable
from chronos_ec2.domain.facts import HeartbeatRead, HeartbeatReceived, LockHeld, LockRead, ReadFailed, Unreadable
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.codec import Fields, load_json
from chronos_ec2.domain.parsing.names import did_you_mean, one_line
from chronos_ec2.domain.planning.cost import cost_until
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.run import WAITING, Run, check_run_id
from chronos_ec2.domain.records.s3_keys import RUN_ID_PATTERN, run_key
from chronos_ec2.domain.records.status import Job
from chronos_ec2.ports import Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.groups.store import GroupStore

FINAL_RECORD = "state.json"
_UNREAD = "try again; if it stays so, `chronos-ec2 verify` shows every lock that cannot be read"
_UNITS = {Job.TRAIN: "step", Job.FORECAST: "series", Job.EVALUATE: "window"}
_SIDE_BY_SIDE = 8
"""Records read at a time: fewer than a client has connections."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it is now: its record, whether it holds its lane, and its latest heartbeat."""

    run: Run
    active: bool
    heartbeat: HeartbeatRead

    @property
    def unit(self) -> str:
        """What its progress counts."""
        return _UNITS[self.run.job]

    @property
    def progress(self) -> str:
        """How far the run is, for people; empty if it has neither a heartbeat nor to wait for capacity."""
        if self.run.current_step == WAITING and (waiting := self.run.waiting):
            tries = "once" if waiting.tries == 1 else f"{waiting.tries} times"
            return f"refused {tries} since {waiting.since:%H:%MZ}, next try {waiting.next_try_at:%H:%MZ}"
        if not isinstance(self.heartbeat, HeartbeatReceived):
            return ""
        heartbeat = self.heartbeat.heartbeat
        if heartbeat.total_steps:
            loss = "" if heartbeat.loss is None else f", loss {heartbeat.loss:.4g}"
            return f"{self.unit} {heartbeat.step} of {heartbeat.total_steps}{loss}"
        return f"{heartbeat.bytes_synced / 1e6:.1f} MB" if heartbeat.bytes_synced else ""

    def lasted(self, now: datetime) -> timedelta:
        """From its creation until its instance was gone; until `now` if that is still to come."""
        run = self.run
        ended = run.ended_at or (run.phases[-1][1] if run.verdict and run.phases else now)
        return ended - run.created_at

    def cost_usd(self, now: datetime, limits: Limits, listed: Iterable[Instance] | None) -> float | None:
        """USD until `now`, None if unknown. `listed` is what EC2 lists, None if it was not asked or did not answer."""
        return cost_until(now, self.run, limits, listed, self.heartbeat)


@dataclass(frozen=True, slots=True)
class UnreadRun:
    """A run that exists, or may, and could not be read."""

    run_id: str
    problem: str


def find_run(store: RunStore, environment: str, run_id: str) -> RunView:
    """One run, active or past.

    Raises:
        RunNotFound: it has neither a lock nor a final record.
        ServiceUnavailable, NotAllowed: it could not be read, or a lock that may be its own.
        InvalidDocument: its final record cannot be read.
    """
    check_known(store, environment, run_id)
    locks = {lane: store.read_lock(lane) for lane in store.lanes(environment)}
    for lock in locks.values():
        if isinstance(lock, LockHeld) and lock.run.run_id == run_id:
            return RunView(lock.run, active=True, heartbeat=store.read_heartbeat(environment, run_id))
    run = final_record(store, environment, run_id)
    if run is None:
        if error := unread(f"run {run_id}", locks.values()):
            raise error
        raise not_found(store, environment, run_id)
    return RunView(run, active=False, heartbeat=store.read_heartbeat(environment, run_id))


def unread(what: str, locks: Iterable[LockRead]) -> ServiceUnavailable | NotAllowed | None:
    """The error for what may be in a lock that could not be read; None if all could."""
    failed = next((lock for lock in locks if isinstance(lock, ReadFailed | Unreadable)), None)
    if failed is None:
        return None
    text = f"{what} could not be read: {one_line(failed.problem)}"
    if isinstance(failed, ReadFailed) and failed.refused:
        return NotAllowed(text)
    return ServiceUnavailable(text, _UNREAD)


def check_known(store: RunStore, environment: str, run_id: str) -> None:
    """Raise InvalidInput for what is no run id, with the id that is most like it."""
    try:
        check_run_id(run_id)
    except InvalidInput as error:
        if run_id in _groups(store, environment):
            remedy = f"`chronos-ec2 runs show {run_id}` names its runs"
            raise InvalidInput(error.where, f"{run_id} is a group of runs", remedy) from error
        near = _nearest(store, environment, run_id)
        raise InvalidInput(error.where, error.detail, near or error.hint) from error


def not_found(store: RunStore, environment: str, run_id: str) -> RunNotFound:
    """The error for a run that does not exist, with the id that is most like it."""
    return RunNotFound(run_id, environment, _nearest(store, environment, run_id))


def _nearest(store: RunStore, environment: str, run_id: str) -> str:
    try:
        known = sorted(run_ids(store, environment), reverse=True)
    except (ServiceUnavailable, NotAllowed):
        return ""  # the name is wrong whatever the list says
    return did_you_mean(run_id, [*known, *_groups(store, environment)])


def _groups(store: RunStore, environment: str) -> tuple[str, ...]:
    try:
        return GroupStore(environment, store.objects).names()
    except (ServiceUnavailable, NotAllowed):
        return ()


def run_ids(store: RunStore, environment: str) -> set[str]:
    """The ids of all runs that have left anything in the bucket. Raises ServiceUnavailable, NotAllowed."""
    return {name for name in store.objects.children(f"{environment}/") if RUN_ID_PATTERN.fullmatch(name)}


def newest_run(store: RunStore, environment: str) -> str:
    """The id of the newest run. Raises InvalidInput if there is none, ServiceUnavailable, NotAllowed."""
    found = list_runs(store, environment, limit=1)
    if not found:
        raise InvalidInput("RUN", f"environment {environment} has no runs yet", "`chronos-ec2 launch` starts one")
    newest = found[0]
    return newest.run_id if isinstance(newest, UnreadRun) else newest.run.run_id


def list_runs(store: RunStore, environment: str, limit: int | None = None) -> tuple[RunView | UnreadRun, ...]:
    """The runs of an environment, newest first, at most `limit`. Raises ServiceUnavailable, NotAllowed."""
    lanes = store.lanes(environment)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        locks = dict(zip(lanes, pool.map(store.read_lock, lanes), strict=True))
        active = {lock.run.run_id: lock.run for lock in locks.values() if isinstance(lock, LockHeld)}
        problems = _problems(locks)
        names = run_ids(store, environment)

        def view(run_id: str) -> RunView | UnreadRun | None:
            try:
                run = active.get(run_id) or final_record(store, environment, run_id)
            except (ServiceUnavailable, NotAllowed, InvalidDocument) as error:
                return UnreadRun(run_id, one_line(str(error)))
            if run is None:
                return UnreadRun(run_id, problems[0]) if problems else None
            return RunView(run, run_id in active, store.read_heartbeat(environment, run_id))

        # A launch that lost its lane leaves a name without a record, so more are read until there are enough.
        found: list[RunView | UnreadRun] = []
        ids = sorted({*names, *active}, reverse=True)
        while ids and (limit is None or len(found) < limit):
            count = len(ids) if limit is None else limit - len(found)
            found += filter(None, pool.map(view, ids[:count]))
            ids = ids[count:]
    return tuple(found)


def list_instances(fleet: Fleet, environment: str) -> tuple[Instance, ...] | None:
    """What EC2 lists, for the cost of runs; None if it does not say."""
    try:
        return fleet.instances(environment)
    except (ServiceUnavailable, NotAllowed):
        return None


def _problems(locks: dict[Lane, LockRead]) -> list[str]:
    """What is wrong with the locks that could not be read: one of them may be that of any run without a record."""
    failed = (lock for lock in locks.values() if isinstance(lock, ReadFailed | Unreadable))
    return [one_line(lock.problem) for lock in failed]


def final_record(store: RunStore, environment: str, run_id: str) -> Run | None:
    """The final record of a run, None if it has none. Raises InvalidDocument."""
    key = run_key(environment, run_id, FINAL_RECORD)
    found = store.objects.read(key)
    if found is None:
        return None
    try:
        lane = Lane(environment, Fields(load_json(found.body, key), key).text("lane"))
    except InvalidInput as error:
        raise InvalidDocument(f"{key}: {error}") from error
    return Run.from_json(found.body, lane)
