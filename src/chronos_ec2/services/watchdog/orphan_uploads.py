"""Uploads in parts that nobody is left to end: of an instance that outlived its run, or of a run without a receipt."""

from __future__ import annotations

from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.ports import Fleet
from chronos_ec2.run_store import RunStore


def abort_orphan_uploads(environment: str, store: RunStore, fleet: Fleet) -> tuple[str, ...]:
    """Abort the uploads of runs that hold no lane and have no living instance; their keys.

    Uploads are listed first: a run that is launched meanwhile has none in the list.

    Raises:
        ServiceUnavailable, NotAllowed: something could not be asked, or not done.
    """
    uploads = tuple(store.objects.uploads(f"{environment}/"))
    if not uploads:
        return ()
    working = {box.run_id for box in fleet.instances(environment) if box.alive}
    states = [store.read_lock(lane) for lane in store.lanes(environment)]
    if any(not isinstance(state, LockHeld | Absent) for state in states):
        return ()  # whose the lane is cannot be known, so that each upload may be that run's
    working |= {state.run.run_id for state in states if isinstance(state, LockHeld)}
    stale = [upload for upload in uploads if upload.key.split("/")[1] not in working]
    for upload in stale:
        store.objects.abort(upload)
    return tuple(upload.key for upload in stale)
