"""End a run at a person's request, or keep its instance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chronos_ec2.domain.errors import InvalidInput, LostRace
from chronos_ec2.domain.facts import LockHeld
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.planning.cost import price_in, time_left
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.status import Cause, DecidedBy, Outcome, Stop, Verdict
from chronos_ec2.ports import Clock, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.run_queries import check_known, final_record, find_run, not_found, unread
from chronos_ec2.services.watchdog.reconcile import Reconciler

_TRIES = 5


def find_active(store: RunStore, environment: str, run_id: str | None) -> LockHeld:
    """The lock of a run, or without a run id that of the only active run.

    Raises:
        RunNotFound: no run has that id.
        InvalidInput: the run has ended; or no run id was given, and not exactly one run is active, as far as is known.
        ServiceUnavailable, NotAllowed: not found, and a lock could not be read.
    """
    if run_id is not None:
        check_known(store, environment, run_id)
    locks = [store.read_lock(lane) for lane in store.lanes(environment)]
    held = [lock for lock in locks if isinstance(lock, LockHeld) and run_id in (None, lock.run.run_id)]
    error = unread(f"run {run_id}" if run_id else "what is active", locks)
    if len(held) == 1 and (run_id or not error):
        return held[0]
    if not held and error:
        raise error
    if run_id is not None:
        if ended := final_record(store, environment, run_id):
            how = f" ({ended.verdict.outcome})" if ended.verdict else ""
            raise InvalidInput("run id", f"run {run_id} has ended{how}", f"`chronos-ec2 runs show {run_id}` shows how")
        raise not_found(store, environment, run_id)
    active = ", ".join(lock.run.run_id for lock in held) or "none"
    if error:
        active += f", and another may be: {error.problem}"
    raise InvalidInput("run id", f"is required unless exactly one run is active (active: {active})", "name one")


def kill(
    run_id: str | None, store: RunStore, reconciler: Reconciler, clock: Clock, reason: str, *, at_once: bool = False
) -> Run:
    """Ask a run to save its work and stop, or with `at_once` terminate its instance. Returns the record as written.

    The agent sees the request at its next heartbeat. If the instance is still up after the grace, the watchdog
    terminates it.

    Raises:
        RunNotFound, InvalidInput: see find_active.
        ServiceUnavailable: the request may not have been written; kill again.
    """
    reason = one_line(reason)  # a record with a line break would be unreadable
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
            if at_once:
                reconciler.lane(held.run.lane)  # an instance may have claimed the run, which its lock does not say yet
            continue
        if at_once:
            reconciler.lane(written.lane)
        return written
    raise LostRace(f"the lock in {reconciler.environment} kept changing", "kill again")


@dataclass(frozen=True, slots=True)
class Kept:
    """The living instances of a run, and what keeping them costs.

    Attributes:
        until: When the hold ends, None if it ends with the instances alone.
        usd_per_hour: Of all of them, None if a price is unknown.
        gone_by: When deadline or cap end them, whatever is asked for.
    """

    run: Run
    instances: tuple[Instance, ...]
    until: datetime | None
    usd_per_hour: float | None
    gone_by: datetime


def hold(
    run_id: str | None,
    environment: str,
    store: RunStore,
    fleet: Fleet,
    limits: Limits,
    now: datetime,
    span: timedelta | None = None,
) -> Kept:
    """Keep the instances of a run, for a while or as long as they live. Deadline, cap and `kill --now` end them still.

    Raises:
        RunNotFound, InvalidInput: there is no such run, or it has no instance now.
        ServiceUnavailable, NotAllowed: they may not be on hold; hold them again.
    """
    run, instances = _living(run_id, environment, store, fleet)
    until = None if span is None else now + span
    for instance in instances:
        fleet.hold(instance.instance_id, until)
    prices = [price_in(run, instance.instance_type) for instance in instances]
    known = [price for price in prices if price is not None]
    usd = sum(known) if len(known) == len(prices) else None
    return Kept(run, instances, until, usd, now + time_left(run, limits, now))


def release(run_id: str | None, environment: str, store: RunStore, fleet: Fleet) -> tuple[Run, tuple[Instance, ...]]:
    """Let go of the instances of a run: the watchdog decides about them as about any other. Raises what `hold` does."""
    run, instances = _living(run_id, environment, store, fleet)
    for instance in instances:
        fleet.release(instance.instance_id)
    return run, instances


def _living(run_id: str | None, environment: str, store: RunStore, fleet: Fleet) -> tuple[Run, tuple[Instance, ...]]:
    """The run and its instances, those that EC2 lists: the id in the record may be anybody's."""
    if run_id is None:
        run_id = find_active(store, environment, None).run.run_id
    run = find_run(store, environment, run_id).run
    found = tuple(one for one in fleet.instances(environment) if one.run_id == run_id and one.alive)
    if not found:
        remedy = f"`chronos-ec2 runs show {run_id}` says how it stands"
        raise InvalidInput("RUN", f"run {run_id} has no instance now", remedy)
    return run, found
