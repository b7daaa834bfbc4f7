"""Names of checkpoint folders, on the instance and in S3."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS = "checkpoints/"
"""Where a run keeps its checkpoints, below its own prefix: a folder for each step."""
_PREFIX = "checkpoint-"


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step lies on the box; the name is the one that the trainer's library gives it."""
    return checkpoints / f"{_PREFIX}{step}"


def steps_in(checkpoints: Path) -> list[int]:
    """The steps of all checkpoints on the box, oldest first."""
    numbers = [folder.name.removeprefix(_PREFIX) for folder in checkpoints.glob(f"{_PREFIX}*")]
    return sorted(int(number) for number in numbers if number.isdecimal())
