"""The results of a run on this machine. A file gets its name when it is whole, so a download can be repeated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from chronos_ec2.domain.errors import InvalidInput, ServiceUnavailable
from chronos_ec2.domain.records.s3_keys import CHECKPOINTS, run_prefix
from chronos_ec2.ports import ObjectStore, ObjectTransfer

_PART = ".part"
_NOT_RESULTS = ("claims/", "outcomes/", "notified/", "heartbeat.json", "status.json")
"""What run and watchdog tell each other while the run is active."""
_SAFE = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]{1,200}")


@dataclass(frozen=True, slots=True)
class ResultFile:
    """An object of a run: its key, its size in bytes, and its name below the prefix of the run."""

    key: str
    size: int
    name: str

    def path(self, folder: Path) -> Path:
        """Where it goes below a folder."""
        return folder.joinpath(*self.name.split("/"))


def list_results(
    objects: ObjectStore, environment: str, run_id: str, *, checkpoints: bool = False
) -> tuple[ResultFile, ...]:
    """The files of a run, in order of their names, checkpoints only on request.

    Raises:
        InvalidInput: there are none, or one has a name that would lead out of the folder or that a file cannot have.
        ServiceUnavailable, NotAllowed: the list is not complete.
    """
    prefix = run_prefix(environment, run_id)
    left_out = _NOT_RESULTS if checkpoints else (*_NOT_RESULTS, CHECKPOINTS)
    found = []
    for key, size in objects.keys(prefix):
        name = key.removeprefix(prefix)
        if name.startswith(left_out):
            continue
        if not all(_SAFE.fullmatch(part) and part.strip(". ") for part in name.split("/")):
            raise InvalidInput(
                key, "is no name that a file can have", "delete the object, or download the others by hand"
            )
        found.append(ResultFile(key, size, name))
    if not found:
        raise InvalidInput("run id", f"run {run_id} has no results in the bucket", "its prefix may have expired")
    return tuple(found)


def missing_files(files: Iterable[ResultFile], folder: Path) -> tuple[ResultFile, ...]:
    """The files that a folder does not have in their size."""
    return tuple(file for file in files if not _is_there(file, folder))


def fetch_result(file: ResultFile, folder: Path, transfer: ObjectTransfer, on_bytes: Callable[[int], None]) -> None:
    """Download a file. Raises ServiceUnavailable, NotAllowed, OSError; what is there then has not changed."""
    path = file.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + _PART)
    try:
        transfer.download(file.key, part, on_bytes)
        if (size := part.stat().st_size) != file.size:
            raise ServiceUnavailable(f"{file.key} has {size} bytes now, {file.size} when it was listed", "try again")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _is_there(file: ResultFile, folder: Path) -> bool:
    path = file.path(folder)
    return path.is_file() and path.stat().st_size == file.size
