"""The cleanup receipt of a run: every resource it owned, and its final state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice

from chronos_ec2.domain.errors import NotAllowed
from chronos_ec2.domain.facts import ReadFailed
from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.parsing.codec import dump_json
from chronos_ec2.domain.parsing.names import one_line
from chronos_ec2.domain.parsing.times import format_time
from chronos_ec2.domain.records.reports import CleanupReport
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import run_key, run_prefix
from chronos_ec2.ports import Deadlines, Fleet, ObjectStore, Resource
from chronos_ec2.services.watchdog.deadline_schedules import list_schedules

RECEIPT = "cleanup_status.json"
SCHEMA_VERSION = 1
UPLOAD = "multipart-upload"
_MAX_UPLOADS = 200
"""How many unfinished uploads are aborted at the end of a run. S3 drops the others within two days."""


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run that is over: the instances that EC2 lists, and what its last agent has reported about its own."""

    run: Run
    instances: tuple[Instance, ...]
    agent: CleanupReport | None
    now: datetime


def write_receipt(
    objects: ObjectStore,
    fleet: Fleet,
    deadlines: Deadlines,
    ended: EndedRun,
    tolerated: type[Exception] = NotAllowed,
) -> None:
    """Delete unused leftovers of the run, abort its unfinished uploads, and write cleanup_status.json.

    The receipt holds what AWS says about the run's resources, and what the agent has reported about its instance. An
    error that is `tolerated` is part of the receipt, so it cannot keep the lane locked.
    """
    run, environment = ended.run, ended.run.lane.environment
    resources = [
        {"kind": "instance", "id": instance.instance_id, "state": str(instance.state)}
        for instance in ended.instances
        if instance.run_id == run.run_id
    ]
    resources += _leftovers(fleet, environment, run.run_id, tolerated)
    resources += _uploads(objects, run_prefix(environment, run.run_id), tolerated)
    scheduled = list_schedules(deadlines)
    resources += [
        {"kind": "schedule", "id": instance.instance_id, "state": _schedule_state(instance.instance_id, scheduled)}
        for instance in ended.instances
        if instance.run_id == run.run_id
    ]
    receipt = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "job": str(run.job),
        "checked_at": format_time(ended.now),
        "resources": resources,
        "agent": ended.agent and ended.agent.to_dict(),
    }
    objects.write(run_key(environment, run.run_id, RECEIPT), dump_json(receipt))


def _leftovers(fleet: Fleet, environment: str, run_id: str, tolerated: type[Exception]) -> list[dict[str, str]]:
    """Delete the unused leftovers of a run in EC2, and list all of them."""
    try:
        leftovers = fleet.leftovers(environment, run_id)
    except tolerated as error:
        return [_unlisted("volume, network-interface, spot-instances-request", error)]
    return [{"kind": left.kind, "id": left.resource_id, "state": _delete(fleet, left, tolerated)} for left in leftovers]


def _delete(fleet: Fleet, left: Resource, tolerated: type[Exception]) -> str:
    return _done("deleted", lambda: fleet.delete(left), tolerated) if left.unused else left.state


def _uploads(objects: ObjectStore, prefix: str, tolerated: type[Exception]) -> list[dict[str, str]]:
    """Abort the unfinished uploads of a run, and list them."""
    try:
        uploads = tuple(islice(objects.uploads(prefix), _MAX_UPLOADS + 1))
    except tolerated as error:
        return [_unlisted(UPLOAD, error)]
    found = [
        {
            "kind": UPLOAD,
            "id": one_line(upload.key, 300),
            "state": _done("aborted", partial(objects.abort, upload), tolerated),
        }
        for upload in uploads[:_MAX_UPLOADS]
    ]
    more = {"kind": UPLOAD, "id": "more", "state": "not aborted: S3 does within two days"}
    return [*found, more] if len(uploads) > _MAX_UPLOADS else found


def _unlisted(kind: str, error: Exception) -> dict[str, str]:
    return {"kind": kind, "id": "unknown", "state": one_line(f"not listed: {error}", 300)}


def _done(word: str, act: Callable[[], None], tolerated: type[Exception]) -> str:
    """The state after `act`."""
    try:
        act()
    except tolerated as error:
        return one_line(f"not {word}: {error}", 300)
    return word


def _schedule_state(instance_id: str, scheduled: Mapping[str, datetime] | ReadFailed) -> str:
    """Whether the schedule is left. If unknown, a later sweep deletes it once it can be listed."""
    if isinstance(scheduled, ReadFailed):
        return "unknown"
    return "scheduled" if instance_id in scheduled else "deleted"
