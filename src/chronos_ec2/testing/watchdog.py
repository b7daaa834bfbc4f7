"""The watchdog over an AWS in memory, for whoever lets one live: tests, crash points, counts of calls."""

from __future__ import annotations

from chronos_ec2.domain.limits import Limits
from chronos_ec2.domain.messages import StackLocation
from chronos_ec2.ports import Relauncher
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.watchdog.reconcile import Reconciler
from chronos_ec2.testing import MemoryWorld

BUCKET = "a-bucket"


def watchdog_over(
    world: MemoryWorld, store: RunStore, relauncher: Relauncher, limits: Limits, environment: str = "dev"
) -> Reconciler:
    """The reconciler of an environment in `world`."""
    return Reconciler(
        environment,
        store,
        world.fleet,
        world.deadlines,
        world.notifier,
        relauncher,
        world.clock,
        limits,
        StackLocation("aws", "us-east-1", BUCKET),
    )
