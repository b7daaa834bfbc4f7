"""cleanup: leave nothing on the box but its logs, and say what became of everything that was there."""

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
    """Remove what the agent made, and report, from what is then observed, what became of it. Never raises OSError.

    The heartbeat is not stopped here: it goes on until the verdict is written, or the watchdog would miss it.
    """
    removed = empty(workdir)
    trainer = progress.snapshot().trainer_pid
    agent = {
        "box": [
            *removed,
            {"kind": "folder", "id": "logs", "state": "kept until the instance is gone, and uploaded"},
            {"kind": "process", "id": "trainer", "state": "gone" if trainer is None else f"alive ({trainer})"},
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
    # The watchdog adds what AWS says, and keeps what is below `agent`.
    return {"schema_version": _SCHEMA_VERSION, "run_id": run_id, "agent": agent}


def empty(workdir: Workdir) -> list[dict[str, str]]:
    """Remove everything but the logs; what became of each."""
    return [_remove(path, workdir.root) for path in workdir.disposable if path.exists()]


def _remove(path: Path, root: Path) -> dict[str, str]:
    name = path.relative_to(root).as_posix()
    kind = "folder" if path.is_dir() else "file"
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        return {"kind": kind, "id": name, "state": f"left over: {error.strerror}"}
    return {"kind": kind, "id": name, "state": "removed"}
