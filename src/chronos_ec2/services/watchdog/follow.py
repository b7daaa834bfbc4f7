"""What schedules and groups do after a run: the launcher is asked for it until it says that it was done."""

from __future__ import annotations

from chronos_ec2.domain.errors import InvalidDocument, NotAllowed
from chronos_ec2.domain.groups.order import may_be_of_a_group
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import followed_key
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.ports import Relauncher
from chronos_ec2.run_store import RunStore


def is_followed(run: Run, store: RunStore, relauncher: Relauncher, *, overdue: bool) -> bool:
    """Whether what follows a run that has ended is done, or nothing does. If not, the launcher is asked for it.

    What is `overdue` is given up, but a group is not: without this lane nobody would go on with it. A request that
    cannot be read then is one without a group.

    Raises:
        ServiceUnavailable, NotAllowed, InvalidDocument: unknown, or it could not be asked.
    """
    succeeded = run.verdict is not None and run.verdict.outcome is Outcome.SUCCEEDED
    if not succeeded and not may_be_of_a_group(run.lane):
        return True
    try:
        request = store.read_request(run.lane.environment, run.run_id)
    except (InvalidDocument, NotAllowed):
        if not overdue:
            raise
        return True
    if request is None or (request.group is None and overdue):
        return True
    if request.group is None and not (request.schedule and succeeded):
        return True
    key = followed_key(run.lane.environment, run.run_id)
    if store.objects.read(key) is not None:
        return True
    if request.group is not None:
        relauncher.advance(run, request.group)
    elif request.schedule is not None:
        relauncher.follow(run, request.schedule)
    return store.objects.read(key) is not None
