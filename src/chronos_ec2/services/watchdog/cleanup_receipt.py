"""The cleanup receipt of a run: every resource it owned, and its final state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

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


def write_receipt(
    objects: ObjectStore,
    fleet: Fleet,
    deadlines: Deadlines,
    run: Run,
    instances: tuple[Instance, ...],
    agent: CleanupReport | None,
    now: datetime,
) -> None:
    """Delete unused leftovers of the run, abort its unfinished uploads, and write cleanup_status.json.

    The receipt holds what AWS says about the run's resources, and what the agent has reported about its instance.
    """
    environment = run.lane.environment
    resources = [
        {"kind": "instance", "id": instance.instance_id, "state": str(instance.state)}
        for instance in instances
        if instance.run_id == run.run_id
    ]
    resources += _leftovers(fleet, environment, run.run_id)
    resources += _uploads(objects, run_prefix(environment, run.run_id))
    scheduled = list_schedules(deadlines)
    resources += [
        {"kind": "schedule", "id": instance.instance_id, "state": _schedule_state(instance.instance_id, scheduled)}
        for instance in instances
        if instance.run_id == run.run_id
    ]
    receipt = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "checked_at": format_time(now),
        "resources": resources,
        "agent": agent and agent.to_dict(),
    }
    objects.write(run_key(environment, run.run_id, RECEIPT), dump_json(receipt))


def _leftovers(fleet: Fleet, environment: str, run_id: str) -> list[dict[str, str]]:
    """Delete the unused leftovers of a run in EC2, and list all of them."""
    try:
        leftovers = fleet.leftovers(environment, run_id)
    except NotAllowed as error:
        return [_unlisted("volume, network-interface, spot-instances-request", error)]
    return [{"kind": left.kind, "id": left.resource_id, "state": _delete(fleet, left)} for left in leftovers]


def _delete(fleet: Fleet, left: Resource) -> str:
    return _done("deleted", lambda: fleet.delete(left)) if left.unused else left.state


def _uploads(objects: ObjectStore, prefix: str) -> list[dict[str, str]]:
    """Abort the unfinished uploads of a run, and list them."""
    try:
        uploads = tuple(objects.uploads(prefix))
    except NotAllowed as error:
        return [_unlisted(UPLOAD, error)]
    return [
        {"kind": UPLOAD, "id": upload.key, "state": _done("aborted", partial(objects.abort, upload))}
        for upload in uploads
    ]


def _unlisted(kind: str, error: NotAllowed) -> dict[str, str]:
    return {"kind": kind, "id": "unknown", "state": one_line(f"not listed: {error}", 300)}


def _done(word: str, act: Callable[[], None]) -> str:
    """The state after `act`. A refusal is recorded, so it cannot keep the lane locked."""
    try:
        act()
    except NotAllowed as error:
        return one_line(f"not {word}: {error}", 300)
    return word


def _schedule_state(instance_id: str, scheduled: Mapping[str, datetime] | ReadFailed) -> str:
    """Whether the schedule is left. If unknown, a later sweep deletes it once it can be listed."""
    if isinstance(scheduled, ReadFailed):
        return "unknown"
    return "scheduled" if instance_id in scheduled else "deleted"
