"""Data sync: download exactly the files named in the request, and hash them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from agent.data.download import Download, ObjectChanged, fetch
from agent.errors import RunFailed
from chronos_ec2.domain.errors import ServiceUnavailable
from chronos_ec2.domain.records.request import DataObject
from chronos_ec2.domain.records.status import Cause
from chronos_ec2.ports import ObjectTransfer


@dataclass(frozen=True, slots=True)
class DataFile:
    """A downloaded file."""

    key: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """The downloaded files. `sha256` is a hash over the keys and hashes of all files, in the order of the keys."""

    files: tuple[DataFile, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Total bytes."""
        return sum(one.size for one in self.files)

    def to_document(self) -> dict[str, Any]:
        """The data set for run.json."""
        files = [{"key": one.key, "bytes": one.size, "sha256": one.sha256} for one in self.files]
        return {"sha256": self.sha256, "bytes": self.size, "files": files}

    def write_hashes(self, path: Path) -> None:
        """Write the hash of each file by its path, for the trainer, which need not hash them again."""
        path.write_text(json.dumps({str(one.path): one.sha256 for one in self.files}))


def download(
    transfer: ObjectTransfer,
    objects: tuple[DataObject, ...],
    folder: Path,
    on_bytes: Callable[[int], None],
    check: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> DataSet:
    """Download objects in parallel. `check` is called regularly, and stops the download by raising.

    Raises:
        RunFailed: a file cannot be downloaded, or has changed since the launch.
    """
    downloads = [
        Download(one.key, one.size, _target(folder, index, one.key), one.etag)
        for index, one in enumerate(sorted(objects))
    ]
    for parent in {one.path.parent for one in downloads} - {folder}:
        parent.mkdir(parents=True)
    try:
        hashes = fetch(transfer, downloads, on_bytes, check, sleep)
    except ServiceUnavailable as error:
        raise RunFailed(Cause.INFRA, f"data set: {error}") from error
    except ObjectChanged as error:
        raise RunFailed(Cause.USER_CODE, f"data set: {error}: changed since the launch, launch again") from error
    files = tuple(DataFile(one.key, one.path, one.size, sha256) for one, sha256 in zip(downloads, hashes, strict=True))
    manifest = "".join(f"{one.sha256}  {one.key}\n" for one in files)
    return DataSet(files, hashlib.sha256(manifest.encode()).hexdigest())


def _target(folder: Path, index: int, key: str) -> Path:
    """A path within the folder whatever the key, and different for every key. Folders named NAME=VALUE are columns."""
    path = PurePosixPath(key)
    columns = [part for part in path.parts[:-1] if "=" in part]
    return folder.joinpath(f"{index:05d}", *columns, path.name) if columns else folder / f"{index:05d}-{path.name}"
