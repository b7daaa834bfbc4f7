"""data_sync: exactly the files that the request names, complete, hashed, and with the columns that it names."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from agent.endings import RunFailed
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.run import Cause
from chronos_ec2.ports import ObjectTransfer

_log = logging.getLogger(__name__)
_PARALLEL = 8
_DELAYS = (2, 5, 10)
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of the data set, as it lies on the box."""

    key: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """What was downloaded. `sha256` is the hash over the hashes of all files, in the order of their keys."""

    files: tuple[DataFile, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(one.size for one in self.files)

    def to_document(self) -> dict[str, Any]:
        """The data set for training.json."""
        files = [{"key": one.key, "bytes": one.size, "sha256": one.sha256} for one in self.files]
        return {"sha256": self.sha256, "bytes": self.size, "files": files}


def download(
    transfer: ObjectTransfer,
    keys: tuple[tuple[str, int], ...],
    folder: Path,
    on_bytes: Callable[[int], None],
    check: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> DataSet:
    """Download (key, bytes) pairs in parallel. `check` is called all the time and raises to end it.

    Raises:
        RunFailed: a file cannot be had, or has another size than it had at the launch.
    """
    pool = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="download")
    try:
        tasks = [
            pool.submit(_fetch, transfer, key, size, _target(folder, index, key), on_bytes, sleep)
            for index, (key, size) in enumerate(sorted(keys))
        ]
        pending = set(tasks)
        while pending:
            done, pending = wait(pending, timeout=_LOOK_SECONDS, return_when=FIRST_EXCEPTION)
            for task in done:
                task.result()
            check()
        files = tuple(task.result() for task in tasks)
    finally:
        # Not waited for: what still downloads ends with the process.
        pool.shutdown(wait=False, cancel_futures=True)
    manifest = "".join(f"{one.sha256}  {one.key}\n" for one in files)
    return DataSet(files, hashlib.sha256(manifest.encode()).hexdigest())


def _target(folder: Path, index: int, key: str) -> Path:
    """A path that no key can lead out of the folder, and that no two keys share."""
    return folder / f"{index:05d}-{PurePosixPath(key).name}"


def _fetch(
    transfer: ObjectTransfer,
    key: str,
    size: int,
    path: Path,
    on_bytes: Callable[[int], None],
    sleep: Callable[[float], None],
) -> DataFile:
    for delay in (*_DELAYS, None):
        try:
            transfer.download(key, path, on_bytes)
            break
        except ServiceUnavailable as error:
            if delay is None:
                raise RunFailed(Cause.INFRA, f"data set: {error}") from error
            _log.warning("%s; tried again in %s s", error, delay)
            sleep(delay)
    found = path.stat().st_size
    if found != size:
        message = f"data set: {key} has {found} bytes, and had {size} at the launch: it was changed, launch again"
        raise RunFailed(Cause.USER_CODE, message)
    return DataFile(key, path, size, _sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
