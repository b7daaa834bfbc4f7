"""End a run because a person says so."""

from __future__ import annotations

from dataclasses import replace

from chronos_ec2.domain.errors import InvalidInput, LostRace, RunNotFound, ServiceUnavailable
from chronos_ec2.domain.facts import LockHeld, ReadFailed
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.records.run import Run, check_run_id
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Stop, Verdict
from chronos_ec2.ports import Clock
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.reconcile import Reconciler

_TRIES = 5


def find_active(store: RunStore, environment: str, run_id: str | None) -> LockHeld:
    """The lock of a run, or of the only run there is.

    Raises:
        RunNotFound: no lane is held by this run.
        InvalidInput: no run id was given, and there is no run, or more than one.
        ServiceUnavailable: a lock could not be read, and no other is the one.
    """
    if run_id is not None:
        check_run_id(run_id)
    states = [store.read_lock(lane) for lane in store.lanes(environment)]
    held = [state for state in states if isinstance(state, LockHeld) and run_id in (None, state.run.run_id)]
    if len(held) == 1:
        return held[0]
    if not held and (failed := next((state for state in states if isinstance(state, ReadFailed)), None)):
        raise ServiceUnavailable(failed.problem)
    if run_id is not None:
        raise RunNotFound(run_id, environment)
    found = ", ".join(state.run.run_id for state in held) or "none"
    raise InvalidInput("run id", f"is needed unless exactly one run is active (active: {found})")


def kill(
    run_id: str | None, store: RunStore, reconciler: Reconciler, clock: Clock, reason: str, *, at_once: bool = False
) -> Run:
    """Ask a run to save its work and end; `at_once` ends its instance without that. Returns the record as written.

    The agent sees the request at its next beat, the watchdog ends the instance if it is still there after the grace.

    Raises:
        RunNotFound, InvalidInput: see find_active.
        ServiceUnavailable: not known whether the request was written; kill again.
    """
    reason = one_line(reason)  # a record with a line break in it would be read by nobody
    for _ in range(_TRIES):
        held = find_active(store, reconciler.environment, run_id)
        now = clock.now()
        if at_once:
            wanted = held.run.end(Verdict(Outcome.KILLED, Cause.REQUESTED, reason, DecidedBy.WATCHDOG), now)
        elif held.run.stop or held.run.verdict:
            wanted = held.run
        else:
            wanted = replace(held.run, stop=Stop(Cause.REQUESTED, reason, now), updated_at=now)
        try:
            written = held.run if wanted == held.run else store.replace_lock(wanted, held).run
        except LostRace:
            continue
        if at_once:
            reconciler.lane(written.lane)
        return written
    raise LostRace(f"others kept writing the state of {reconciler.environment}; kill again")
