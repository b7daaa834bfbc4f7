"""Delete the stack of an environment that is not in use."""

from __future__ import annotations

from chronos_ec2.domain.errors import StillInUse
from chronos_ec2.ports import Deadlines, Deployment, Fleet
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.verify import verify


def teardown(environment: str, store: RunStore, fleet: Fleet, deadlines: Deadlines, deployment: Deployment) -> None:
    """Delete the stack and keep the bucket.

    Raises:
        StillInUse: something costs money or a lane is locked; without the stack nothing would end it.
        NotAllowed, ServiceUnavailable: see Deployment. Nothing is lost; tear down again.
    """
    if left := verify(environment, store, fleet, deadlines):
        raise StillInUse(environment, [f"{found.kind} {found.name}" for found in left])
    deployment.delete()
