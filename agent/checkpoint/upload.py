"""Uploads checkpoints to S3 in the background, the manifest last.

The instance keeps the latest two that are in S3, and the best one if the trainer names it. S3 keeps all of them until
they expire: the role of the instance may not delete (docs/adr/0008-checkpoints-expire.md).
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from agent.background import Background
from agent.data.hashing import sha256_of
from agent.protocol.checkpoint_dir import folder_of, steps_in
from chronos_ec2.domain.records.checkpoint import MANIFEST, Manifest, Part
from chronos_ec2.domain.records.s3_keys import CHECKPOINTS
from chronos_ec2.ports import ObjectStore, ObjectTransfer
from chronos_ec2.worker.progress import Progress

_log = logging.getLogger(__name__)
_KEPT = 2


class CheckpointUploader(Background):
    """Uploads the latest checkpoint offered, and deletes local ones that newer ones in S3 replace.

    A failed upload is logged, and the next checkpoint replaces it: training continues. `before` is called before each,
    to upload what the checkpoint names and does not contain.
    """

    def __init__(
        self,
        objects: ObjectStore,
        transfer: ObjectTransfer,
        key_of: Callable[[str], str],
        folder: Path,
        progress: Progress,
        before: Callable[[], None] | None = None,
    ) -> None:
        super().__init__("checkpoints", join_seconds=1)
        self._before = before
        self._objects = objects
        self._transfer = transfer
        self._key_of = key_of
        self._folder = folder
        self._progress = progress
        self._changed = threading.Condition()
        self._offered: int | None = None
        self._best: int | None = None
        self._busy = False
        self.uploaded: list[int] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over.set()
            self._changed.notify_all()
        super().__exit__(kind, error, trace)

    def offer(self, step: int, best: bool = False) -> None:
        """Queue the checkpoint of this step, which is complete on disk. Replaces one that is still waiting."""
        with self._changed:
            self._offered = step
            self._best = step if best else self._best
            self._changed.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until the queue is empty and the last upload has ended. False if `seconds` were not enough."""
        deadline = time.monotonic() + seconds
        with self._changed:
            return self._changed.wait_for(
                lambda: self._offered is None and not self._busy, timeout=max(0.0, deadline - time.monotonic())
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._offered is not None or self._over.is_set())
                if self._offered is None:
                    return
                step, self._offered, self._busy = self._offered, None, True
            try:
                self._upload(step)
            except Exception as error:  # noqa: BLE001 - this thread must survive: the end of the run waits for it
                _log.warning("checkpoint %d not uploaded: %s", step, error)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _upload(self, step: int) -> None:
        if self._before is not None:
            self._before()
        store_checkpoint(
            self._objects, self._transfer, self._key_of(CHECKPOINTS), self._folder, step, self._progress.synced
        )
        self._progress.checkpointed()
        self.uploaded.append(step)
        _log.info("checkpoint %d uploaded", step)
        self._delete_replaced(step)

    def _delete_replaced(self, uploaded: int) -> None:
        """Keep the latest and the best, and all newer than the uploaded one, which may still be waiting."""
        for step in [step for step in steps_in(self._folder) if step <= uploaded][:-_KEPT]:
            if step != self._best:
                shutil.rmtree(folder_of(self._folder, step), ignore_errors=True)


def store_checkpoint(
    objects: ObjectStore,
    transfer: ObjectTransfer,
    prefix: str,
    checkpoints: Path,
    step: int,
    on_bytes: Callable[[int], None],
) -> None:
    """Upload the checkpoint of a step below `prefix`, the manifest last. Raises ServiceUnavailable."""
    folder = folder_of(checkpoints, step)
    parts = []
    for path in sorted(part for part in folder.rglob("*") if part.is_file()):
        part = Part(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))
        transfer.upload(path, f"{prefix}{step}/{part.name}", on_bytes, expires=True)
        parts.append(part)
    objects.write(f"{prefix}{step}/{MANIFEST}", Manifest(step, tuple(parts)).to_json())
