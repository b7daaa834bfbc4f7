"""The names of checkpoint folders on the instance."""

from __future__ import annotations

from pathlib import Path

_PREFIX = "checkpoint-"


def folder_of(checkpoints: Path, step: int) -> Path:
    """The folder of a step's checkpoint on the instance, named as `transformers.Trainer` names it."""
    return checkpoints / f"{_PREFIX}{step}"


def steps_in(checkpoints: Path) -> list[int]:
    """The steps of all checkpoints on the instance, oldest first."""
    numbers = [folder.name.removeprefix(_PREFIX) for folder in checkpoints.glob(f"{_PREFIX}*")]
    return sorted(int(number) for number in numbers if number.isdecimal())
