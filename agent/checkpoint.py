"""Brings checkpoints to S3 in the background. The manifest goes last: the manifest is the checkpoint."""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from agent.progress import Progress
from chronos_ec2.domain.text import dump_json
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_log = logging.getLogger(__name__)
_SCHEMA_VERSION = 1
_PREFIX = "checkpoint-"


class CheckpointUploader:
    """Uploads the newest checkpoint it was offered, and removes from disk those that are older than an uploaded one.

    A checkpoint that cannot be uploaded is logged and left for the next one to replace: training goes on.
    """

    def __init__(
        self,
        objects: ObjectStore,
        transfer: ObjectTransfer,
        key_of: Callable[[str], str],
        folder: Path,
        progress: Progress,
    ) -> None:
        self._objects = objects
        self._transfer = transfer
        self._key_of = key_of
        self._folder = folder
        self._progress = progress
        self._news = threading.Condition()
        self._offered: int | None = None
        self._busy = False
        self._over = False
        self.uploaded: list[int] = []
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def __enter__(self) -> CheckpointUploader:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._news:
            self._over = True
            self._news.notify_all()
        self._thread.join(timeout=1)

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def offer(self, step: int) -> None:
        """The checkpoint of this step is complete on disk. One that waits is replaced by a newer one."""
        with self._news:
            self._offered = step
            self._news.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until all that was offered is in S3, at most so long; whether it is."""
        deadline = time.monotonic() + seconds
        with self._news:
            return self._news.wait_for(
                lambda: self._offered is None and not self._busy, timeout=max(0.0, deadline - time.monotonic())
            )

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._offered is not None or self._over)
                if self._offered is None:
                    return
                step, self._offered, self._busy = self._offered, None, True
            try:
                self._upload(step)
            except Exception as error:  # noqa: BLE001 - this thread has to live: training waits for it at its end
                _log.warning("checkpoint %d not uploaded: %s", step, error)
            finally:
                with self._news:
                    self._busy = False
                    self._news.notify_all()

    def _upload(self, step: int) -> None:
        folder = self._folder / f"{_PREFIX}{step}"
        parts = []
        for path in sorted(part for part in folder.rglob("*") if part.is_file()):
            name = path.relative_to(folder).as_posix()
            parts.append({"name": name, "bytes": path.stat().st_size, "sha256": _sha256(path)})
            self._transfer.upload(path, self._key_of(f"checkpoints/{step}/{name}"), self._progress.synced)
        manifest = {"schema_version": _SCHEMA_VERSION, "step": step, "parts": parts}
        self._objects.write(self._key_of(f"checkpoints/{step}/manifest.json"), dump_json(manifest))
        self._progress.checkpointed()
        self.uploaded.append(step)
        _log.info("checkpoint %d is in S3", step)
        self._remove_older(step)

    def _remove_older(self, step: int) -> None:
        for folder in self._folder.glob(f"{_PREFIX}*"):
            number = folder.name.removeprefix(_PREFIX)
            if number.isdigit() and int(number) < step:
                shutil.rmtree(folder, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
