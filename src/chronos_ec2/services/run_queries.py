"""Queries about runs: active ones from their locks, past ones from their final records."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_ec2.domain.errors import InvalidDocument, RunNotFound
from chronos_ec2.domain.facts import HeartbeatRead, HeartbeatReceived, LockHeld
from chronos_ec2.domain.records.lane import Lane
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Request
from chronos_ec2.domain.records.run import WAITING, Run, check_run_id
from chronos_ec2.domain.records.s3_keys import RUN_ID_PATTERN, run_key
from chronos_ec2.run_store import RunStore

FINAL_RECORD = "state.json"


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as it is now: its record, whether it holds its lane, and its latest heartbeat."""

    run: Run
    active: bool
    heartbeat: HeartbeatRead

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
            return f"step {heartbeat.step} of {heartbeat.total_steps}{loss}"
        return f"{heartbeat.bytes_synced / 1e6:.1f} MB" if heartbeat.bytes_synced else ""


def find_run(store: RunStore, environment: str, run_id: str) -> RunView:
    """One run, active or past.

    Raises:
        RunNotFound: it has neither a lock nor a final record.
        InvalidDocument: its final record or its request is not valid.
    """
    check_run_id(run_id)
    for lane in store.lanes(environment):
        state = store.read_lock(lane)
        if isinstance(state, LockHeld) and state.run.run_id == run_id:
            return RunView(state.run, active=True, heartbeat=store.read_heartbeat(environment, run_id))
    return RunView(
        _final(store, environment, run_id), active=False, heartbeat=store.read_heartbeat(environment, run_id)
    )


def _final(store: RunStore, environment: str, run_id: str) -> Run:
    found = store.objects.read(run_key(environment, run_id, FINAL_RECORD))
    if found is None:
        raise RunNotFound(run_id, environment)
    return Run.from_json(found.body, _lane_of(store, environment, run_id))


def _lane_of(store: RunStore, environment: str, run_id: str) -> Lane:
    found = store.objects.read(run_key(environment, run_id, REQUEST), MAX_REQUEST_BYTES)
    return Request.from_json(found.body).lane if found else Lane(environment)


def list_runs(store: RunStore, environment: str) -> tuple[RunView, ...]:
    """All runs of an environment that can be read, newest first."""
    active = {
        state.run.run_id: state.run
        for state in map(store.read_lock, store.lanes(environment))
        if isinstance(state, LockHeld)
    }
    names = [name for name in store.objects.children(f"{environment}/") if RUN_ID_PATTERN.fullmatch(name)]
    found: list[RunView] = []
    for run_id in sorted({*names, *active}, reverse=True):
        if run_id in active:
            found.append(RunView(active[run_id], active=True, heartbeat=store.read_heartbeat(environment, run_id)))
            continue
        try:
            found.append(
                RunView(
                    _final(store, environment, run_id),
                    active=False,
                    heartbeat=store.read_heartbeat(environment, run_id),
                )
            )
        except (RunNotFound, InvalidDocument):
            continue
    return tuple(found)
