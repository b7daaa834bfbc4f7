"""Begin a run that a ledger has entered: its request, its lane, its instance. Repeated, it starts nothing twice."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from chronos_ec2.domain.errors import LostRace, ServiceUnavailable
from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.domain.records.request import MAX_REQUEST_BYTES, REQUEST, Request
from chronos_ec2.domain.records.s3_keys import run_key
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.launch.launcher import Launcher
from chronos_ec2.services.launch.spec import first_run


def write_once(store: RunStore, request: Request) -> Request:
    """Write a request unless there is one of the run; the one that there is."""
    key = run_key(request.lane.environment, request.run_id, REQUEST)
    with suppress(LostRace):
        store.objects.create(key, request.to_json())
        return request
    found = store.objects.read(key, MAX_REQUEST_BYTES)
    if found is None:
        raise ServiceUnavailable(f"{key} was deleted")
    return Request.from_json(found.body)


def begin(request: Request, store: RunStore, launcher: Launcher, now: datetime) -> str | None:
    """Take the lane and ask for the instance; None, or the run that holds the lane instead.

    The watchdog goes on with what has its lane.
    """
    run = first_run(request, now)
    try:
        held = store.create_lock(run)
    except LostRace:
        lock = store.read_lock(run.lane)
        return lock.run.run_id if isinstance(lock, LockHeld) and lock.run.run_id != run.run_id else None
    # The lane may have been free because this very run is over. Then the watchdog concludes it again.
    if isinstance(store.read_claim(held.run), Absent):
        with suppress(ServiceUnavailable):  # the watchdog asks again within a minute
            launcher.relaunch(held.run)
    return None
