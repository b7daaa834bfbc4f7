"""The receipt of a run: every resource that it owned, and what became of it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from chronos_ec2.domain.instance import Instance
from chronos_ec2.domain.lane import run_key
from chronos_ec2.domain.run import Run
from chronos_ec2.domain.text import dump_json, format_time
from chronos_ec2.ports import Deadlines, Fleet, ObjectStore

RECEIPT = "cleanup_status.json"
SCHEMA_VERSION = 1


def write_receipt(
    objects: ObjectStore, fleet: Fleet, deadlines: Deadlines, run: Run, instances: tuple[Instance, ...], now: datetime
) -> None:
    """Delete what the run left and nothing uses, and write cleanup_status.json.

    It holds what AWS says about the run's resources, beside what the agent said about its box.
    """
    environment = run.lane.environment
    key = run_key(environment, run.run_id, RECEIPT)
    resources = [
        {"kind": "instance", "id": box.instance_id, "state": str(box.state)}
        for box in instances
        if box.run_id == run.run_id
    ]
    for left in fleet.leftovers(environment, run.run_id):
        if left.unused:
            fleet.delete(left)
        state = "deleted" if left.unused else left.state
        resources.append({"kind": left.kind, "id": left.resource_id, "state": state})
    armed = deadlines.armed()
    resources += [
        {"kind": "schedule", "id": box.instance_id, "state": "armed" if box.instance_id in armed else "deleted"}
        for box in instances
        if box.run_id == run.run_id
    ]
    receipt = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "checked_at": format_time(now),
        "resources": resources,
        "agent": _said_by_agent(objects, key),
    }
    objects.write(key, dump_json(receipt))


def _said_by_agent(objects: ObjectStore, key: str) -> Any:
    """The agent's own report, kept as it is; this function may run twice."""
    found = objects.read(key)
    if found is None:
        return None
    try:
        document = json.loads(found.body)
    except ValueError:
        return None
    return document.get("agent") if isinstance(document, dict) else None
