"""The metrics of a run go on where its last attempt left them: they leave with the logs, and come back from there."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import log_key
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_log = logging.getLogger(__name__)


def continue_metrics(objects: ObjectStore, transfer: ObjectTransfer, run: Run, step: int, metrics: Path) -> None:
    """Begin the file of metrics with the earlier attempts' lines, and one that says from which step it goes on.

    Without them a run is as good as with them, so an S3 that does not answer is no reason to end it.
    """
    keys = [_key(run, attempt, metrics) for attempt in range(run.attempt - 1, 0, -1)]
    try:
        there = dict(objects.keys(keys[-1].removesuffix(metrics.suffix))) if keys else {}
        found = next((key for key in keys if key in there), None)
        if found is None:
            return
        transfer.download(found, metrics, lambda _bytes: None)
    except ServiceUnavailable as error:
        _log.warning("the metrics of earlier attempts are not continued: %s", error)
        metrics.unlink(missing_ok=True)
        return
    whole = metrics.read_bytes().rpartition(b"\n")[0]
    mark = json.dumps({"event": "attempt", "attempt": run.attempt, "step": step}).encode()
    metrics.write_bytes(b"\n".join(part for part in (whole, mark) if part) + b"\n")


def _key(run: Run, attempt: int, metrics: Path) -> str:
    return log_key(run.lane.environment, run.run_id, metrics.name, attempt)
