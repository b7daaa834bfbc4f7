"""Whether somebody goes on with each group that has not ended."""

from __future__ import annotations

from collections.abc import Iterator

from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.domain.facts import Absent
from chronos_ec2.run_store import RunStore
from chronos_ec2.services.doctor.diagnosis import Diagnosis, Health
from chronos_ec2.services.groups.store import GroupStore

_PART = "groups"


def diagnose_groups(orders: GroupStore, store: RunStore) -> Iterator[Diagnosis]:
    """The groups that have not ended. The watchdog goes on with one as long as a member holds its lane.

    Raises ServiceUnavailable, NotAllowed.
    """
    for name in orders.open():
        remedy = f"`chronos-ec2 kill {name}` ends it"
        try:
            group = orders.order(name)
        except InvalidDocument as error:
            yield Diagnosis(_PART, Health.BROKEN, f"the order of group {name} cannot be read: {error}", remedy)
            continue
        if group is None:
            continue
        if all(isinstance(store.read_lock(lane), Absent) for lane in group.lanes):
            text = f"no run of group {name} is active, so nobody goes on with it: its creation was interrupted"
            yield Diagnosis(_PART, Health.BROKEN, text, remedy)
        else:
            yield Diagnosis(_PART, Health.OK, f"{name}: {len(group.members)} runs, {group.parallel} at a time")
