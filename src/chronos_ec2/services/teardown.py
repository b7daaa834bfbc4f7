"""Take an environment's stack away, but never from under a run."""

from __future__ import annotations

from chronos_ec2.domain.errors import StillInUse
from chronos_ec2.ports import Deadlines, Deployment, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.verify import verify


def teardown(environment: str, store: RunStore, fleet: Fleet, deadlines: Deadlines, deployment: Deployment) -> None:
    """Delete the stack; the bucket stays.

    Raises:
        StillInUse: something lives, or a lane is locked; without the stack nobody would end it.
        NotAllowed, ServiceUnavailable: see Deployment; nothing is lost, tear down again.
    """
    if left := verify(environment, store, fleet, deadlines):
        raise StillInUse(environment, [f"{found.kind} {found.name}" for found in left])
    deployment.delete()
