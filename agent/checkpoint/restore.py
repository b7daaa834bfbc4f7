"""Brings the newest whole checkpoint of a run back from S3, for the attempt that goes on from it.

Whole means: its manifest is there, every part that it names has the size that it names, and after the download the hash
too. Anything else is what an upload that was cut short has left, and the next older checkpoint is looked at.
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
from agent.data.download import Changed, Wanted, fetch
from agent.protocol.checkpoint_dir import folder_of
from chronos_ec2.domain.errors import InvalidDocument
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint in S3 whose parts are all there, as far as a list can tell. `prefix` ends with a slash."""

    prefix: str
    manifest: Manifest
    written_at: datetime


def stored_checkpoints(objects: ObjectStore, prefix: str) -> Iterator[Stored]:
    """The checkpoints below a prefix, the newest first. Raises ServiceUnavailable."""
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
            _log.warning("checkpoint %d is not used: %s", step, error)
            continue
        if torn := [part.name for part in manifest.parts if sizes.get(folder + part.name) != part.size]:
            _log.warning("checkpoint %d is not used: %s is missing or has another size", step, torn[0])
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
    """Download the newest whole checkpoint into the trainer's folder; its step, None when there is none.

    Raises:
        ServiceUnavailable: S3 does not answer, which says nothing of the checkpoints.
    """
    for stored in stored_checkpoints(objects, prefix):
        step = stored.manifest.step
        # Under a name that the trainer does not look for, until it is known to be whole.
        draft = checkpoints / f"restoring-{step}"
        if _fetched(stored, transfer, draft, on_bytes, check, sleep):
            draft.replace(folder_of(checkpoints, step))
            _log.info("checkpoint %d is back from S3", step)
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
    wanted = [Wanted(stored.prefix + part.name, part.size, folder / part.name) for part in parts]
    for one in wanted:
        one.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        hashes = fetch(transfer, wanted, on_bytes, check, sleep)
    except Changed as error:
        _log.warning("checkpoint %d is not used: %s", stored.manifest.step, error)
        return False
    if wrong := [part.name for part, sha256 in zip(parts, hashes, strict=True) if part.sha256 != sha256]:
        _log.warning("checkpoint %d is not used: %s is not what was uploaded", stored.manifest.step, wrong[0])
        return False
    return True
