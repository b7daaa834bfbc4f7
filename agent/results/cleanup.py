"""Cleanup: deletes everything on the instance except the logs, and reports what became of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from agent.checkpoint.upload import CheckpointUploader
from agent.logs.shipper import LogShipper
from agent.protocol.workdir import Workdir
from agent.results.upload import Results
from chronos_ec2.domain.records.reports import CleanedUp, CleanupReport
from chronos_ec2.worker.progress import Progress


def clean(
    workdir: Workdir, progress: Progress, checkpoints: CheckpointUploader, logs: LogShipper, results: Results
) -> CleanupReport:
    """Delete what the run created, and report what is left. Never raises OSError.

    The heartbeat continues until the outcome is written, because the watchdog would miss it.
    """
    deleted = delete_all(workdir)
    trainer = progress.snapshot().trainer_pid
    left = (
        CleanedUp("folder", "logs", "uploaded, and kept until the instance terminates"),
        CleanedUp("process", "trainer", "exited" if trainer is None else f"running ({trainer})"),
        CleanedUp("thread", "checkpoint-upload", "running" if checkpoints.alive else "stopped"),
        CleanedUp("thread", "log-upload", "running" if logs.alive else "stopped"),
        CleanedUp("thread", "heartbeat", "ends with the verdict"),
    )
    return CleanupReport(
        (*deleted, *left),
        objects=len(results.uploaded),
        bytes=sum(results.uploaded.values()),
        checkpoints=len(checkpoints.uploaded),
        complete=checkpoints.drain(0),
    )


def delete_all(workdir: Workdir) -> tuple[CleanedUp, ...]:
    """Delete everything but the logs, and report the state of each file or folder."""
    return tuple(_delete(path, workdir.root) for path in workdir.disposable if path.exists())


def _delete(path: Path, root: Path) -> CleanedUp:
    name = path.relative_to(root).as_posix()
    kind = "folder" if path.is_dir() else "file"
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        return CleanedUp(kind, name, f"not deleted: {error.strerror}")
    return CleanedUp(kind, name, "deleted")
