"""Restores a run's latest complete checkpoint and its metrics from S3, for the attempt that resumes from them.

A checkpoint is complete if its manifest exists, every part the manifest names has the size it names, and after the
download the hash as well. Anything else is what an interrupted upload left, and the next older checkpoint is tried.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent.checkpoint.manifest import MANIFEST, Manifest
from agent.data.download import Download, ObjectChanged, fetch
from agent.protocol.checkpoint_dir import folder_of
from agent.protocol.metrics_log import start_attempt
from chronos_ec2.domain.errors import InvalidDocument, ServiceUnavailable
from chronos_ec2.domain.records.run import Run
from chronos_ec2.domain.records.s3_keys import log_key, log_parts
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint in S3 whose parts all have their sizes. `prefix` ends with a slash."""

    prefix: str
    manifest: Manifest
    written_at: datetime


def stored_checkpoints(objects: ObjectStore, prefix: str) -> Iterator[Stored]:
    """The checkpoints below a prefix, latest first. Raises ServiceUnavailable."""
    sizes = dict(objects.keys(prefix))
    steps = {key.removeprefix(prefix).removesuffix(f"/{MANIFEST}") for key in sizes if key.endswith(f"/{MANIFEST}")}
    for step in sorted((int(step) for step in steps if step.isdecimal()), reverse=True):
        folder = f"{prefix}{step}/"
        found = objects.read(folder + MANIFEST)
        if found is None:
            continue
        try:
            manifest = Manifest.from_json(found.body, step)
        except InvalidDocument as error:
            _log.warning("checkpoint %d skipped: %s", step, error)
            continue
        if torn := [part.name for part in manifest.parts if sizes.get(folder + part.name) != part.size]:
            _log.warning("checkpoint %d skipped: %s is missing or has another size", step, torn[0])
            continue
        yield Stored(folder, manifest, found.written_at)


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


def restore_metrics(objects: ObjectStore, transfer: ObjectTransfer, run: Run, step: int, metrics: Path) -> None:
    """Start `metrics.jsonl` with the lines of earlier attempts and an `attempt` event, if any were uploaded.

    A run does not need them, so a failed download is logged and leaves no file.
    """
    logs = [
        log_key(run.lane.environment, run.run_id, metrics.name, attempt) for attempt in range(run.attempt - 1, 0, -1)
    ]
    part = metrics.with_suffix(".part")
    try:
        stored = [key for key, _ in objects.keys(logs[-1].removesuffix(metrics.suffix))] if logs else []
        latest = next((log for log in logs if log in stored), None)
        if latest is None:
            return
        with metrics.open("wb") as whole:
            for key in log_parts(stored, latest):
                transfer.download(key, part, lambda _bytes: None)
                whole.write(part.read_bytes())
    except ServiceUnavailable as error:
        _log.warning("metrics of earlier attempts not restored: %s", error)
        metrics.unlink(missing_ok=True)
        return
    finally:
        part.unlink(missing_ok=True)
    start_attempt(metrics, run.attempt, step)
