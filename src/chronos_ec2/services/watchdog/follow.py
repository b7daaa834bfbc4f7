"""What a schedule does after a run: the launcher is asked for it until it says that it was done."""

from __future__ import annotations

from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import followed_key
from chronos_ec2.domain.records.status import Outcome
from chronos_ec2.ports import Relauncher
from chronos_ec2.run_store import RunStore


def is_followed(run: Run, store: RunStore, relauncher: Relauncher) -> bool:
    """Whether what follows a run that has ended is done, or nothing does. If not, the launcher is asked for it.

    Raises:
        ServiceUnavailable, NotAllowed, InvalidDocument: unknown, or it could not be asked.
    """
    if run.verdict is None or run.verdict.outcome is not Outcome.SUCCEEDED:
        return True
    request = store.read_request(run.lane.environment, run.run_id)
    if request is None or request.schedule is None:
        return True
    key = followed_key(run.lane.environment, run.run_id)
    if store.objects.read(key) is not None:
        return True
    relauncher.follow(run, request.schedule)
    return store.objects.read(key) is not None
