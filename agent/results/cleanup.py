"""Cleanup: deletes everything on the instance except the logs, and reports what became of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from agent.checkpoint.upload import CheckpointUploader
from agent.logs.shipper import LogShipper
from agent.protocol.workdir import Workdir
from agent.results.upload import Results
from chronos_ec2.worker.progress import Progress

CLEANUP_STATUS = "cleanup_status.json"
_SCHEMA_VERSION = 1


def clean(
    run_id: str,
    workdir: Workdir,
    progress: Progress,
    checkpoints: CheckpointUploader,
    logs: LogShipper,
    results: Results,
) -> dict[str, Any]:
    """Delete what the run created, and report what is left. Never raises OSError.

    The heartbeat continues until the verdict is written, because the watchdog would miss it.
    """
    deleted = delete_all(workdir)
    trainer = progress.snapshot().trainer_pid
    agent = {
        "instance": [
            *deleted,
            {"kind": "folder", "id": "logs", "state": "uploaded, and kept until the instance terminates"},
            {"kind": "process", "id": "trainer", "state": "exited" if trainer is None else f"running ({trainer})"},
            {"kind": "thread", "id": "checkpoint-upload", "state": "running" if checkpoints.alive else "stopped"},
            {"kind": "thread", "id": "log-upload", "state": "running" if logs.alive else "stopped"},
            {"kind": "thread", "id": "heartbeat", "state": "ends with the verdict"},
        ],
        "uploads": {
            "objects": len(results.uploaded),
            "bytes": sum(results.uploaded.values()),
            "checkpoints": checkpoints.uploaded,
            "complete": checkpoints.drain(0),
        },
    }
    # The watchdog adds what AWS reports, and keeps what is below `agent`.
    return {"schema_version": _SCHEMA_VERSION, "run_id": run_id, "agent": agent}


def delete_all(workdir: Workdir) -> list[dict[str, str]]:
    """Delete everything but the logs, and report the state of each file or folder."""
    return [_delete(path, workdir.root) for path in workdir.disposable if path.exists()]


def _delete(path: Path, root: Path) -> dict[str, str]:
    name = path.relative_to(root).as_posix()
    kind = "folder" if path.is_dir() else "file"
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        return {"kind": kind, "id": name, "state": f"not deleted: {error.strerror}"}
    return {"kind": kind, "id": name, "state": "deleted"}
