"""Restores a run's latest complete checkpoint and its metrics from S3, for the attempt that resumes from them.

A checkpoint is complete if its manifest exists, every part the manifest names has the size it names, and after the
download the hash as well. Anything else is what an interrupted upload left, and the next older checkpoint is tried.
"""

from __future__ import annotations

import logging
import math
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from agent.data.download import Download, ObjectChanged, fetch
from agent.protocol.checkpoint_dir import folder_of
from agent.protocol.metrics_log import start_attempt
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import log_key, log_parts
from chronos_ec2.ports import ObjectStore, ObjectTransfer
from chronos_ec2.services.checkpoints import Stored, stored_checkpoints

_log = logging.getLogger(__name__)


def restore(
    objects: ObjectStore,
    transfer: ObjectTransfer,
    prefix: str,
    checkpoints: Path,
    on_bytes: Callable[[int], None],
    check: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> int | None:
    """Download the latest complete checkpoint into the trainer's folder. Returns its step, None if there is none.

    Raises:
        ServiceUnavailable: S3 does not answer, which says nothing about the checkpoints.
    """
    for stored in stored_checkpoints(objects, prefix):
        step = stored.manifest.step
        # The trainer does not look for this name: it sees the checkpoint only once it is verified.
        draft = checkpoints / f"restoring-{step}"
        if _fetched(stored, transfer, draft, on_bytes, check, sleep):
            draft.replace(folder_of(checkpoints, step))
            _log.info("checkpoint %d restored from S3", step)
            return step
        shutil.rmtree(draft, ignore_errors=True)
    return None


def _fetched(
    stored: Stored,
    transfer: ObjectTransfer,
    folder: Path,
    on_bytes: Callable[[int], None],
    check: Callable[[], None],
    sleep: Callable[[float], None],
) -> bool:
    parts = stored.manifest.parts
    wanted = [Download(stored.prefix + part.name, part.size, folder / part.name) for part in parts]
    for one in wanted:
        one.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        hashes = fetch(transfer, wanted, on_bytes, check, sleep)
    except ObjectChanged as error:
        _log.warning("checkpoint %d skipped: %s", stored.manifest.step, error)
        return False
    if wrong := [part.name for part, sha256 in zip(parts, hashes, strict=True) if part.sha256 != sha256]:
        _log.warning("checkpoint %d skipped: %s has another SHA-256", stored.manifest.step, wrong[0])
        return False
    return True


def restore_metrics(
    objects: ObjectStore, transfer: ObjectTransfer, run: Run, step: int, metrics: Path, taken_up: str | None = None
) -> None:
    """Start `metrics.jsonl` with the lines so far and an `attempt` event, if any were uploaded.

    The lines are those of the latest earlier attempt; without one, of the last attempt of the run that was taken up. A
    run does not need them, so a failed download is logged and leaves no file.
    """
    environment, part = run.lane.environment, metrics.with_suffix(".part")
    try:
        parts = _latest_metrics(objects, environment, run.run_id, metrics.name, before=run.attempt)
        if not parts and taken_up is not None:
            parts = _latest_metrics(objects, environment, taken_up, metrics.name)
        if not parts:
            return
        with metrics.open("wb") as whole:
            for key in parts:
                transfer.download(key, part, lambda _bytes: None)
                whole.write(part.read_bytes())
    except ServiceUnavailable as error:
        _log.warning("metrics so far not restored: %s", error)
        metrics.unlink(missing_ok=True)
        return
    finally:
        part.unlink(missing_ok=True)
    start_attempt(metrics, run.attempt, step)


def _latest_metrics(
    objects: ObjectStore, environment: str, run_id: str, name: str, before: float = math.inf
) -> tuple[str, ...]:
    """The keys of the metrics of a run's latest attempt before some attempt, in order; none if there are none."""
    if before <= 1:
        return ()
    stem, _, suffix = log_key(environment, run_id, name, 1).rpartition(".")
    of_attempt = re.compile(rf"{re.escape(stem)}(?:-([0-9]{{1,9}}))?\.{suffix}")
    stored = [key for key, _ in objects.keys(stem)]
    attempts = {int(match[1] or 1): match[0] for match in map(of_attempt.fullmatch, stored) if match}
    latest = max((attempt for attempt in attempts if attempt < before), default=None)
    return () if latest is None else tuple(log_parts(stored, attempts[latest]))
