"""Multipart uploads that nobody will complete: of an instance that outlived its run, or a run without a receipt."""

from __future__ import annotations

from chronos_ec2.domain.facts import Absent, LockHeld
from chronos_ec2.ports import Fleet
from chronos_ec2.run_store import RunStore


def abort_orphan_uploads(environment: str, store: RunStore, fleet: Fleet) -> tuple[str, ...]:
    """Abort the uploads of runs that hold no lane and have no living instance, and return their keys.

    Uploads are listed first: a run launched in the meantime has none in the list.

    Raises:
        ServiceUnavailable, NotAllowed: a list or an abort failed.
    """
    uploads = tuple(store.objects.uploads(f"{environment}/"))
    if not uploads:
        return ()
    active = {instance.run_id for instance in fleet.instances(environment) if instance.alive}
    locks = [store.read_lock(lane) for lane in store.lanes(environment)]
    if any(not isinstance(lock, LockHeld | Absent) for lock in locks):
        return ()  # any upload may belong to the run that holds this lane
    active |= {lock.run.run_id for lock in locks if isinstance(lock, LockHeld)}
    orphans = [upload for upload in uploads if upload.key.split("/")[1] not in active]
    for upload in orphans:
        store.objects.abort(upload)
    return tuple(upload.key for upload in orphans)
